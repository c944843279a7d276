# The fetcher and the launcher may end at any time, and the server too: readers are answered, and work goes on.

use strict;
use warnings FATAL => 'all';

use Test::More;
use Time::HiRes qw(time);
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main',
	conf => "restart_after_crash = on\nwbcache.max_flights = 16\nwbcache.max_value_size = 1MB",
	server => { timeout => '60s' });

$session->run(<<'END');
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '10 min');
SELECT wbcache.create_endpoint('blob', 'blob:{size}', 'api', '/blob?size={size}', soft_ttl => '10 min', error_ttl => '0 s');
END

sub worker
{
	my ($columns, $kind) = @_;
	return $session->stat('stat_worker', $columns, "kind = '" . ($kind || 'fetcher') . "'");
}

# A worker is not started more often than once a second; so this makes sure that its end is not delayed.
sub settle
{
	return ok(await_value($session,
			q{SELECT count(*) FROM wbcache.stat_worker WHERE kind <> 'loader' AND state = 'running' AND started_at < clock_timestamp() - interval '1100 ms'},
			2), 'both workers have run for a while');
}

# Lets five readers wait for a key, does something to the workers, and expects that all are answered soon.
sub five_readers_survive
{
	my ($key, $event) = @_;
	my @readers = map { session($node, 'postgres') } 1 .. 5;

	settle();
	$upstream->behave(path => "/api/v3/echo/$key", hang => 1);
	$_->begin_ask("echo:$key") for @readers;
	ok(await_value($session, 'SELECT waiters FROM wbcache.stat_coalescer', 5), 'five wait');
	ok(await(sub { $upstream->count("/echo/$key") == 1 }), 'the request was sent');
	$upstream->behave(path => "/api/v3/echo/$key", latency => 0.3);
	my $started = time();
	$event->();
	my @answers = map { $_->end_ask } @readers;
	my $took = time() - $started;
	is_deeply([ map { $_->{value}{n} } @answers ], [ (2) x 5 ], 'all get the answer of the second request')
	  or diag(explain(\@answers));
	cmp_ok($took, '<', 2, 'seconds until they have it');
	diag(sprintf('%s: answered %.2f s after, with an upstream that takes 0.3 s', $key, $took));
	is($upstream->count("/echo/$key"), 2, 'requests');
	ok(await_value($session, 'SELECT waiters, pending_keys FROM wbcache.stat_coalescer', '0|0'), 'nothing is left behind');
	$upstream->clear;
	return;
}

behaviour 'SIGTERM of the fetcher in mid-flight' => sub {
	my $pid = worker('pid');
	five_readers_survive('sigterm', sub { kill('TERM', $pid) });
	isnt(worker('pid'), $pid, 'there is a new fetcher');
	is(worker('starts'), 2, 'starts');
	is($session->ask('echo:after')->{status}, 'miss', 'it serves');
};

behaviour 'pg_terminate_backend and pg_cancel_backend of the fetcher' => sub {
	my $pid = worker('pid');
	five_readers_survive('terminate', sub { $session->run("SELECT pg_terminate_backend($pid)") });
	$pid = worker('pid');
	$session->run("SELECT pg_cancel_backend($pid)");
	is($session->ask('echo:uncancelled')->{status}, 'miss', 'it serves, or another one does');
};

behaviour 'SIGTERM of the launcher' => sub {
	my ($fetcher, $launcher, $starts) = (worker('pid'), worker('pid', 'launcher'), worker('starts', 'launcher'));
	settle();
	kill('TERM', $launcher);
	is($session->ask('echo:orphan')->{status}, 'miss', 'the fetcher serves meanwhile');
	ok(await_value($session, qq{SELECT starts, pid <> $launcher FROM wbcache.stat_worker WHERE kind = 'launcher'},
			$starts + 1 . '|t'), 'there is a new launcher');
	is(worker('pid'), $fetcher, 'and the old fetcher');
};

behaviour 'SIGTERM of both at once' => sub {
	my ($fetcher, $launcher, $starts) = (worker('pid'), worker('pid', 'launcher'), worker('starts'));
	settle();
	kill('TERM', $launcher, $fetcher);
	is($session->ask('echo:both')->{status}, 'miss', 'who reads then waits for the next ones');
	is(worker('starts'), $starts + 1, 'starts of the fetcher');
};

behaviour 'a flight whose fetchers keep ending is given up' => sub {
	my $reader = session($node, 'postgres');
	my $n = 0;
	$reader->run(q{SET wbcache.max_wait = '60s'});
	$upstream->behave(path => '/api/v3/echo/deadly', hang => 1);
	$reader->begin_ask('echo:deadly');
	for (1 .. 3)
	{
		ok(await(sub { $upstream->count('/echo/deadly') == $_ }), "take-off $_");
		kill('TERM', worker('pid'));
	}
	my $answer = $reader->end_ask;
	is($answer->{sqlstate}, 'WB001', 'SQLSTATE');
	is($answer->{message}, 'the fetch was given up: its worker has ended too often', 'message');
	is($upstream->count('/echo/deadly'), 3, 'requests');
	$upstream->clear;
	ok($session->ask_until('echo:deadly', 'miss'), 'later it may be tried again');
};

behaviour 'SIGHUP: a setting that the fetcher uses' => sub {
	my $pid = worker('pid');
	my $answer = $session->ask('blob:1500000');
	is($answer->{sqlstate}, '54000', 'too large at first');
	$node->append_conf('postgresql.conf', 'wbcache.max_value_size = 2MB');
	$node->reload;
	ok($session->ask_until('blob:1500000', 'miss'), 'good after the reload');
	is(worker('pid'), $pid, 'with the same fetcher');
};

