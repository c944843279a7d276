# What no client has asked for gives way to what one has: connections, the rate limit, places for flights, loaders.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main', server => { max_connections => 4, timeout => '50s' },
	conf => "wbcache.max_wait = '30s'\nwbcache.max_flights = 16\nwbcache.warmer_sportsbooks = 'draftkings,fanduel,betmgm,caesars'");
my $client = session($node, 'postgres');
my $in_flight = 0;

$session->run(<<'END');
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '1 h');
SELECT wbcache.create_endpoint('slow', 'slow:{x}', 'api', '/echo/slow/{x}', soft_ttl => '1 h');
END

# Has these keys warmed, and waits until so many requests are at the upstream.
sub begin_warming
{
	my ($session, $expected, @keys) = @_;
	my $list = join(',', @keys);

	$session->send("SELECT string_agg(result, ' ' ORDER BY key) FROM wbcache.warm_keys('x', '{$list}')");
	ok(await(sub { $upstream->control('counts')->{in_flight} == $expected }), "$expected requests at the upstream")
	  or diag(WbcacheTest::encode($upstream->control('counts')));
	return;
}

behaviour 'a connection stays free for clients' => sub {
	$upstream->behave(path => '/api/v3/echo/slow/*', hang => 1);
	begin_warming($session, 3, map { "slow:$_" } 1 .. 5);
	is($client->ask('echo:1')->{status}, 'miss', 'a client is answered meanwhile');
	is($upstream->control('counts')->{in_flight}, 3, 'still three');
	$upstream->clear;
	is(($session->receive)[0], 'fetched fetched fetched fetched fetched', 'all are warm in the end');
};

behaviour 'a client who joins one that was put off need not wait any longer' => sub {
	$session->run('SELECT wbcache.clear()');
	$upstream->reset;
	$upstream->behave(path => "/api/v3/echo/slow/$_", hang => 1) for 1 .. 3;
	begin_warming($session, 3, map { "slow:$_" } 1 .. 4);
	my $answer = $client->ask('slow:4');
	is($answer->{status}, 'collapsed', 'it joins');
	is($upstream->count('/echo/slow/4'), 1, 'one request for both');
	is($upstream->control('counts')->{in_flight}, 3, 'the others hang still');
	$upstream->clear;
	is(($session->receive)[0], 'fetched fetched fetched fetched', 'all are warm');
};

behaviour 'the warmer joins what a client has asked for' => sub {
	$session->run('SELECT wbcache.clear()');
	$upstream->reset;
	$upstream->behave(path => '/api/v3/echo/slow/1', hang => 1);
	$client->begin_ask('slow:1');
	ok(await(sub { $upstream->control('counts')->{in_flight} == 1 }), 'a client waits');
	begin_warming($session, 1, 'slow:1');
	ok(await_value(my $other = session($node, 'postgres'), 'SELECT coalesced_requests FROM wbcache.stat_coalescer', 2), 'it has joined');
	$upstream->clear;
	is(($session->receive)[0], 'joined', 'result');
	is($client->end_ask->{status}, 'miss', 'the client');
	is($upstream->count('/echo/slow/1'), 1, 'one request');
};

behaviour 'the loader that is left idle takes at once what a client joins' => sub {
	$session->run(<<'END');
CREATE FUNCTION load_busy(text[]) RETURNS json LANGUAGE plpgsql SET lock_timeout = '30s' AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN '1'; END $$;
CREATE FUNCTION load_quick(text[]) RETURNS json LANGUAGE sql AS $$ SELECT '1'::json $$;
SELECT wbcache.create_endpoint('busy', 'busy:{x}', loader => 'load_busy(text[])', soft_ttl => '1 h', lock_timeout => '30 s');
SELECT wbcache.create_endpoint('quick', 'quick:{x}', loader => 'load_quick(text[])', soft_ttl => '1 h');
SELECT pg_advisory_lock(7);
END
	my ($warmer, $other) = map { session($node, 'postgres') } 1 .. 2;
	$other->begin_ask('busy:1');
	ok(await_value($session, 'SELECT pending_keys FROM wbcache.stat_coalescer', 1), 'one loader is busy');
	# A loader looks by itself once a second.
	$client->run(q{SET wbcache.max_wait = '500ms'});
	for my $n (1 .. 6)
	{
		$warmer->send("SELECT count(*) FROM wbcache.warm_keys('x', '{quick:$n}')");
		ok(await_value($session, 'SELECT pending_keys FROM wbcache.stat_coalescer', 2), 'the other one leaves this alone');
		is($client->ask("quick:$n")->{status}, 'collapsed', "key $n");
		$warmer->receive;
	}
	$client->run(q{RESET wbcache.max_wait});
	$session->run('SELECT pg_advisory_unlock(7)');
	is($other->end_ask->{status}, 'miss', 'the first one, too');
};

