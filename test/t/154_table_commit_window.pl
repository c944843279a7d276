# What only the table tier has, while its invalidation is being committed: it is not served from there, nor afterwards. The
# commit is held open by a synchronous standby that isn't there.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main', init => { allows_streaming => 1 },
	conf => "wbcache.memory_size = 4MB\nsynchronous_standby_names = 'nobody'\nsynchronous_commit = local");

$session->run(<<'END_SQL');
CREATE TABLE written (key text);
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '10 h', tags => ARRAY['group:{x}']);
SELECT wbcache.create_endpoint('filler', 'filler:{id}', soft_ttl => '10 h');
-- Drives what else there is out of memory.
CREATE FUNCTION test.evict() RETURNS void LANGUAGE sql
  AS $$ SELECT wbcache.set('filler:' || i, to_json(repeat(md5(i::text), 3000))) FROM generate_series(1, 60) i $$;
END_SQL

sub answer
{
	my ($key) = @_;
	my $answer = $session->ask($key);
	return "$answer->{status} $answer->{value}{n}";
}

# Memory has other keys only; the table has these.
sub in_table_alone
{
	my (@keys) = @_;
	my $list = join(', ', map { "'$_'" } @keys);

	ok(await_value($session, "SELECT count(*) FROM wbcache.entry WHERE key IN ($list) AND wbcache.entry_is_current(key, epoch, stripes, generations)",
			scalar @keys), 'rows are written');
	$session->run('SELECT test.evict()') for 1 .. 3;
	return;
}

# Each with a key of its own, and another that is fetched and driven out along with it.
sub not_from_the_table
{
	my ($key, $call) = @_;
	my $other = "$key-too";

	behaviour $call => sub {
		my $writer = session($node, 'postgres');
		is(answer($_), 'miss 1', "$_ is fetched") for $key, $other;
		in_table_alone($key, $other);
		is($session->ask($other)->{detail}, 'table tier', 'the other is served from the table');
		hold_commit($session, $writer, "INSERT INTO written VALUES ('$key'); SELECT wbcache.$call");
		is(answer($key), 'bypass 2', 'while it is');
		$session->run('SELECT pg_cancel_backend(' . $writer->pid . ')');
		like(($writer->receive)[1], qr/canceling wait for synchronous replication/, 'committed');
		is(answer($key), 'miss 3', 'afterwards');
		is(answer($key), 'hit 3', 'then it is cached again');
	};
	return;
}

not_from_the_table('echo:key', q{invalidate('echo:key')});
not_from_the_table('echo:deleted', q{delete('echo:deleted')});
not_from_the_table('echo:tag', q{invalidate_tag('group:tag')});
not_from_the_table('echo:pattern', q{invalidate_pattern('*:pattern')});
not_from_the_table('echo:all', 'clear()');

done_testing();
