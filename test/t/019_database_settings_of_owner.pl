# A database's owner, who may change its settings, gets no more rights than that by what the workers run there as superuser.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my $node = start_instance('main');
my $session = install($node, 'postgres', WbcacheTest::Upstream->start);

$session->run(<<'END');
CREATE ROLE dbo;
CREATE SCHEMA trap AUTHORIZATION dbo;
CREATE TABLE trap.caught (by text DEFAULT current_user);
GRANT INSERT ON trap.caught TO PUBLIC;
SELECT wbcache.create_endpoint('page', 'page:{x}', soft_ttl => '1 h');
END

# Functions and operators that are a better match than PostgreSQL's own, and come first.
sub set_traps
{
	my @types = qw(text name "char" bigint integer timestamptz regrole oid interval boolean);

	$session->run('SET ROLE dbo');
	for my $type (@types)
	{
		$session->run("CREATE FUNCTION trap.compare($type, $type) RETURNS boolean LANGUAGE plpgsql AS
			\$\$ BEGIN INSERT INTO trap.caught DEFAULT VALUES; RETURN true; END \$\$");
		$session->run("CREATE OPERATOR trap.$_ (LEFTARG = $type, RIGHTARG = $type, FUNCTION = trap.compare)") for '=', '<>', '<', '<=', '>', '>=';
	}
	$session->run('RESET ROLE; ALTER DATABASE postgres SET search_path = trap, pg_catalog');
	return;
}

behaviour 'operators that the search_path of the database finds first' => sub {
	set_traps();
	$session->close;
	$node->restart;
	$session = session($node, 'postgres');
	is($session->value('SHOW search_path'), 'trap, pg_catalog', 'the setting');
	ok($session->value(q{SELECT 'a'::text = 'b'::text}), 'the traps work');
	$session->run('DELETE FROM trap.caught; SET search_path = pg_catalog');
	$session->run(q{CREATE FUNCTION public.task() RETURNS void LANGUAGE sql AS ''; SELECT wbcache.schedule_task('task', '1 h', 'public.task()')});
	$session->run(q{SELECT wbcache.set('page:1', '1')});
	ok(await_value($session, q{SELECT last_result FROM wbcache.task}, 'succeeded'), 'a task has run');
	ok(await_value($session, q{SELECT count(*) FROM wbcache.entry WHERE key = 'page:1'}, 1), 'the table tier was written');
	is($session->value('SELECT count(*) FROM trap.caught'), 0, 'none was called');
};

behaviour 'nor does a client that calls with such a search_path' => sub {
	$session->run('SET search_path = trap, pg_catalog');
	$session->run(q{SELECT wbcache.create_endpoint('other', 'other:{x}', soft_ttl => '1 h'), wbcache.set('other:1', '1'), wbcache.get('other:1')});
	$session->run(q{SELECT wbcache.schedule_task('task', '2 h', 'public.task()')});
	$session->run(q{SELECT wbcache.run_task('task')});
	$session->run(q{SELECT wbcache.alter_endpoint('other', soft_ttl => '2 h'), wbcache.unschedule_task('task'), wbcache.drop_endpoint('other')});
	is($session->value('SELECT pg_catalog.count(*) FROM trap.caught'), 0, 'none was called');
};

done_testing();
