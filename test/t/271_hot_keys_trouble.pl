# Hot keys when something is in the way: an upstream that is down or slow, clients who need its connections, what is
# gone, loaders that end, crashes in the middle of a write, and restarts after which nothing is missing.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main',
	conf => "restart_after_crash = on\nwbcache.hot_keys_interval = 1s\nwbcache.hot_keys = 40\nwbcache.max_flights = 16",
	databases => 'postgres, other',
	server => { max_connections => 4, breaker_failures => 3, breaker_cooldown => '1s' });

$session->run(<<'END');
CREATE DATABASE other;
CREATE FUNCTION public.load(text[]) RETURNS json LANGUAGE sql AS $$ SELECT to_json($1) $$;
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '10 h', error_ttl => '0 s'),
	wbcache.create_endpoint('gone', 'gone:{x}', 'api', '/echo/gone-{x}', soft_ttl => '10 h'),
	wbcache.create_endpoint('sql', 'sql:{x}', loader => 'public.load(text[])', soft_ttl => '10 h'),
	wbcache.create_endpoint('by_hand', 'by_hand:{x}', soft_ttl => '10 h');
END

# Reads each key so many times.
sub use_keys
{
	my ($times, @keys) = @_;
	my $keys = join(', ', map { "'$_'" } @keys);
	$session->run("SELECT count(wbcache.get(key)) FROM generate_series(1, $times), unnest(ARRAY[$keys]) key");
	return;
}

sub noted
{
	my ($like, $n) = @_;
	return ok(await_value($session, "SELECT count(*) FROM wbcache.hot_key WHERE key LIKE '$like'", $n), "$n rows like $like");
}

# Our commits are asynchronous: what was written a moment ago might be lost.
sub flush
{
	return await_value($session, 'SELECT pg_current_wal_flush_lsn() = pg_current_wal_insert_lsn()', 't');
}

# Ends the server as a crash does, by kill -9 of a session, and waits for it to be back.
sub crash
{
	my ($victim) = @_;

	$victim ||= session($node, 'postgres');
	flush();
	$session->close;
	kill('KILL', $victim->pid);
	undef $victim;
	return back_again();
}

sub restart
{
	my ($mode) = @_;

	flush();
	$session->close;
	$node->stop($mode);
	$node->start;
	return back_again();
}

sub back_again
{
	ok(await_query($node, q{SELECT state <> 'waiting' FROM wbcache.stat_warmup}), 'somebody has looked');
	$session = session($node, 'postgres');
	return;
}

sub warmup_is
{
	my ($expected, $name) = @_;
	return ok(await_value($session, 'SELECT state, wanted, back, failed FROM wbcache.stat_warmup', $expected), $name || $expected);
}

sub requests
{
	return join(' ', map { "$_:" . $upstream->count("/echo/$_") } @_);
}

my @keys = map { "echo:$_" } 1 .. 20;

behaviour 'keys that can be fetched are noted, and no others' => sub {
	$session->run(q{SELECT wbcache.set('by_hand:1', '1')});
	use_keys(30, 'by_hand:1');
	$session->run(q{SELECT count(wbcache.get_with_swr('private:1', 'public.load(text[])', '1 h', '2 h')) FROM generate_series(1, 30)});
	use_keys(9, @keys, 'gone:1', 'sql:1', 'sql:2');
	noted('%', 23);
	noted('by_hand%', 0);
	noted('private%', 0);
};

behaviour 'a server with three quarters of its connections in use by hot keys answers clients' => sub {
	$upstream->reset;
	$upstream->behave(path => '/api/v3/echo/*', hang => 1);
	$upstream->behave(path => '/api/v3/echo/client*', latency => 0);
	crash();
	ok(await_value($session, 'SELECT under_way >= 3 FROM wbcache.stat_warmup', 't'), 'hot keys are on their way');
	ok(await(sub { $upstream->control('counts')->{in_flight} == 3 }), 'three of four connections are in use');
	is($session->ask("echo:client$_")->{status}, 'miss', "client $_ is answered") for 1 .. 3;
	is($upstream->control('counts')->{in_flight}, 3, 'and hot keys still have three');
	$upstream->clear;
	warmup_is('done|23|23|0');
	is($session->ask($_)->{status}, 'hit', $_) for qw(echo:1 echo:20 gone:1 sql:1 sql:2);
	is(requests(1, 20, 'gone-1'), '1:1 20:1 gone-1:1', 'one request each');
};

