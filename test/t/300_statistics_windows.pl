# Rolling windows and histograms: exact at their edges, with a clock that is passed in.  test/unit/ has them as functions.

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheTest;

my $source = abs_path(dirname(__FILE__)) . '/../unit';
my $folder = PostgreSQL::Test::Utils::tempdir();
my ($out, $err);

ok(IPC::Run::run([ 'make', '-s', '-C', $folder, '-f', "$source/Makefile", "PG_CONFIG=$ENV{WBC_PG_CONFIG}" ], '>', \$out, '2>', \$err),
	'the module is built') or die("$out$err");

my $node = start_instance('main');
my $session = session($node, 'postgres');

$session->run(<<"END");
CREATE FUNCTION window_begin(at bigint) RETURNS void LANGUAGE c AS '$folder/unit';
CREATE FUNCTION window_put(at bigint, count bigint) RETURNS boolean LANGUAGE c AS '$folder/unit';
CREATE FUNCTION window_read(at bigint, count bigint) RETURNS bigint[] LANGUAGE c AS '$folder/unit';
CREATE FUNCTION stat_window_at(endpoint name, at timestamptz) RETURNS bigint[] LANGUAGE c AS '$folder/unit';
CREATE FUNCTION histogram_begin() RETURNS void LANGUAGE c AS '$folder/unit';
CREATE FUNCTION histogram_add(ns bigint) RETURNS void LANGUAGE c AS '$folder/unit';
CREATE FUNCTION histogram_percentile(fraction float8) RETURNS bigint[] LANGUAGE c AS '$folder/unit';
CREATE FUNCTION histogram_bucket(ns bigint) RETURNS bigint[] LANGUAGE c AS '$folder/unit';
END

# Seconds, with a microsecond more or less, as the functions take them.
sub at { return int($_[0] * 1_000_000 + ($_[1] || 0)); }

sub begin { $session->run('SELECT window_begin(' . at(@_) . ')'); return; }

sub put { my ($count, @at) = @_; return $session->value('SELECT window_put(' . at(@at) . ", $count)"); }

# "length in microseconds, growth of the first and of the last counter"
sub window { my ($count, @at) = @_; return $session->value('SELECT window_read(' . at(@at) . ", $count)"); }

# A window that begins at 1000 s, whose counter says at each time how many seconds have passed.
sub running
{
	my ($seconds, $step) = @_;
	begin(1000);
	put($_, 1000 + $_) for map { $_ * $step } 1 .. $seconds / $step;
	return;
}

behaviour 'before five minutes are over, the window is as long as there was time' => sub {
	begin(1000);
	is(window(0, 1000), '{0,0,0}', 'at once');
	is(window(7, 1000, 1), '{1,7,14}', 'a microsecond later');
	put(100, 1010);
	is(window(120, 1020), '{20000000,120,240}', 'from the beginning, not from a younger snapshot');
	is(window(400, 1299, 999_999), '{299999999,400,800}', 'a microsecond before five minutes');
};

behaviour 'at the edge' => sub {
	running(590, 10);
	is(window(599, 1599, 999_999), '{309999999,309,618}', 'a microsecond short of five minutes, a snapshot is too young');
	put(600, 1600);
	is(window(600, 1600), '{300000000,300,600}', 'then it counts');
	is(window(609, 1609, 999_999), '{309999999,309,618}', 'a microsecond before the next one is old enough');
	is(window(610, 1610), '{300000000,300,600}', 'then it is');
};

behaviour 'snapshots are ten seconds apart' => sub {
	begin(1000);
	is(put(1, 1009, 999_999), 'f', 'too soon');
	is(put(2, 1010), 't', 'in time');
	is(put(3, 1019, 999_999), 'f', 'too soon again');
	is(put(4, 1020), 't', 'in time again');
	begin(1000);
	put($_, 1000 + $_ / 2) for 1 .. 800;
	is(window(800, 1400), '{300000000,600,1200}', 'however often somebody tries: none is pushed out too early');
};

behaviour 'the ring has room for five minutes, and forgets what is older' => sub {
	running(3000, 10);
	is(window(3000, 4000), '{300000000,300,600}', 'after 50 minutes');
	is(window(3009, 4009, 999_999), '{309999999,309,618}', 'a moment before the next snapshot');
};

behaviour 'where nobody took snapshots, the window is longer and says so' => sub {
	running(600, 10);
	is(window(600, 2000), '{400000000,0,0}', 'nothing has happened since the last one');
	is(window(1000, 2000), '{400000000,400,800}', 'something has');
	running(600, 60);
	is(window(600, 1650), '{350000000,300,600}', 'a minute between them');
};

