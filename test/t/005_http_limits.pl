# How an upstream is spared: its rate limit, the pause it asks for, and the circuit breaker.

use strict;
use warnings FATAL => 'all';

use POSIX qw(strftime);
use Test::More;
use Time::HiRes qw(time);
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main');

# A server of its own for a test, with an endpoint of the same name.
sub server
{
	my ($name, $options, $more) = @_;
	$session->run(<<"END");
CREATE SERVER $name FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url '${\ $upstream->base_url}', $options);
CREATE USER MAPPING FOR PUBLIC SERVER $name OPTIONS (header 'X-Api-Key: ${\ $upstream->key}');
SELECT wbcache.create_endpoint('$name', '$name:{x}', '$name', '/echo/$name/{x}',
	soft_ttl => '10 min', hard_ttl => '20 min', error_ttl => '0 s'${\ ($more ? ", $more" : '')});
END
	return;
}

sub put_stale
{
	my ($key) = @_;
	$session->run("SELECT wbcache.set('$key', '{\"n\": 0}', soft_ttl => '1 us', hard_ttl => '10 min')");
	return;
}

sub server_stat
{
	my ($name, $columns) = @_;
	return $session->stat('stat_server', $columns, "server = '$name'");
}

behaviour 'a rate limit of 3 in 2 s lets no more than that go, and the others in the windows after' => sub {
	server('rate', q{rate_limit '3/2s'});
	my $reader = session($node, 'postgres');
	$reader->send(q{SELECT count(value), count(error) FROM wbcache.get_many(
		(SELECT array_agg('rate:' || i) FROM generate_series(1, 7) i))});
	ok(await(sub { $upstream->log('/echo/rate/*') == 3 }), 'three are sent');
	is(server_stat('rate', 'rate_limit, rate_used, rate_window_ends > now()'), '3|3|t', 'the view shows it');
	is(($reader->receive)[0], '7|0', 'values, errors');

	my @started = map { $_->{started} } $upstream->log('/echo/rate/*');
	is(scalar @started, 7, 'requests');
	my ($window, $used, $most) = (0, 0, 0);
	for my $time (sort { $a <=> $b } @started)
	{
		# What the upstream sees may be late at the beginning of a window, but not by much.
		($window, $used) = ($time, 0) if $time >= $window + 1.8;
		$most = $used if ++$used > $most;
	}
	is($most, 3, 'most in one window');
	cmp_ok($started[-1] - $started[0], '>=', 3.8, 'seconds for the three windows');
	is(server_stat('rate', 'rate_limited, failures'), '4|0', 'fetches that had to wait, failures');
};

behaviour 'what would have to wait longer than max_wait is refused at once' => sub {
	server('hour', q{rate_limit '3/1h'});
	is($session->ask("hour:$_")->{status}, 'miss', 'within the limit') for 1 .. 3;
	my $answer = $session->ask('hour:4');
	is($answer->{sqlstate}, 'WB002', 'SQLSTATE');
	is($answer->{message}, 'server "hour" is unavailable: its rate limit is used up', 'message');
	like($answer->{detail}, qr/^The next try is possible in 3[56]\d{5} ms\.$/, 'detail');
	like($answer->{hint}, qr/wbcache\.stat_server/, 'hint');
	cmp_ok($answer->{took}, '<', 2000, 'at once');
	put_stale('hour:5');
	is($session->ask('hour:5')->{status}, 'stale', 'a stale value is served');
	ok(await(sub { server_stat('hour', 'rate_limited') == 2 }), 'without its refresh');
	is($session->ask('hour:1')->{status}, 'hit', 'a fresh one too');
	is(scalar @{[ $upstream->log('/echo/hour/*') ]}, 3, 'requests');
};