behaviour 'a quarter of the rate limit stays for clients' => sub {
	$session->run(q{SELECT wbcache.clear(); ALTER SERVER api OPTIONS (ADD rate_limit '8/1h')});
	$upstream->reset;
	$session->run(q{SET wbcache.max_wait = '1s'});
	$client->ask('echo:r0');
	my $used = $session->value('SELECT rate_used FROM wbcache.stat_server');
	my $out = $session->value(q{SELECT count(*) FILTER (WHERE result = 'fetched'), count(*) FILTER (WHERE result LIKE 'failed: server "api" is unavailable%')
	  FROM wbcache.warm_keys('x', ARRAY(SELECT 'echo:r' || n FROM generate_series(1, 9) n))});
	is($out, 6 - $used . '|' . (3 + $used), 'six of eight requests are for it, what remains is refused');
	is($client->ask('echo:r9')->{status}, 'miss', 'a client gets the seventh, of what was just refused: that is not remembered');
	is($client->ask('echo:r8')->{status}, 'miss', 'and the eighth');
	is($client->ask('echo:r7')->{sqlstate}, 'WB002', 'the ninth is refused');
	$session->run(q{ALTER SERVER api OPTIONS (DROP rate_limit); RESET wbcache.max_wait});
};

behaviour 'a quarter of the flights stays for clients' => sub {
	$session->run('SELECT wbcache.clear()');
	$upstream->reset;
	$upstream->behave(path => '/api/v3/echo/slow/*', hang => 1);
	$session->send(q{SELECT count(*) FILTER (WHERE result = 'fetched'), count(*) FILTER (WHERE result LIKE 'failed: too many%')
	  FROM wbcache.warm_keys('x', ARRAY(SELECT 'slow:f' || n FROM generate_series(1, 20) n))});
	ok(await_value($client, 'SELECT pending_keys FROM wbcache.stat_coalescer', 12), '12 of 16 flights');
	is($client->ask('echo:f')->{status}, 'miss', 'a client has room');
	$upstream->clear;
	is(($session->receive)[0], '12|8', 'what was warmed, and what was not');
};

behaviour 'with loaders: one stays for clients' => sub {
	$session->run(<<'END');
CREATE FUNCTION test.load(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
  IF parts[2] LIKE 'slow%' THEN
    PERFORM pg_advisory_lock_shared(7);
    PERFORM pg_advisory_unlock_shared(7);
  END IF;
  RETURN to_json(parts[2]);
END $$;
SELECT wbcache.create_endpoint('loaded', 'loaded:{x}', loader => 'test.load(text[])', soft_ttl => '1 h');
END
	my $warmer = session($node, 'postgres');
	$session->run('SELECT pg_advisory_lock(7)');
	$warmer->send(q{SELECT string_agg(result, ' ') FROM wbcache.warm_keys('x', '{loaded:slow1,loaded:slow2}')});
	ok(await_value($session, q{SELECT flights_queued || ' ' || flights_under_way FROM wbcache.stat_worker WHERE kind = 'loader' LIMIT 1}, '1 1'), 'one runs, one waits');
	is($client->ask('loaded:1')->{value}, 1, 'a client is answered by the other loader');
	$session->run('SELECT pg_advisory_unlock(7)');
	is(($warmer->receive)[0], 'fetched fetched', 'both are warm in the end');
};

done_testing();
