# What is fresh, stale or expired gets; what a refresh that fails or hangs does to it; how long a read waits.

use strict;
use warnings FATAL => 'all';

use Test::More;
use Time::HiRes qw(time usleep);
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main',
	server => { timeout => '60s', breaker_failures => 1000000 });

# key, soft and hard TTL, other properties
sub endpoint
{
	my ($name, $soft_ttl, $hard_ttl, $more) = @_;
	$session->run("SELECT wbcache.create_endpoint('$name', '$name:{x}', 'api', '/echo/$name/{x}',
		soft_ttl => '$soft_ttl', hard_ttl => '$hard_ttl'" . ($more ? ", $more" : '') . ')');
	return;
}

# Puts {"n": 0} there, stale from the beginning; hard TTL in seconds.
sub put_stale
{
	my ($key, $hard_ttl) = @_;
	$session->run("SELECT wbcache.set('$key', '{\"n\": 0}', soft_ttl => '1 us', hard_ttl => '$hard_ttl s')");
	return;
}

# Reads a stale key until it isn't stale any more: the age in seconds at which it was last served, and the answer then.
sub watch_until_gone
{
	my ($key) = @_;
	my $age = 0;
	my $gone = WbcacheTest::await(sub {
		my $answer = $session->ask($key);
		return $answer if ($answer->{status} || '') ne 'stale';
		$age = $answer->{age};
		return 0;
	});
	return ($age, $gone);
}

behaviour 'fresh, then stale while one refresh runs behind, then fresh again' => sub {
	endpoint('swr', '1 s', '10 min');
	my $answer = $session->ask('swr:1');
	is($answer->{status}, 'miss', 'the first read waits for the value');
	is($answer->{value}{n}, 1, 'which is that of the first request');
	$answer = $session->ask('swr:1');
	is($answer->{status}, 'hit', 'the second read finds it');
	ok($answer->{ttl} > 0 && $answer->{ttl} <= 1, 'and it is fresh for up to a second');
	cmp_ok($answer->{age}, '>=', 0, 'age');

	$upstream->behave(path => '/api/v3/echo/swr/1', hang => 1);
	$answer = $session->ask_until('swr:1', 'stale');
	is($answer->{value}{n}, 1, 'a stale value is served');
	cmp_ok($answer->{age}, '>=', 1, 'its age is past the soft TTL');
	cmp_ok($answer->{ttl}, '<', 0, 'its ttl is below zero');
	like($answer->{detail}, qr/refresh started/, 'the first stale read asks for a refresh');
	ok(await(sub { $upstream->count('/echo/swr/1') == 2 }), 'the refresh is sent');
	like($session->ask('swr:1')->{detail}, qr/refresh is under way/, 'the next one knows of it') for 1 .. 3;
	is($upstream->count('/echo/swr/1'), 2, 'and does not ask for another');

	$upstream->clear;
	$answer = $session->ask_until('swr:1', 'hit');
	is($answer->{value}{n}, 2, 'the refreshed value is served');
	cmp_ok($answer->{age}, '<', 1, 'its age counts anew');
};

behaviour 'a read of a stale key does not wait for an upstream that hangs' => sub {
	endpoint('hang', '10 min', '20 min');
	$session->ask('hang:fresh');
	put_stale('hang:stale', 1200);
	$upstream->behave(path => '/api/v3/echo/hang/*', hang => 1);
	$session->run(<<'END');
CREATE FUNCTION test.time_gets(key text, n int, OUT median float8, OUT longest float8) LANGUAGE plpgsql AS $$
DECLARE
  times float8[];
  started timestamptz;
BEGIN
  FOR i IN 1 .. n LOOP
    started := clock_timestamp();
    PERFORM wbcache.get(key);
    times[i] := extract(epoch FROM clock_timestamp() - started) * 1e6;
  END LOOP;
  SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY t), max(t) INTO median, longest FROM unnest(times) t;
END $$;
END
	my ($fresh, $fresh_longest) = split /\|/, $session->value(q{SELECT * FROM test.time_gets('hang:fresh', 20000)});
	my ($stale, $stale_longest) = split /\|/, $session->value(q{SELECT * FROM test.time_gets('hang:stale', 20000)});
	diag(sprintf('get, median and longest of 20,000: fresh %.1f and %.0f us, stale while the upstream hangs %.1f and %.0f us',
			$fresh, $fresh_longest, $stale, $stale_longest));
	is($upstream->control('counts')->{in_flight}, 1, 'the refresh hangs');
	is($upstream->count('/echo/hang/stale'), 1, 'and there is one');
	cmp_ok($stale, '<', 10 * $fresh + 50, 'a stale read takes about as long as a fresh one');
	cmp_ok($stale_longest, '<', 2e6, 'and none takes long');
	is($session->ask('hang:stale')->{status}, 'stale', 'it still is stale');
	$upstream->clear;
	ok($session->ask_until('hang:stale', 'hit'), 'and fresh when the upstream has answered');
};

behaviour 'a value past its hard TTL is not served' => sub {
	endpoint('hard', '10 min', '10 min');
	$session->run(q{SELECT wbcache.set('hard:1', '{"n": 0}', soft_ttl => '1 us', hard_ttl => '200 ms')});
	usleep(250_000);
	my $answer = $session->ask('hard:1');
	is($answer->{status}, 'miss', 'status');
	is($answer->{value}{n}, 1, 'value');
};