behaviour 'a clock that is set back' => sub {
	running(600, 10);
	is(window(600, 1305), '{5000000,300,600}', 'snapshots that are in the future now count no more');
	is(window(600, 999), '{0,0,0}', 'before the beginning: nothing is known');
	put(610, 1315);
	is(window(620, 1320), '{20000000,320,640}', 'older ones are still there');
	put(630, 1325);
	is(window(640, 1624), '{314000000,330,660}', 'the last of them');
	is(window(640, 1625), '{300000000,10,20}', 'and the next one, which came since');
	is(put(700, 500), 't', 'before the beginning a snapshot can be taken at once');
	is(window(705, 505), '{5000000,5,10}', 'it begins anew');
};

behaviour 'what begins anew is 0' => sub {
	running(600, 10);
	begin(1600);
	is(window(5, 1605), '{5000000,5,10}', 'only what came since');
};

# The launcher takes the snapshots. Seen from five minutes later, what came before the last one is over.
behaviour 'stat_window' => sub {
	my $later = q{stat_window_at('given', clock_timestamp() + interval '5 min')};

	$session->run(<<'END');
CREATE EXTENSION wbcache;
SELECT wbcache.create_endpoint('given', 'given:{x}', soft_ttl => '1 h');
SELECT wbcache.create_endpoint('unused', 'unused:{x}');
SELECT wbcache.set('given:1', '1');
SELECT count(wbcache.get('given:1')) FROM generate_series(1, 30);
SELECT wbcache.get('given:2'), wbcache.get('given:3');
END
	is($session->value(q{SELECT requests, hits, stale, errors, hit_rate_percent, stale_rate_percent, period BETWEEN '0' AND '1 min'
		FROM wbcache.stat_window WHERE endpoint = 'given'}), '32|30|0|0|93.75|0.00|t', 'what there was');
	is($session->value("SELECT ($later)[2]"), 30, 'before there is a snapshot of it');
	ok(await_value($session, "SELECT ($later)[2]", 0), 'with one');
	cmp_ok($session->value("SELECT ($later)[1]"), '>=', 300_000_000, 'the length');
	$session->run(q{SELECT count(wbcache.get('given:1')) FROM generate_series(1, 5)});
	is($session->value("SELECT ($later)[2]"), 5, 'what came since');
	is($session->value(q{SELECT hits FROM wbcache.stat_window WHERE endpoint = 'given'}), 35, 'and now');
	$session->run('SELECT wbcache.stat_reset()');
	is($session->value(q{SELECT requests, hits, hit_rate_percent IS NULL, period < '1 min' FROM wbcache.stat_window WHERE endpoint = 'given'}),
		'0|0|t|t', 'a reset begins anew');
};

behaviour 'buckets of durations' => sub {
	my %bucket = (0 => '{-1,100}', 100 => '{-1,100}', 101 => '{100,200}', 500 => '{200,500}', 501 => '{500,1000}', 1000 => '{500,1000}', 1001 => '{1000,2000}',
		5_000_000 => '{2000000,5000000}', 5_000_001 => '{5000000,10000000}', 50_000_000_000 => '{20000000000,50000000000}',
		50_000_000_001 => '{50000000000,-1}', 9_000_000_000_000_000 => '{50000000000,-1}');

	is($session->value("SELECT histogram_bucket($_)"), $bucket{$_}, "$_ ns") for sort { $a <=> $b } keys %bucket;
};

# "percentile, count, sum, max"
sub percentile { return $session->value("SELECT histogram_percentile($_[0])"); }

behaviour 'percentiles' => sub {
	$session->run('SELECT histogram_begin()');
	is(percentile(0.99), '{0,0,0,0}', 'of nothing');
	$session->run('SELECT histogram_add(-5)');
	is(percentile(0.5), '{0,1,0,0}', 'a clock that was set back');

	$session->run('SELECT histogram_begin(), histogram_add(1500)');
	is(percentile(0.99), '{1495,1,1500,1500}', 'of one: never above it');
	is(percentile(1), '{1500,1,1500,1500}', 'the last of one');

	$session->run('SELECT histogram_begin(); SELECT histogram_add(1000 * i) FROM generate_series(1, 1000) i');
	my ($p50, $p95, $p99) = map { percentile($_) =~ /^\{(\d+),/ } 0.5, 0.95, 0.99;
	is($p50, 500_000, 'p50 of 1 to 1000 us, where a bucket ends');
	cmp_ok(abs($p95 - 950_000), '<=', 1000, "p95: $p95");
	cmp_ok(abs($p99 - 990_000), '<=', 1000, "p99: $p99");

	$session->run('SELECT histogram_begin(); SELECT histogram_add(60000000000); SELECT histogram_add(3000) FROM generate_series(1, 99)');
	cmp_ok((percentile(0.95) =~ /^\{(\d+)/)[0], '<=', 5000, 'one in a hundred is not the 95th percentile');
	is(percentile(1), '{60000000000,100,60000297000,60000000000}', 'above all buckets: the maximum');
};

$session->close;
done_testing();
