# How long things took: each operation is timed where it happens, and hits one in sixteen.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main', upstream => [ '--latency' => 0.3 ], conf => 'wbcache.loaders = 1');

$session->run(<<'END');
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '1 h');
CREATE FUNCTION test.load(parts text[]) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.2); RETURN '1'; END $$;
SELECT wbcache.create_endpoint('loaded', 'loaded:{x}', loader => 'test.load(text[])', soft_ttl => '1 h');
SELECT wbcache.create_endpoint('given', 'given:{x}', soft_ttl => '1 h');
END

# {operation => count} of an endpoint, as text.
sub counts
{
	my ($endpoint) = @_;
	return $session->value("SELECT string_agg(operation || ' ' || count, ', ' ORDER BY operation) FROM wbcache.stat_latency WHERE endpoint = '$endpoint'");
}

# Does this hold of the durations of an operation?
sub holds
{
	my ($endpoint, $operation, $condition) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return is($session->stat('stat_latency', $condition, "endpoint = '$endpoint' AND operation = '$operation'"), 't', "$operation: $condition")
	  || diag($session->value("SELECT * FROM wbcache.stat_latency WHERE endpoint = '$endpoint'"));
}

behaviour 'a miss: the wait, the request, the flight' => sub {
	is($session->ask('echo:1')->{status}, 'miss', 'status');
	is(counts('echo'), 'fetch 1, refresh 1, wait 1', 'operations');
	holds('echo', $_, 'p50_ms BETWEEN 200 AND max_ms AND max_ms >= 300 AND average_ms = max_ms AND p50_ms <= p95_ms AND p95_ms <= p99_ms AND p99_ms <= max_ms')
	  for qw(fetch refresh wait);
};

behaviour 'a loader' => sub {
	is($session->ask('loaded:1')->{status}, 'miss', 'status');
	is(counts('loaded'), 'load 1, refresh 1, wait 1', 'operations');
	holds('loaded', $_, 'max_ms >= 200') for qw(load refresh wait);
};

behaviour 'a stale read, and its refresh' => sub {
	$session->run(q{SELECT wbcache.set('echo:2', '0', soft_ttl => '1 us')});
	is($session->ask('echo:2')->{status}, 'stale', 'status');
	ok(await_value($session, q{SELECT refresh_successes FROM wbcache.stat_endpoint WHERE endpoint = 'echo'}, 2), 'it is refreshed');
	is(counts('echo'), 'fetch 2, refresh 2, stale 1, wait 1', 'operations');
};

behaviour 'a failure takes its time too' => sub {
	$upstream->behave(path => '/api/v3/echo/bad', status => 500);
	is($session->ask('echo:bad')->{sqlstate}, 'WB001', 'status');
	is(counts('echo'), 'fetch 3, refresh 3, stale 1, wait 2', 'operations');
};

behaviour 'who leaves early has waited too' => sub {
	$upstream->behave(path => '/api/v3/echo/slow', hang => 1);
	$session->run(q{SET statement_timeout = '150ms'});
	like($session->error(q{SELECT wbcache.get('echo:slow')}), qr/57014/, 'cancelled');
	$session->run('RESET statement_timeout');
	is(counts('echo'), 'fetch 3, refresh 3, stale 1, wait 3', 'operations');
	$upstream->clear;
};

behaviour 'a queue is a part of the flight, and not of the load' => sub {
	my @readers = map { session($node, 'postgres') } 1 .. 3;

	$session->run('SELECT wbcache.stat_reset()');
	is($session->value('SELECT count(*) FROM wbcache.stat_latency'), 0, 'a reset begins anew');
	$readers[$_]->begin_ask("loaded:queue$_") for 0 .. 2;
	$_->end_ask for @readers;
	is(counts('loaded'), 'load 3, refresh 3, wait 3', 'operations');
	is($session->value(<<'END'), 't', 'the last one has waited for two more loads');
SELECT refresh.max_ms >= load.max_ms + 350 FROM wbcache.stat_latency load, wbcache.stat_latency refresh
WHERE load.endpoint = 'loaded' AND load.operation = 'load' AND refresh.endpoint = 'loaded' AND refresh.operation = 'refresh'
END
};

behaviour 'of the hits of a session, one in sixteen' => sub {
	$session->run(q{SELECT wbcache.set('given:1', '1')});
	is($session->value(q{SELECT count(wbcache.get('given:1')) FROM generate_series(1, 1600)}), 1600, 'hits');
	is(counts('given'), 'hit 100', 'operations');
	holds('given', 'hit', 'max_ms > 0 AND p99_ms <= max_ms');
};

behaviour 'get_many' => sub {
	$session->run('SELECT wbcache.stat_reset()');
	is($session->value(q{SELECT count(value) FROM wbcache.get_many(array_fill('given:1'::text, ARRAY[160]))}), 160, 'hits');
	is(counts('given'), 'hit 10', 'operations');
};

$session->close;
done_testing();