behaviour 'when there is no room for another flight, reads fail with an error of their own' => sub {
	my @readers = map { session($node, 'postgres') } 1 .. 4;
	$upstream->behave(path => '/api/v3/echo/room*', hang => 1);
	$readers[$_]->send(qq{SELECT count(value), count(error) FROM wbcache.get_many(
		(SELECT array_agg('echo:room$_-' || i) FROM generate_series(1, 4) i))}) for 0 .. 3;
	ok(await_value($session, 'SELECT waiters, pending_keys FROM wbcache.stat_coalescer', '16|16'), 'all flights are taken');
	my $answer = $session->ask('echo:more');
	is($answer->{sqlstate}, 'WB005', 'SQLSTATE');
	is($answer->{message}, 'too many fetches are under way', 'message');
	like($answer->{hint}, qr/wbcache\.max_flights/, 'hint');
	$session->run(q{SELECT wbcache.set('echo:stale', '{"n": 0}', soft_ttl => '1 us')});
	is($session->ask('echo:stale')->{status}, 'stale', 'a stale value is served');
	$upstream->clear;
	is(($_->receive)[0], '4|0', 'values, errors') for @readers;
	is($session->ask('echo:more')->{status}, 'miss', 'there is room again');
};

behaviour 'get_many fetches more than there is room for, and leaves room to others' => sub {
	my $reader = session($node, 'postgres');
	$upstream->behave(path => '/api/v3/echo/lot*', hang => 1);
	$reader->send(q{SELECT count(value), count(error) FROM wbcache.get_many(
		(SELECT array_agg('echo:lot' || i) FROM generate_series(1, 40) i))});
	ok(await_value($session, 'SELECT waiters, pending_keys FROM wbcache.stat_coalescer', '4|4'), 'a quarter of the flights');
	is($session->ask('echo:beside')->{status}, 'miss', 'another reader is served');
	$upstream->clear;
	is(($reader->receive)[0], '40|0', 'values, errors');
};

behaviour 'DROP EXTENSION and CREATE EXTENSION under a running fetcher' => sub {
	my $pid = worker('pid');
	my $reader = session($node, 'postgres');
	my $old = $session->ask('echo:same')->{value};

	$upstream->behave(path => '/api/v3/echo/inflight', hang => 1);
	$reader->send(q{SELECT wbcache.get('echo:inflight') ->> 'n'});
	ok(await(sub { $upstream->count('/echo/inflight') == 1 }), 'a request is on its way');
	$session->run('DROP EXTENSION wbcache CASCADE');
	$upstream->clear;
	is(($reader->receive)[0], 1, 'its reader gets the answer');
	is($session->ask('echo:same')->{sqlstate}, '42883', 'without the extension there are no functions');

	$session->run(<<"END");
CREATE EXTENSION wbcache;
CREATE SERVER api FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url '${\ $upstream->base_url}', timeout '60s');
CREATE USER MAPPING FOR PUBLIC SERVER api OPTIONS (header 'X-Api-Key: ${\ $upstream->key}');
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '10 min');
END
	my $answer = $session->ask('echo:same');
	is($answer->{status}, 'miss', 'the new one does not serve what the old one has cached');
	is($answer->{value}{n}, $old->{n} + 1, 'but what it has fetched');
	is($reader->ask('echo:same')->{status}, 'hit', 'a session that knows the old one finds the new one');
	is(worker('pid'), $pid, 'the fetcher is the same');
};

behaviour 'kill -9 of the fetcher restarts the server, which serves again' => sub {
	my $waiting = session($node, 'postgres');
	my $pid = worker('pid');

	$session->ask('echo:before');
	$upstream->behave(path => '/api/v3/echo/crash', hang => 1);
	$waiting->begin_ask('echo:crash');
	ok(await_value($session, 'SELECT waiters FROM wbcache.stat_coalescer', 1), 'somebody waits');
	kill('KILL', $pid);
	$upstream->clear;
	undef $waiting;
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM wbcache.stat_worker WHERE kind <> 'loader' AND state = 'running'}),
		'both workers run again');
	$session = session($node, 'postgres');
	my $answer = $session->ask('echo:before');
	is($answer->{status}, 'miss', 'the cache is empty') or diag(explain($answer));
	is($session->ask('echo:before')->{status}, 'hit', 'and filled again');
	is($session->ask('echo:crash')->{status}, 'miss', 'what was under way can be fetched');
	is($session->value('SELECT waiters, pending_keys FROM wbcache.stat_coalescer'), '0|0', 'no waiters, no flights');
};

behaviour 'a fast shutdown in mid-flight is prompt, and a restart serves again' => sub {
	my @readers = map { session($node, 'postgres') } 1 .. 3;

	$upstream->behave(path => '/api/v3/echo/shutdown', hang => 1);
	$_->run(q{SET wbcache.max_wait = '10min'}) for @readers;
	$_->begin_ask('echo:shutdown') for @readers;
	ok(await_value($session, 'SELECT waiters FROM wbcache.stat_coalescer', 3), 'three wait');
	my $started = time();
	$node->stop('fast');
	cmp_ok(time() - $started, '<', 10, 'seconds for the shutdown');
	@readers = ();
	$upstream->clear;
	$node->start;
	$session = session($node, 'postgres');
	is($session->ask('echo:shutdown')->{status}, 'miss', 'the key that was under way');
};

done_testing();
