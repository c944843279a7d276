# Prometheus: what metrics() says is in its text format, the exporter's queries say the same, and the real programs, started
# here, give the hit ratio and the percentiles that the views show.

use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheMetrics;
use WbcachePrometheus;
use WbcacheTest;

my $top = dirname(__FILE__) . '/../..';
my ($upstream, $node, $session) = start_served('main',
	upstream => [ '--latency' => 0.12 ],
	server => { rate_limit => '100000/1h' });

# An endpoint whose name is hard to write, and keys that must not get out.
$session->run(<<'END');
SELECT wbcache.create_endpoint('odd "name" \ {of}, an=endpoint', 'odd:{x}', 'api', '/echo/{x}', soft_ttl => '1 h');
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '1 h');
CREATE TABLE game (id text, sport text, league text, status text, starts timestamptz);
SELECT wbcache.bind_events('game', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.refresh_sidebar_data();
CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
CREATE ROLE nobody LOGIN;
END

sub metrics { return $session->value('SELECT wbcache.metrics()'); }

sub series { return WbcacheMetrics::parse($_[0], qr/^wbcache_/, 'server'); }

# Some reads: misses, hits, a failure.
sub read_some
{
	my ($n) = @_;
	$session->ask($_) for "odd:a-key-$n", "echo:a-key-$n";
	$session->value(qq{SELECT count(wbcache.get('echo:a-key-$n')) FROM generate_series(1, 100)});
	$upstream->behave(path => "/api/v3/echo/bad$n", status => 404);
	$session->ask("echo:bad$n");
	return;
}

behaviour 'promtool finds nothing to complain of' => sub {
	my ($out, $err) = ('', '');

	read_some(1);
	my $text = metrics();
	ok(IPC::Run::run([ 'promtool', 'check', 'metrics' ], '<', \"$text\n", '>', \$out, '2>', \$err), 'promtool check metrics');
	is("$out$err", '', 'what it says');
	IPC::Run::run([ 'promtool', 'check', 'metrics' ], '<', \"# TYPE a_total gauge\na_total 1\n", '>', \$out, '2>', \$err);
	isnt("$out$err", '', 'it would have');
};

behaviour 'labels' => sub {
	my $text = metrics();
	my $value = series($text)->{value};

	like($text, qr/^wbcache_endpoint_misses_total\{datname="postgres",endpoint="odd \\"name\\" \\\\ \{of\}, an=endpoint"\} 1$/m, 'escaped');
	is($value->{'wbcache_endpoint_hits_total{datname="postgres",endpoint="echo"}'}, 100, 'hits');
	is($value->{'wbcache_endpoint_errors_total{datname="postgres",endpoint="echo"}'}, 1, 'errors');
	is($value->{'wbcache_server_requests_total{datname="postgres",foreign_server="api"}'}, 3, 'requests');
	is($value->{'wbcache_memory_size_bytes{}'}, 128 * 1024 * 1024, 'bytes');
	is($value->{'wbcache_worker_running{datname="postgres",kind="loader"}'}, 2, 'loaders');
	unlike($text, qr/a-key|bad1/, 'no key');
	unlike($text, qr/${\ $upstream->key }/, 'no secret');
};

behaviour 'histograms' => sub {
	my $value = series(metrics())->{value};
	my $labels = 'datname="postgres",endpoint="echo"';

	is($value->{"wbcache_latency_seconds_bucket{$labels,le=\"+Inf\",operation=\"fetch\"}"}, 2, 'all');
	is($value->{"wbcache_latency_seconds_count{$labels,operation=\"fetch\"}"}, 2, 'count');
	is($value->{"wbcache_latency_seconds_bucket{$labels,le=\"0.1\",operation=\"fetch\"}"}, 0, 'none was faster than the upstream');
	is($value->{"wbcache_latency_seconds_bucket{$labels,le=\"50\",operation=\"fetch\"}"}, 2, 'none was slow');
	cmp_ok($value->{"wbcache_latency_seconds_sum{$labels,operation=\"fetch\"}"}, '>=', 0.24, 'sum, in seconds');
	is(scalar(grep { /^wbcache_latency_seconds_bucket\{\Q$labels\E,le="[^"]*",operation="hit"\}$/ } keys %$value), 28, 'buckets');
	cmp_ok($value->{'wbcache_coalescer_wait_seconds_total{}'}, '>=', 0.36, 'waits, in seconds');
	cmp_ok($value->{'wbcache_coalescer_wait_seconds_total{}'}, '<', 60, 'and in no other unit');
};

behaviour 'where nothing can be written' => sub {
	like($session->value('BEGIN READ ONLY; SELECT wbcache.metrics(); COMMIT'), qr/^wbcache_memory_size_bytes/m, 'in a READ ONLY transaction');
};

behaviour 'who may ask' => sub {
	like($session->value('SET ROLE monitor; SELECT wbcache.metrics(); RESET ROLE'), qr/^wbcache_memory_size_bytes/m, 'pg_monitor');
	like($session->error('SET ROLE nobody; SELECT wbcache.metrics()'), qr/ERROR:  42501: permission denied for function metrics/, 'others');
	$session->run('RESET ROLE');
};

behaviour 'wrappers for PostgREST, as the README has them' => sub {
	my ($code) = slurp_file("$top/README.md") =~ /^(CREATE ROLE web_anon;.*?)^```/ms or die "the README has none\n";

	$session->run($code);
	like($session->value('SET ROLE web_anon; SELECT monitoring.metrics(); RESET ROLE'), qr/^wbcache_memory_size_bytes/m, 'metrics');
	is($session->value(q{SELECT pg_typeof(monitoring.metrics())}), 'monitoring."text/plain"', 'their type');
	is($session->value(q{SET ROLE web_anon; SELECT json_typeof(monitoring.endpoints()), monitoring.endpoints()->0->>'endpoint' IS NOT NULL; RESET ROLE}),
		'array|t', 'JSON');
	like($session->error('SET ROLE web_anon; SELECT wbcache.metrics()'), qr/42501/, 'the role itself may not');
	$session->run('RESET ROLE');
};

my $prometheus = WbcachePrometheus->start($node, 'monitor');

behaviour 'the exporter shows what metrics() shows' => sub {
	# What moves by itself.
	my $moves = qr/^wbcache_(?:invalidation_per_minute|memory_|sidebar_age_|worker_)/;
	my $ours = series(metrics());
	my $theirs = series($prometheus->exporter->get('/metrics'));

	is_deeply([ sort keys %{ $theirs->{value} } ], [ sort keys %{ $ours->{value} } ], 'series');
	is_deeply($theirs->{type}, $ours->{type}, 'types');
	is_deeply($theirs->{help}, $ours->{help}, 'help');
	for (grep { !/$moves/ } sort keys %{ $ours->{value} })
	{
		ok(abs($theirs->{value}{$_} - $ours->{value}{$_}) <= 1e-6 * abs($ours->{value}{$_}), $_)
		  or diag("$theirs->{value}{$_}, not $ours->{value}{$_}");
	}
};

my $echo = '{endpoint="echo"}';
my $reads = join(' + ', map { "wbcache_endpoint_${_}_total$echo" } qw(hits stale misses collapsed bypasses errors));

behaviour 'Prometheus has the hit ratio' => sub {
	my $rate = $session->stat('stat_endpoint', 'hit_rate_percent', q{endpoint = 'echo'});

	ok(await(sub {
			my $ratio = $prometheus->query("sum(wbcache_endpoint_hits_total$echo + wbcache_endpoint_stale_total$echo) / sum($reads)");
			return defined $ratio && abs(100 * $ratio - $rate) < 0.01;
		}), "it is the $rate % of the view") or diag($prometheus->query("sum($reads)") // 'nothing');
};

behaviour 'Prometheus has rates and percentiles' => sub {
	my $quantile = 'histogram_quantile(0.99, sum by (le) (rate(wbcache_latency_seconds_bucket{operation="fetch"}[1m])))';
	my $n = 2;
	my ($p99, $ratio);

	ok(await(sub {
			read_some($n++);
			$p99 = $prometheus->query($quantile);
			$ratio = $prometheus->query('sum(rate(wbcache_endpoint_hits_total[1m])) / sum(rate(wbcache_endpoint_hits_total[1m]) + rate(wbcache_endpoint_misses_total[1m]) + rate(wbcache_endpoint_errors_total[1m]))');
			return defined $p99 && $p99 =~ /^[\d.]+$/ && $p99 > 0 && defined $ratio && $ratio =~ /^[\d.]+$/ && $ratio > 0.9;
		}), 'both come') or diag(($p99 // 'no p99') . ', ' . ($ratio // 'no ratio'));
	cmp_ok($p99, '>', 0.1, "99th percentile of requests, of which each takes 0.12 s: $p99");
	cmp_ok($ratio, '<', 1, "hit ratio: $ratio");
};

behaviour 'a scrape finds nothing wrong' => sub {
	is($prometheus->query('up'), 1, 'up');
	is($prometheus->query('pg_exporter_last_scrape_error'), 0, 'errors of the exporter');
	is($prometheus->query('pg_exporter_user_queries_load_error'), 0, 'the queries were loaded');
	unlike(slurp_file("$PostgreSQL::Test::Utils::log_path/prometheus-postgres-exporter.log"), qr/error|duplicate|was collected before/i, 'log of the exporter');
};

$prometheus->stop;
$session->close;
done_testing();