behaviour 'what somebody waits for goes before a refresh' => sub {
	server('first', q{rate_limit '1/2s'});
	put_stale('first:stale');
	is($session->ask('first:a')->{status}, 'miss', 'the window is used up');
	is($session->ask('first:stale')->{status}, 'stale', 'a refresh has to wait');
	ok(await(sub { server_stat('first', 'rate_limited') == 1 }), 'and waits');
	is($session->ask('first:b')->{status}, 'miss', 'a reader comes later');
	ok(await(sub { $upstream->log('/echo/first/*') == 3 }), 'all are sent in the end');
	is_deeply([ map { $_->{path} =~ s/.*\///r } $upstream->log('/echo/first/*') ], [ 'a', 'b', 'stale' ], 'in this order');
};

# A pause of so many seconds, asked for by this behaviour, delays the request for the next key.
sub pauses
{
	my ($name, $endpoint, $detail, %behaviour) = @_;

	behaviour $name => sub {
		server($endpoint, q{breaker_failures '2'});
		$upstream->behave(path => "/api/v3/echo/$endpoint/a", %behaviour);
		my $answer = $session->ask("$endpoint:a");
		is($answer->{sqlstate}, 'WB001', 'SQLSTATE');
		like($answer->{message}, qr/answered with HTTP status (429|503)$/, 'message');
		like($answer->{detail}, $detail, 'detail');
		is(server_stat($endpoint, 'paused_until > now(), breaker_state'), 't|closed', 'the server is paused');
		is($session->ask("$endpoint:b")->{status}, 'miss', 'the next key is served in the end');
		my ($first, $second) = map { $_->{started} } $upstream->log("/echo/$endpoint/*");
		cmp_ok($second - $first, '>=', 0.9, 'seconds between the two');
		is(server_stat($endpoint, 'paused_until IS NULL, breaker_state, consecutive_failures'), 't|closed|0',
			'the pause is over');
	};
	return;
}

pauses('a 429 is a pause of so many seconds', 'pause1', qr/^It asks to be tried again in 1 s\.$/, retry_after => 1);
pauses('a 503 may be one too', 'pause2', qr/^It asks to be tried again in 1 s\.$/, status => 503, retry_after => 1);
pauses('a 429 without a time is a pause of a second', 'pause3', qr/^$/, status => 429);

behaviour 'a pause may be a date' => sub {
	server('date', q{breaker_failures '2'});
	$upstream->behave(path => '/api/v3/echo/date/a', retry_after => strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime(time() + 2)));
	like($session->ask('date:a')->{detail}, qr/^It asks to be tried again in [12] s\.$/, 'detail');
	is($session->ask('date:b')->{status}, 'miss', 'the next one is served in the end');
	my ($first, $second) = map { $_->{started} } $upstream->log('/echo/date/*');
	cmp_ok($second - $first, '>=', 0.5, 'seconds between the two');
};

behaviour 'during a long pause all is refused at once' => sub {
	server('long', q{breaker_failures '2'});
	$upstream->behave(path => '/api/v3/echo/long/a', retry_after => 999_999_999);
	$session->ask('long:a');
	my $answer = $session->ask('long:b');
	is($answer->{sqlstate}, 'WB002', 'SQLSTATE');
	is($answer->{message}, 'server "long" is unavailable: it has asked to be left alone for a while', 'message');
	like($answer->{detail}, qr/^The next try is possible in 3[56]\d{5} ms\.$/, 'a pause is never longer than an hour');
	put_stale('long:c');
	is($session->ask('long:c')->{status}, 'stale', 'a stale value is served');
	is(scalar @{[ $upstream->log('/echo/long/*') ]}, 1, 'requests');
};

$upstream->clear;
server('breaker', q{breaker_failures '5', breaker_cooldown '1500ms', timeout '60s'});

sub fail_times
{
	my ($times, $prefix) = @_;
	$upstream->behave(path => '/api/v3/echo/breaker/*', status => 500);
	is($session->ask("breaker:$prefix$_")->{sqlstate}, 'WB001', "failure $_") for 1 .. $times;
	return;
}

behaviour 'the breaker stays closed while failures are not in a row' => sub {
	fail_times(4, 'a');
	$upstream->clear;
	is($session->ask('breaker:good')->{status}, 'miss', 'success');
	fail_times(4, 'b');
	is(server_stat('breaker', 'breaker_state, consecutive_failures, next_try IS NULL'), 'closed|4|t', 'state');
	$upstream->behave(path => '/api/v3/echo/breaker/missing', status => 404);
	is($session->ask('breaker:missing')->{sqlstate}, 'WB001', 'an answer of 404');
	is(server_stat('breaker', 'breaker_state, consecutive_failures'), 'closed|0', 'shows that the server is alive');
	$upstream->clear;
};

behaviour 'the breaker opens with the fifth failure in a row' => sub {
	my $log = log_size($node);
	fail_times(5, 'c');
	is(server_stat('breaker', 'breaker_state, consecutive_failures, next_try > now()'), 'open|5|t', 'state');
	like(log_since($node, $log), qr/LOG:  circuit breaker of server "breaker" is open\n.*DETAIL:  5 requests in a row have failed/,
		'log');
	my $before = $upstream->total;
	my $answer = $session->ask('breaker:d');
	is($answer->{sqlstate}, 'WB002', 'a miss is refused: SQLSTATE');
	is($answer->{message}, 'server "breaker" is unavailable: its circuit breaker is open', 'message');
	like($answer->{detail}, qr/^The next try is possible in \d{1,4} ms\.$/, 'detail');
	cmp_ok($answer->{took}, '<', 1000, 'at once');
	put_stale('breaker:stale');
	is($session->ask('breaker:stale')->{status}, 'stale', 'a stale value is served');
	is($session->ask('breaker:good')->{status}, 'hit', 'a fresh one too');
	ok(await(sub { server_stat('breaker', 'refused') == 2 }), 'both the miss and the refresh were refused');
	is($upstream->total, $before, 'nothing was sent');
};

# Asks for new keys until the probe is on its way; it hangs, and is answered with this status when it may go on.
sub probe
{
	my ($prefix, $status) = @_;
	my ($before, $i) = ($upstream->total, 0);

	$upstream->behave(path => '/api/v3/echo/breaker/*', hang => 1, status => $status);
	$session->run(q{SET wbcache.max_wait = '100ms'});
	# A machine that stands still for a moment makes an answer late too: it is the state that tells.
	ok(await(sub {
			$session->ask("breaker:$prefix" . ++$i);
			return server_stat('breaker', 'breaker_state') eq 'half-open';
		}), 'a probe is sent after the cooldown');
	$session->run('RESET wbcache.max_wait');
	is(server_stat('breaker', 'breaker_state, running'), 'half-open|1', 'state');
	is($session->ask("breaker:$prefix-$_")->{sqlstate}, 'WB002', 'nothing else is sent') for 1 .. 3;
	is($upstream->total, $before + 1, 'requests');
	return;
}

behaviour 'a probe that fails opens it again, for the whole cooldown' => sub {
	probe('e', 500);
	my $before = time();
	$upstream->clear;
	ok(await_value($session, q{SELECT breaker_state FROM wbcache.stat_server WHERE server = 'breaker'}, 'open'), 'state');
	is(server_stat('breaker', 'running, consecutive_failures'), '0|6', 'the probe has failed');
	is($session->ask('breaker:f')->{sqlstate}, 'WB002', 'a miss is refused');
	probe('g', 500);
	cmp_ok(time() - $before, '>=', 1.45, 'seconds until the next probe');
	$upstream->clear;
	ok(await_value($session, q{SELECT breaker_state FROM wbcache.stat_server WHERE server = 'breaker'}, 'open'), 'state');
};

behaviour 'a probe that succeeds closes it' => sub {
	my $log = log_size($node);
	probe('h', 200);
	$upstream->clear;
	ok(await_value($session, q{SELECT breaker_state FROM wbcache.stat_server WHERE server = 'breaker'}, 'closed'), 'state');
	is(server_stat('breaker', 'running, consecutive_failures, next_try IS NULL'), '0|0|t', 'nothing is held against it');
	is($session->ask('breaker:i')->{status}, 'miss', 'a miss is fetched');
	ok($session->ask_until('breaker:stale', 'hit'), 'a stale value is refreshed');
	ok($node->wait_for_log(qr/LOG:  circuit breaker of server "breaker" is closed again/, $log), 'log');
};

behaviour 'the end of the fetcher in the middle of a probe does not leave it half-open' => sub {
	fail_times(5, 'j');
	probe('k', 200);
	my $pid = $session->stat('stat_worker', 'pid', q{kind = 'fetcher'});
	$upstream->behave(path => '/api/v3/echo/breaker/*', status => 200);
	$session->run("SELECT pg_terminate_backend($pid)");
	ok(await_value($session, q{SELECT breaker_state FROM wbcache.stat_server WHERE server = 'breaker'}, 'closed'),
		'its successor sends another one');
	is(server_stat('breaker', 'running'), 0, 'and does not count the old one as running');
	$upstream->clear;
};

behaviour 'at most max_connections requests are in progress' => sub {
	server('few', q{max_connections '2'});
	$upstream->reset;
	$upstream->behave(path => '/api/v3/echo/few/*', latency => 0.1);
	is($session->value(q{SELECT count(value) FROM wbcache.get_many(
		(SELECT array_agg('few:' || i) FROM generate_series(1, 10) i))}), 10, 'values');
	is($upstream->control('counts')->{max_in_flight}, 2, 'requests at one time');
	$upstream->clear;
};

behaviour 'nothing is left behind' => sub {
	ok(await_value($session, 'SELECT waiters, pending_keys FROM wbcache.stat_coalescer', '0|0'), 'waiters, pending keys');
	is($session->value('SELECT sum(running) FROM wbcache.stat_server'), 0, 'requests in progress');
};

done_testing();