behaviour 'an upstream that is down is left to its breaker, and brought back from when it is up' => sub {
	$upstream->reset;
	$upstream->behave(path => '*', status => 503);
	crash();
	ok(await_value($session, q{SELECT count(*) FROM wbcache.stat_server WHERE breaker_state <> 'closed'}, 1), 'the breaker opens');
	ok(await_value($session, 'SELECT failures >= 9 FROM wbcache.stat_server', 't'), 'probes go');
	cmp_ok($session->value('SELECT refused FROM wbcache.stat_server'), '<=', 20 + 3 * $session->value('SELECT extract(epoch FROM duration) FROM wbcache.stat_warmup'), 'it is asked for one at a time');
	is($session->value('SELECT state FROM wbcache.stat_warmup'), 'under way', 'it waits');
	is($session->ask('sql:1')->{status}, 'hit', 'what needs no server is back');
	my $failures = $session->value('SELECT failures FROM wbcache.stat_server');
	my $seconds = $session->value('SELECT extract(epoch FROM duration) FROM wbcache.stat_warmup');
	cmp_ok($failures, '<=', 3 + 2 + $seconds + 1, 'requests: those that opened it, and a probe a second');
	$upstream->clear;
	warmup_is('done|23|23|0');
};

behaviour 'a key whose value can not be had is given up' => sub {
	$upstream->reset;
	$upstream->behave(path => '/api/v3/echo/7', status => 404);
	crash();
	warmup_is('done|23|22|1');
	is(requests(7, 8), '7:3 8:1', 'after three requests');
	$upstream->clear;
	is($session->ask('echo:7')->{status}, 'miss', 'a client can fetch it');
};

behaviour 'the loader that sees to it ends' => sub {
	noted('%', 23);
	$upstream->reset;
	$upstream->behave(path => '/api/v3/echo/*', hang => 1);
	crash();
	ok(await_value($session, 'SELECT under_way >= 2 FROM wbcache.stat_warmup', 't'), 'under way');
	for my $pid (split(/\n/, $session->value(q{SELECT pid FROM wbcache.stat_worker WHERE kind = 'loader' AND database = 'postgres'})))
	{
		kill('TERM', $pid);
	}
	ok(await_value($session, q{SELECT count(*) FROM wbcache.stat_worker WHERE kind = 'loader' AND database = 'postgres' AND state = 'running' AND starts = 2}, 2),
		'new loaders');
	$upstream->clear;
	warmup_is('done|23|23|0', 'the next one goes on');
	is(requests(1, 20), '1:1 20:1', 'one request each');
};

behaviour 'immediate stop' => sub {
	$upstream->reset;
	restart('immediate');
	warmup_is('done|23|23|0');
	is(requests(1, 20), '1:1 20:1', 'one request each');
};

behaviour 'a clean restart, after which the table tier has all' => sub {
	ok(await_value($session, 'SELECT count(*) FROM wbcache.entry WHERE wbcache.entry_is_current(key, epoch, stripes, generations)', 23), 'written');
	$upstream->reset;
	restart('fast');
	is($session->value('SELECT state, wanted FROM wbcache.stat_warmup'), 'none|0', 'nothing is missing');
	is($upstream->total, 0, 'nothing is fetched');
	is($session->ask('echo:1')->{detail}, 'table tier', 'from the table tier');
	noted('%', 23);
};

behaviour 'kill -9 in the middle of a write' => sub {
	my $locker = session($node, 'postgres');
	$locker->run(q{BEGIN; SELECT FROM wbcache.hot_key WHERE key = 'gone:1' FOR UPDATE});
	my $before = $session->value('SELECT string_agg(h::text, $$,$$ ORDER BY key) FROM wbcache.hot_key h');
	use_keys(60, 'gone:1');
	use_keys(400, 'echo:new');
	ok(await_value($session, q{SELECT count(*) FROM pg_stat_activity JOIN wbcache.stat_worker USING (pid)
		WHERE kind = 'loader' AND wait_event_type = 'Lock' AND backend_xid IS NOT NULL}, 1), 'a loader has written a row, and waits for another');
	$upstream->reset;
	crash($locker);
	undef $locker;
	is($session->value('SELECT string_agg(h::text, $$,$$ ORDER BY key) FROM wbcache.hot_key h') eq $before ? 'old' :
		$session->value(q{SELECT count(*) FROM wbcache.hot_key WHERE key = 'echo:new'}) ? 'new' : 'neither', 'old', 'the table is as it was');
	warmup_is('done|23|23|0');
};

