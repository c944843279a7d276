# A schema wbcache that somebody else has made: nothing in it gets a superuser's rights, neither by CREATE EXTENSION nor by
# the workers of a database without the extension.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my $node = start_instance('main');
my $session = install($node, 'postgres', WbcacheTest::Upstream->start);

$session->run('CREATE ROLE dbo; CREATE DATABASE made OWNER dbo; CREATE DATABASE faked OWNER dbo');

sub refused
{
	my ($database, $message, $hint, $name) = @_;
	my $error = $database->error('CREATE EXTENSION wbcache');

	like($error, qr/ERROR:  42P15: \Q$message\E\n/, "$name: the message");
	like($error, qr/HINT:  .*\Q$hint\E/, "$name: the hint");
	is($database->value(q{SELECT count(*) FROM pg_extension WHERE extname = 'wbcache'}), 0, "$name: there is no extension");
	return;
}

behaviour 'CREATE EXTENSION refuses a schema of another role' => sub {
	my $made = session($node, 'made');

	# An operator that is as good a candidate as PostgreSQL's own must not hide anything.
	$made->run(<<'END');
SET ROLE dbo;
CREATE SCHEMA wbcache;
CREATE FUNCTION wbcache.no(name, name) RETURNS bool LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR wbcache.<> (LEFTARG = name, RIGHTARG = name, FUNCTION = wbcache.no);
CREATE FUNCTION wbcache.alter_endpoint(name text, owner regrole) RETURNS void LANGUAGE sql AS '';
RESET ROLE;
END
	refused($made, 'schema wbcache is owned by role "dbo"', 'run ALTER SCHEMA wbcache OWNER TO CURRENT_USER.', 'all of it');
	$made->run('ALTER SCHEMA wbcache OWNER TO CURRENT_USER');
	refused($made, 'schema wbcache has something of role "dbo": function wbcache.alter_endpoint(text,regrole)', 'drop it', 'a function');
	$made->run('DROP FUNCTION wbcache.alter_endpoint(text, regrole); DROP FUNCTION wbcache.no CASCADE');
	is($made->error('CREATE EXTENSION wbcache'), '', 'without them it is accepted');
};

behaviour 'CREATE EXTENSION takes a schema of another superuser, as pg_restore makes it' => sub {
	my $made = session($node, 'made');

	$made->run(<<'END');
DROP EXTENSION wbcache;
CREATE ROLE other_superuser SUPERUSER;
ALTER SCHEMA wbcache OWNER TO other_superuser;
CREATE FUNCTION wbcache.own() RETURNS void LANGUAGE sql AS '';
END
	is($made->error('CREATE EXTENSION wbcache'), '', 'CREATE EXTENSION');
};

# Makes tables like those of the extension, by whoever the session is.
sub fake_tables
{
	my ($database) = @_;

	for my $table (qw(endpoint entry task))
	{
		my $columns = $session->value(<<"END");
SELECT string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)
  FROM pg_attribute WHERE attrelid = 'wbcache.$table'::regclass AND attnum > 0 AND NOT attisdropped
END
		$database->run("CREATE TABLE wbcache.$table ($columns)");
	}
	return;
}

behaviour 'workers take no table for the extension\'s that is not' => sub {
	my $faked = session($node, 'faked');

	$faked->run(<<'END');
SET ROLE dbo;
CREATE SCHEMA e; CREATE SCHEMA wbcache;
GRANT USAGE ON SCHEMA e, wbcache TO PUBLIC;
CREATE FUNCTION e.own() RETURNS void LANGUAGE plpgsql AS $$ BEGIN ALTER ROLE dbo SUPERUSER; END $$;
END
	fake_tables($faked);
	$faked->run(<<'END');
INSERT INTO wbcache.task (name, "interval", function, owner, timeout, driver, next_start, failures, runs)
  SELECT 'own', '1 s', 'e.own()', oid::regrole, '1 min', 'worker', now(), 0, 0 FROM pg_roles WHERE oid = 10;
RESET ROLE;
END
	$node->append_conf('postgresql.conf', q{wbcache.databases = 'postgres, faked'});
	$node->reload;
	ok(await_value($session, <<'END', 't'), 'its workers are idle');
SELECT count(*) FILTER (WHERE backend_type = 'wbcache loader') > 0 AND count(*) FILTER (WHERE backend_type = 'wbcache fetcher') > 0
       AND bool_and(wait_event_type = 'Extension' AND xact_start IS NULL)
  FROM pg_stat_activity WHERE datname = 'faked' AND backend_type LIKE 'wbcache%'
END
	# One that was made later has run meanwhile, in a database with the extension.
	$session->run(<<'END');
CREATE SEQUENCE test.runs;
CREATE FUNCTION test.run() RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('test.runs') $$;
SELECT wbcache.schedule_task('real', '1 s', 'test.run()');
END
	ok(await_value($session, q{SELECT is_called AND last_value >= 2 FROM test.runs}, 't'), 'meanwhile a real task has run twice');
	is($session->value(q{SELECT rolsuper FROM pg_roles WHERE rolname = 'dbo'}), 'f', 'the role has got no rights');
	is($faked->value('SELECT last_start IS NULL AND runs = 0 AND next_start < now() FROM wbcache.task'), 't', 'its task was not touched');
};

done_testing();