behaviour 'a failed refresh lets the old value live 50 % of the hard TTL longer' => sub {
	endpoint('longer', '1 s', '2 s', q{error_ttl => '10 min'});
	$upstream->behave(path => '/api/v3/echo/longer/*', status => 500);
	put_stale('longer:1', 2);
	my ($age, $gone) = watch_until_gone('longer:1');
	cmp_ok($age, '>', 2.3, 'served after its hard TTL of 2 s');
	cmp_ok($age, '<=', 3.02, 'and not after 3 s');
	is($gone->{sqlstate}, 'WB001', 'then the failure is shown');
	is($upstream->count('/echo/longer/1'), 2, 'requests: the refresh, and the one after the end');
	$upstream->clear;
};

behaviour 'further failures keep it, up to max_stale' => sub {
	endpoint('stay', '200 ms', '800 ms', q{error_ttl => '50 ms', max_stale => '2400 ms'});
	$upstream->behave(path => '/api/v3/echo/stay/*', status => 500);
	put_stale('stay:1', 0.8);
	my ($age, $gone) = watch_until_gone('stay:1');
	cmp_ok($age, '>', 1.7, 'served long after its hard TTL of 0.8 s');
	cmp_ok($age, '<=', 2.42, 'and not after max_stale');
	is($gone->{sqlstate}, 'WB001', 'then the failure is shown');
	cmp_ok($upstream->count('/echo/stay/1'), '>', 3, 'it was tried again and again');
	cmp_ok($upstream->count('/echo/stay/1'), '<', 50, 'but not more often than error_ttl allows');

	$upstream->clear;
	ok($session->ask_until('stay:1', 'hit'), 'the upstream is back, and so is the value');
};

behaviour 'a failure is remembered for error_ttl, and not longer' => sub {
	endpoint('error', '10 min', '10 min', q{error_ttl => '2 s'});
	$upstream->behave(path => '/api/v3/echo/error/*', status => 502);
	my $first = $session->ask('error:1');
	my $since = time();
	is($first->{sqlstate}, 'WB001', 'the first read gets the failure');
	for (1 .. 5)
	{
		my $next = $session->ask('error:1');
		is_deeply([ @$next{qw(sqlstate message detail hint)} ], [ @$first{qw(sqlstate message detail hint)} ],
			'the next one gets the same');
	}
	SKIP:
	{
		skip 'the machine was too slow for this', 1 if time() - $since > 1.5;
		is($upstream->count('/echo/error/1'), 1, 'with one request');
	}
	ok(await(sub { $session->ask('error:1'); $upstream->count('/echo/error/1') == 2 }), 'later it is tried again');
	cmp_ok(time() - $since, '>', 1.9, 'after error_ttl');
	$upstream->clear;
	ok($session->ask_until('error:1', 'miss'), 'and served when the upstream is back');
};

behaviour 'get_many fetches what is missing side by side' => sub {
	endpoint('many', '10 min', '10 min');
	$session->ask('many:hot');
	$upstream->behave(path => '/api/v3/echo/many/bad', status => 500);
	$upstream->behave(path => '/api/v3/echo/many/c*', hang => 1);
	my $reader = session($node, 'postgres');
	$reader->send(q{SELECT coalesce(key, 'NULL'), value ->> 'n', error FROM wbcache.get_many(
		ARRAY['many:hot', 'many:c1', 'many:c2', NULL, 'many:c3', 'many:bad', 'many:c4', 'many:c5', 'many:c1', 'many:c6'])});
	ok(await(sub { $upstream->control('counts')->{in_flight} == 6 }), 'all six are on their way together');
	$upstream->clear;
	my ($out) = $reader->receive;
	is($out, join("\n", 'many:hot|1|', 'many:c1|1|', 'many:c2|1|', 'NULL||', 'many:c3|1|',
			'many:bad||server "api" answered with HTTP status 500', 'many:c4|1|', 'many:c5|1|', 'many:c1|1|', 'many:c6|1|'),
		'one row for each key, in their order');
	is($upstream->count('/echo/many/c1'), 1, 'one request for the key that was named twice');
};

behaviour 'a read gives up after max_wait, and the fetch goes on' => sub {
	endpoint('wait', '10 min', '10 min');
	$upstream->behave(path => '/api/v3/echo/wait/1', hang => 1);
	$session->run(q{SET wbcache.max_wait = '300ms'});
	my $answer = $session->ask('wait:1');
	is($answer->{sqlstate}, 'WB003', 'SQLSTATE');
	is($answer->{message}, 'no answer from server "api" within 300 ms', 'message');
	like($answer->{detail}, qr/^The fetch has been under way for \d+ ms\.$/, 'detail');
	like($answer->{hint}, qr/wbcache\.max_wait/, 'hint');
	cmp_ok($answer->{took}, '>=', 295, 'it waited for max_wait');
	cmp_ok($answer->{took}, '<', 2000, 'and not much longer');
	is($session->ask('wait:1')->{sqlstate}, 'WB003', 'the next one joins the same fetch');
	is($upstream->count('/echo/wait/1'), 1, 'requests');
	is($session->stat('stat_coalescer', 'waiters, pending_keys'), '0|1', 'nobody waits for the fetch any more');

	$upstream->clear;
	ok(await_value($session, 'SELECT pending_keys FROM wbcache.stat_coalescer', 0), 'the fetch has ended');
	is($session->ask('wait:1')->{status}, 'hit', 'its value is there');
	is($upstream->count('/echo/wait/1'), 1, 'of the one request');
	$session->run('RESET wbcache.max_wait');
};

done_testing();
