# What a loader may do: what the role may do that it runs as, and nothing that outlives its run but what it has written.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

# One loader process: what one run leaves behind, the next would meet.
my $node = start_instance('main', conf => 'wbcache.loaders = 1');
my $session = install($node, 'postgres', WbcacheTest::Upstream->start);
my $superuser = $session->value('SELECT session_user');

$session->run(<<'END_SQL');
CREATE ROLE owner;
CREATE ROLE other;
CREATE SCHEMA app AUTHORIZATION owner;
GRANT EXECUTE ON FUNCTION wbcache.create_endpoint, wbcache.alter_endpoint TO owner, other;
GRANT USAGE ON SCHEMA app TO other;
CREATE TABLE app.secret (a int);
CREATE FUNCTION app.as_superuser() RETURNS name LANGUAGE sql SECURITY DEFINER AS $$ SELECT current_user $$;
REVOKE EXECUTE ON FUNCTION app.as_superuser FROM PUBLIC;
CREATE FUNCTION app.as_other() RETURNS name LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN EXECUTE format('SET ROLE %I', session_user); RETURN current_user; END $$;
ALTER FUNCTION app.as_other OWNER TO other;
SET ROLE owner;
CREATE TABLE app.written (key text, who name DEFAULT current_user);
CREATE FUNCTION app.setting_role(parts text[]) RETURNS json LANGUAGE sql SET role = 'other' AS $$ SELECT to_json(current_user) $$;
-- Runs what the key says.
CREATE FUNCTION app.run(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
  answer text;
BEGIN
  INSERT INTO app.written VALUES (parts[2]);
  IF parts[2] LIKE 'SELECT%' THEN
    EXECUTE parts[2] INTO answer;
  ELSE
    EXECUTE parts[2];
  END IF;
  RETURN to_json(coalesce(answer, ''));
END $$;
SELECT wbcache.create_endpoint('run', 'run:{statement}', loader => 'app.run(text[])', readers => ARRAY[session_user::text::regrole], soft_ttl => '1 h', error_ttl => '0');
SELECT wbcache.create_endpoint('hurried', 'hurried:{statement}', loader => 'app.run(text[])', readers => ARRAY[session_user::text::regrole], error_ttl => '0',
  statement_timeout => '300 ms');
SELECT wbcache.create_endpoint('role', 'role:{id}', loader => 'app.setting_role(text[])', readers => ARRAY[session_user::text::regrole], error_ttl => '0');
RESET ROLE;
CREATE FUNCTION app.run_as_other(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
  answer text;
BEGIN
  EXECUTE parts[2] INTO answer;
  RETURN to_json(answer);
END $$;
SET ROLE other;
SELECT wbcache.create_endpoint('other', 'other:{statement}', loader => 'app.run_as_other(text[])', readers => ARRAY[session_user::text::regrole], soft_ttl => '1 h', error_ttl => '0');
RESET ROLE;
SET wbcache.max_wait = '30s';
END_SQL

sub get { return $session->value('SELECT wbcache.get(' . quote($_[0]) . ') #>> \'{}\''); }

sub quote { return WbcacheTest::Session::quote($_[0]); }

sub refused
{
	my ($statement, $error, $name, $endpoint) = @_;
	my $got = $session->error('SELECT wbcache.get(' . quote(($endpoint || 'run') . ":$statement") . ')');
	like($got, qr/ERROR:  $error/, $name || $statement);
	is($session->value('SELECT count(*) FROM app.written WHERE key = ' . quote($statement)), 0, '... and what it had written is gone');
	return;
}

behaviour 'it has the rights of the role it runs as' => sub {
	is(get('run:SELECT current_user'), 'owner', 'which is the endpoint\'s owner');
	refused('SELECT count(*) FROM app.secret', '42501: permission denied for table secret');
	refused('SELECT wbcache.clear()', '42501: permission denied for function clear');
	refused('SELECT pg_read_file($$postgresql.conf$$)', '42501: permission denied for function pg_read_file');
	refused('SELECT app.as_superuser()', '42501: permission denied for function as_superuser');
};

behaviour 'it can not become another role' => sub {
	my $restricted = '42501: cannot set parameter "\w+" within security-(?:definer function|restricted operation)';
	refused($_, $restricted) for 'SET ROLE other', 'SET LOCAL ROLE other', 'RESET ROLE', "SET SESSION AUTHORIZATION $superuser",
	  "SELECT set_config('role', '$superuser', false)", "SELECT set_config('session_authorization', '$superuser', true)";
	refused('SELECT app.as_other()', $restricted, 'a SECURITY DEFINER function of another role can not either');
	like($session->error(q{SELECT wbcache.get('role:1')}), qr/ERROR:  $restricted/, 'nor a function with a role among its settings');
	refused('CREATE TEMP TABLE t (a int)', '42501: cannot create temporary table within security-restricted operation');
	refused('PREPARE left_behind AS SELECT 1', '42501: cannot execute PREPARE within security-restricted operation');
	refused('DECLARE c CURSOR WITH HOLD FOR SELECT 1', '(?:0A000|42501): ', 'a cursor that outlives it');
};

behaviour 'what it writes is committed with its run, and not at all if that fails' => sub {
	is(get(q{run:SELECT 'works'}), 'works', 'a run');
	is($session->value(q{SELECT key, who FROM app.written WHERE key = $$SELECT 'works'$$}), q{SELECT 'works'|owner}, 'has written, once, as its owner');
	is(get(q{run:SELECT 'works'}), 'works', 'a hit');
	is($session->value(q{SELECT count(*) FROM app.written WHERE key = $$SELECT 'works'$$}), 1, 'is no run');
	refused('SELECT 1 / 0', '22012: division by zero');
	refused('SELECT repeat($$x$$, 9000000)', '54000: value is too large to be cached');
	refused('SELECT pg_sleep(60)', '57014: canceling statement due to statement timeout', 'more time than it is given', 'hurried');
	refused('COMMIT', '0A000: EXECUTE of transaction commands is not implemented');
	is(length(get('run:SELECT repeat($$x$$, 5000000)')), 5000000, '5 MB are fine');
	is(get(q{run:SELECT 'still works'}), 'still works', 'and the process goes on');
};

behaviour 'what it invalidates counts if it commits' => sub {
	$session->run(q{SELECT wbcache.create_endpoint('page', 'page:{id}', soft_ttl => '1 h', writers => '{owner}'); SELECT wbcache.set('page:1', '1'), wbcache.set('page:2', '2')});
	is(get(q{run:SELECT wbcache.invalidate('page' || chr(58) || '1')}), '', 'a run that invalidates');
	is($session->value(q{SELECT wbcache.get('page:1') IS NULL}), 't', 'has done so');
	refused(q{SELECT wbcache.invalidate('page' || chr(58) || '2'), 1 / 0}, '22012: ', 'one that fails');
	is($session->value(q{SELECT wbcache.get('page:2')}), 2, 'has not');
};

behaviour 'nothing else outlives it' => sub {
	get($_) for 'run:SET search_path = app', 'run:SET work_mem = 1000', 'run:SELECT set_config($$app.left$$, $$behind$$, false)',
	  'run:SELECT pg_advisory_lock(77)';
	is(get(q{other:SELECT concat_ws(' ', current_user, current_setting('search_path'), coalesce(nullif(current_setting('app.left', true), ''), 'nothing'))}),
		'other pg_catalog, pg_temp nothing', 'settings');
	is(get('other:SELECT current_setting($$work_mem$$) <> $$1000kB$$'), 'true', 'work_mem');
	is($session->value('SELECT pg_try_advisory_lock(77)'), 't', 'locks');
	is($session->value(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'wbcache loader' AND xact_start IS NOT NULL}), 0, 'transactions');
};

behaviour 'where its owner is dropped, the error says what to do' => sub {
	$session->run(q{CREATE ROLE brief; GRANT owner TO brief; SELECT wbcache.create_endpoint('brief', 'brief:{id}', loader => 'app.run_as_other(text[])', error_ttl => '0')});
	$session->run(q{SELECT wbcache.alter_endpoint('brief', owner => 'brief', readers => ARRAY[session_user::text::regrole]); DROP ROLE brief});
	like($session->error(q{SELECT wbcache.get('brief:SELECT 1')}),
		qr/ERROR:  42704: the role that the loader runs as does not exist any more\nHINT:  Give the endpoint another owner/, 'error and hint');
	$session->run(q{SELECT wbcache.alter_endpoint('brief', owner => 'owner')});
	like($session->error(q{SELECT wbcache.get('brief:SELECT 2')}), qr/^$/, 'and that helps');
};

done_testing();
