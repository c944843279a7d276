# Readers, writers, cancels, ends of sessions and of the fetcher, failures and evictions, all at the same time: nothing
# crashes, every answer is one that the upstream has given for that key, and nothing is left behind.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use WbcacheTest;

# glibc fills freed memory with this, so that its use shows.
$ENV{MALLOC_PERTURB_} = 165;

my ($upstream, $node, $session) = start_served('main',
	conf => "wbcache.memory_size = 4MB\nwbcache.max_flights = 64",
	upstream => [ '--latency' => 0.005 ],
	server => { breaker_failures => 20, breaker_cooldown => '50ms', timeout => '300ms', max_connections => 16 });

$session->run(<<'END');
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '30 ms', hard_ttl => '100 ms',
	error_ttl => '10 ms', tags => ARRAY['group:{x}']);
SELECT wbcache.create_endpoint('blob', 'blob:{size}:{x}', 'api', '/blob?size={size}&seed={x}', soft_ttl => '50 ms',
	hard_ttl => '1 s', error_ttl => '10 ms', on_invalidate => 'expire');
SELECT wbcache.create_endpoint('other', 'other:{x}');

-- A value that is not that of its key ends the client, and with it the test.
CREATE FUNCTION test.check_echo(key text, value json) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF value IS NOT NULL AND value -> 'segments' ->> 0 IS DISTINCT FROM split_part(key, ':', 2) THEN
    RAISE EXCEPTION 'key % has the value %', key, value;
  END IF;
END $$;

-- One thing out of many.  Errors of reads are no errors of this test, but a wrong value is.
CREATE FUNCTION test.something(what int, x int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  key text := 'echo:' || x;
  value json;
BEGIN
  BEGIN
    PERFORM set_config('wbcache.max_wait', (1 + x * 3)::text, true);
    CASE what % 12
      WHEN 0 THEN PERFORM wbcache.invalidate(key);
      WHEN 1 THEN PERFORM wbcache.invalidate_tag('group:' || x);
      WHEN 2 THEN PERFORM wbcache.delete(key);
      WHEN 3 THEN PERFORM wbcache.set(key, json_build_object('segments', json_build_array(x::text)), soft_ttl => '10 ms');
      WHEN 4 THEN PERFORM wbcache.get('blob:' || x * 20000 || ':' || x);
      WHEN 5 THEN PERFORM wbcache.invalidate('blob:' || x * 20000 || ':' || x);
      WHEN 6 THEN PERFORM test.check_echo(m.key, m.value) FROM wbcache.get_many(
        ARRAY(SELECT 'echo:' || i FROM generate_series(x, x + 10) i)) m;
      ELSE value := wbcache.get(key);
    END CASE;
  EXCEPTION WHEN SQLSTATE 'WB001' OR SQLSTATE 'WB002' OR SQLSTATE 'WB003' OR SQLSTATE 'WB005' THEN
    RETURN;
  END;
  PERFORM test.check_echo(key, value);
END $$;
END

behaviour 'all at once' => sub {
	my $script = PostgreSQL::Test::Utils::tempdir() . '/something.sql';
	my ($out, $err) = ('', '');
	my $log = log_size($node);

	append_to_file($script, <<'END');
\set what random(0, 20)
\set x random(1, 20)
SELECT test.something(:what, :x);
END
	$upstream->behave(path => '/api/v3/echo/3', status => 500);
	$upstream->behave(path => '/api/v3/echo/4', latency => 0.1);
	$upstream->behave(path => '/api/v3/echo/5', hang => 1);
	$upstream->behave(path => '/api/v3/echo/6', reset_mid_body => 1);
	$upstream->behave(path => '/api/v3/echo/7', broken_json => 1);
	my $pgbench = IPC::Run::start([ $node->installed_command('pgbench'), '-n', '-c', 20, '-j', 2, '-T', 8, '-f', $script,
			$node->connstr('postgres') ], '>', \$out, '2>', \$err);

	# Cancels, and sessions that end while they wait.
	my $ends = time() + 7.5;
	my $turn = 0;
	while (time() < $ends)
	{
		my $leaver = session($node, 'postgres');
		$leaver->send(q{SELECT wbcache.get('echo:5')});
		$session->run('SELECT ' . ($turn % 2 ? 'pg_terminate_backend' : 'pg_cancel_backend') . "(${\ $leaver->pid })");
		$session->run(q{SELECT wbcache.alter_endpoint('other', soft_ttl => '1 min')});
		$session->run(q{SELECT pg_terminate_backend(pid) FROM wbcache.stat_worker WHERE kind = 'fetcher'}) if ++$turn % 8 == 0;
	}
	ok($pgbench->finish, 'no client has met a wrong value, or another error') or diag($err);
	$out =~ /number of transactions actually processed: (\d+)/;
	diag("$1 things done, $turn sessions ended or cancelled");
	cmp_ok($turn, '>=', 10, 'sessions that left');
	cmp_ok($session->stat('stat_worker', 'starts', q{kind = 'fetcher'}), '>', 1, 'the fetcher was ended too');
	cmp_ok($session->stat('stat_memory', 'evictions'), '>', 0, 'entries were evicted');

	$upstream->clear;
	ok(await_value($session, 'SELECT waiters, pending_keys FROM wbcache.stat_coalescer', '0|0'), 'no waiters, no flights');
	is($session->value('SELECT sum(running) FROM wbcache.stat_server'), 0, 'no requests in progress');
	unlike(log_since($node, $log), qr/PANIC|FATAL:  (?!terminating)|terminated by signal|terminated by exception/, 'nothing has crashed');
};

behaviour 'and no memory is lost' => sub {
	$session->run(q{SELECT count(wbcache.delete('echo:' || i)), count(wbcache.delete('blob:' || i * 20000 || ':' || i))
		FROM generate_series(1, 31) i});
	ok(await_value($session, 'SELECT entries, used FROM wbcache.stat_memory', '0|0'), 'entries, bytes used');
	ok($session->ask_until('echo:5', 'miss'), 'the cache works');
};

done_testing();
