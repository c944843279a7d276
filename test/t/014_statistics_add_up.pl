# The counters: every read is in exactly one of them, and what they say fits together.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main', server => { breaker_failures => 1000000, timeout => '60s' });
my $all = 'hits, stale, misses, collapsed, bypasses, errors';

$session->run(<<'END');
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '10 min', error_ttl => '0 s');
SELECT wbcache.create_endpoint('busy', 'busy:{x}', 'api', '/echo/busy/{x}', soft_ttl => '20 ms', hard_ttl => '40 ms', error_ttl => '5 ms');
SELECT wbcache.create_endpoint('given', 'given:{x}');
END

# How the counters of an endpoint change when this is done.
sub counts
{
	my ($endpoint, $code) = @_;
	my @before = split /\|/, $session->stat('stat_endpoint', $all, "endpoint = '$endpoint'");
	$code->();
	my @after = split /\|/, $session->stat('stat_endpoint', $all, "endpoint = '$endpoint'");
	return join(' ', map { $after[$_] - $before[$_] } 0 .. $#after);
}

behaviour 'each kind of read is counted as what it is' => sub {
	#              hits, stale, misses, collapsed, bypasses, errors
	is(counts('echo', sub { $session->ask('echo:1') }), '0 0 1 0 0 0', 'a miss');
	is(counts('echo', sub { $session->ask('echo:1') for 1 .. 3 }), '3 0 0 0 0 0', 'hits');
	is(counts('echo', sub { $session->value(q{SELECT count(wbcache.get('echo:1')) FROM generate_series(1, 100)}) }),
		'100 0 0 0 0 0', 'hits in one statement');
	$session->run(q{SELECT wbcache.set('echo:stale', '0', soft_ttl => '1 us')});
	is(counts('echo', sub { $session->ask('echo:stale') }), '0 1 0 0 0 0', 'a stale serve');
	ok($session->ask_until('echo:stale', 'hit'), 'it is refreshed');
	is(counts('echo', sub { $session->run(q{BEGIN; SELECT wbcache.invalidate('echo:1'); SELECT wbcache.get('echo:1'); COMMIT}) }),
		'0 0 0 0 1 0', 'a bypass');
	is(counts('echo', sub { $session->run(q{BEGIN; SELECT wbcache.set('echo:1', '7'); SELECT wbcache.get('echo:1'); ROLLBACK}) }),
		'0 0 0 0 1 0', 'a value of the transaction itself');
	$upstream->behave(path => '/api/v3/echo/bad', status => 500);
	is(counts('echo', sub { $session->ask('echo:bad') for 1 .. 2 }), '0 0 0 0 0 2', 'errors');
	$upstream->behave(path => '/api/v3/echo/slow', hang => 1);
	is(counts('echo', sub { $session->run(q{SET wbcache.max_wait = '20ms'}); $session->ask('echo:slow') }), '0 0 0 0 0 1', 'no answer in time');
	$session->run(q{RESET wbcache.max_wait});
	is(counts('echo', sub {
			my @readers = map { session($node, 'postgres') } 1 .. 3;
			$_->begin_ask('echo:slow') for @readers;
			ok(await_value($session, 'SELECT waiters FROM wbcache.stat_coalescer', 3), 'three wait');
			$upstream->clear;
			$_->end_ask for @readers;
		}), '0 0 0 3 0 0', 'collapsed');
	is(counts('echo', sub { $session->run(q{SELECT count(*) FROM wbcache.get_many(
			ARRAY['echo:1', 'echo:many1', NULL, 'echo:many1', 'echo:many2', 'echo:1'])}) }), '0 0 3 2 0 0', 'get_many');
	is(counts('given', sub { $session->ask('given:1') }), '0 0 1 0 0 0', 'a miss without an upstream');
	is(counts('echo', sub { $session->ask('nothing:1'); $session->value('SELECT wbcache.get(NULL)') }), '0 0 0 0 0 0',
		'what is no read');
};

behaviour 'the sum is the number of reads, whatever happens meanwhile' => sub {
	my $script = PostgreSQL::Test::Utils::tempdir() . '/reads.sql';
	my ($out, $err) = ('', '');

	append_to_file($script, <<'END');
\set key random(1, 20)
\set event random(1, 50)
SELECT test.ask('busy:' || :key);
SELECT count(*) FROM wbcache.get_many(ARRAY['busy:' || :key, 'busy:' || :key + 1, 'busy:' || :key + 2]);
\if :event = 1
SELECT wbcache.invalidate('busy:' || :key);
\elif :event = 2
SELECT wbcache.set('busy:' || :key, '1');
\elif :event = 3
SELECT wbcache.delete('busy:' || :key);
\endif
END
	$session->run('SELECT wbcache.stat_reset()');
	is($session->stat('stat_endpoint', $all, q{endpoint = 'busy'}), '0|0|0|0|0|0', 'stat_reset');
	$upstream->behave(path => '/api/v3/echo/busy/7', status => 500);
	$upstream->behave(path => '/api/v3/echo/busy/8', latency => 0.05);
	ok(IPC::Run::run([ $node->installed_command('pgbench'), '-n', '-c', 8, '-j', 2, '-t', 250, '-f', $script,
				$node->connstr('postgres') ], '>', \$out, '2>', \$err), 'eight clients read')
	  or diag($err);
	$upstream->clear;
	ok(await_value($session, 'SELECT waiters, pending_keys FROM wbcache.stat_coalescer', '0|0'), 'all is quiet');
	diag("$all: " . $session->stat('stat_endpoint', $all, q{endpoint = 'busy'}));
	is($session->stat('stat_endpoint', 'hits + stale + misses + collapsed + bypasses + errors', q{endpoint = 'busy'}),
		8 * 250 * 4, 'reads');
	for my $counter (qw(hits misses collapsed errors))
	{
		cmp_ok($session->stat('stat_endpoint', $counter, q{endpoint = 'busy'}), '>', 0, "there were $counter");
	}

	my ($successes, $failures) = split /\|/, $session->stat('stat_endpoint', 'refresh_successes, refresh_failures', q{endpoint = 'busy'});
	is($session->stat('stat_coalescer', 'total_requests - coalesced_requests'), $successes + $failures, 'flights that were made have ended');
	is($session->stat('stat_coalescer', 'upstream_calls'), $successes + $failures, 'and each was a call of the upstream');
	is($session->stat('stat_server', 'requests, successes + not_modified, failures, running'),
		$successes + $failures . "|$successes|$failures|0", 'the server has counted the same');
	is(scalar $upstream->log('/echo/busy/*'), $successes + $failures, 'and so has the upstream');
	is($session->stat('stat_coalescer', 'hit_rate_percent = round(100.0 * coalesced_requests / total_requests, 2)'), 't', 'hit rate');
	cmp_ok($session->stat('stat_coalescer', 'avg_wait_time_ms'), '>', 0, 'average wait');
	my $most = $session->stat('stat_coalescer', 'max_concurrent_waiters');
	ok($most >= 1 && $most <= 24, 'most waiters');
};

done_testing();