behaviour 'an endpoint that is gone' => sub {
	$node->append_conf('postgresql.conf', 'wbcache.hot_keys_interval = 10min');
	$node->reload;
	ok(await_value($session, 'SHOW wbcache.hot_keys_interval', '10min'), 'reloaded');
	my $rows = $session->value('SELECT count(*) FROM wbcache.hot_key');
	$session->run(q{SELECT wbcache.drop_endpoint('gone')});
	is($session->value(q{SELECT count(*) FROM wbcache.hot_key WHERE key = 'gone:1'}), 1, 'its row is there still');
	$upstream->reset;
	crash();
	warmup_is(join('|', 'done', $rows - 1, $rows - 1, 0), 'the others come back');
	is(requests('gone-1', 1), 'gone-1:0 1:1', 'it is not fetched');
	$node->append_conf('postgresql.conf', 'wbcache.hot_keys_interval = 1s');
	$node->reload;
	noted('gone%', 0);
};

behaviour 'a key that is fetched anew is no less hot' => sub {
	$node->append_conf('postgresql.conf', 'wbcache.hot_keys_interval = 10min');
	$node->reload;
	ok(await_value($session, 'SHOW wbcache.hot_keys_interval', '10min'), 'reloaded');
	noted('echo:kept', 0);
	use_keys(30, 'echo:kept');
	$session->run(q{SELECT wbcache.invalidate('echo:kept')});
	use_keys(1, 'echo:kept');
	$node->append_conf('postgresql.conf', 'wbcache.hot_keys_interval = 1s');
	$node->reload;
	ok(await_value($session, q{SELECT uses >= 25 FROM wbcache.hot_key WHERE key = 'echo:kept'}, 't'), 'uses');
};

behaviour 'a row is worth what it says, though memory knows of fewer uses' => sub {
	my $noted = $session->value('SELECT noted_at FROM wbcache.stat_warmup');
	use_keys(1, 'echo:few');
	$session->run(q{INSERT INTO wbcache.hot_key AS h (key, endpoint, uses, noted_at)
		SELECT 'echo:few', 'echo', 60, now() UNION ALL SELECT 'echo:unread-' || n, 'echo', 30, now() FROM generate_series(1, 60) n
		ON CONFLICT (key) DO UPDATE SET uses = excluded.uses, noted_at = excluded.noted_at});
	ok(await_value($session, qq{SELECT noted_at > '$noted'::timestamptz + interval '2.5 s' FROM wbcache.stat_warmup}, 't'), 'noted again');
	is($session->value('SELECT count(*) FROM wbcache.hot_key'), 40, 'the hottest');
	is($session->value(q{SELECT uses FROM wbcache.hot_key WHERE key = 'echo:few'}), 60, 'it is one of them');
};

behaviour 'a database without the extension' => sub {
	my $other = session($node, 'other');
	ok(await_value($session, q{SELECT count(*) FROM wbcache.stat_worker WHERE kind = 'loader' AND database = 'other' AND state = 'running'}, 2), 'has loaders');
	$other->run('CREATE EXTENSION wbcache');
	ok(await_value($other, 'SELECT noted_at IS NOT NULL FROM wbcache.stat_warmup', 't'), 'and is looked after when it comes');
	is($other->value('SELECT hot_keys, state FROM wbcache.stat_warmup'), '0|none', 'with nothing of another database');
	is(log_count($node, qr/hot keys of wbcache could not (?!be noted: canceling statement due to lock timeout)/), 0, 'no errors in the log');
	$other->close;
};

behaviour 'wbcache.hot_keys = 0' => sub {
	$node->append_conf('postgresql.conf', 'wbcache.hot_keys = 0');
	$node->reload;
	noted('%', 0);
	use_keys(9, @keys);
	$upstream->reset;
	crash();
	is($session->value('SELECT state, wanted, hot_keys FROM wbcache.stat_warmup'), 'none|0|0', 'nothing is brought back');
	is($upstream->total, 0, 'nothing is fetched');
};

done_testing();
