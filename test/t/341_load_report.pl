# The report of "make loadtest", given samples and durations that are known: its figures, its chart, and its verdict.

use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheTest;

my $report = dirname(__FILE__) . '/../load/report.py';
my $began = 1_700_000_000;

# A run of 20 s with 100 reads a second, 90 of them of the upstream's keys; the upstream is down from 9 s to 13 s.
sub run_of
{
	my ($errors_while_down) = @_;
	my $folder = PostgreSQL::Test::Utils::tempdir();
	my ($hits, $stale, $waited, $errors, $calls) = (1000, 0, 0, 0, 500);

	append_to_file("$folder/events.txt", sprintf("began %d\ndown %d 545\nup %d\nended %d\n", map { $began + $_ } 0, 9, 13, 20));
	append_to_file("$folder/samples.txt", '');
	for my $second (-1 .. 20)
	{
		my $down = $second >= 9 && $second < 13;
		my $reads = $hits + $stale + $waited + $errors - 1000;
		append_to_file("$folder/samples.txt", join(' ', $began + $second, $hits, $stale, $waited, $errors, $reads * 0.9, 10 * $second, 0,
				$down ? '-' : $second < 9 ? $calls : $calls - 545) . "\n");
		next if $second < 0;
		my @part = $second < 2 ? (90, 0, 10, 0) : $down ? (0, 100 - $errors_while_down, 0, $errors_while_down) : (99, 0, 1, 0);
		$hits += $part[0], $stale += $part[1], $waited += $part[2], $errors += $part[3];
		$calls += 5 unless $down;
		# 100 reads take 1 ms to 100 ms, the first of each second after it had waited for a client for a second
		append_to_file("$folder/read.1", join('', map {
					my $lag = $_ == 1 ? 1_000_000 : 10;
					sprintf("0 0 %d 0 %d 500000 %d\n", 1000 * $_ + $lag, $began + $second, $lag)
				} 1 .. 100)) if $second < 20;
	}
	append_to_file("$folder/errors.txt", $errors_while_down ? 'WB002 ' . 4 * $errors_while_down . " server \"odds_api\" is unavailable\n" : '');
	append_to_file("$folder/latency.txt", "fetch 70 225.5 299.125\n");
	return $folder;
}

# (status, output, chart)
sub report_of
{
	my ($folder) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'python3', '-B', $report, $folder, '30/5s', "$folder/chart.svg" ], '>', \$out, '2>', \$err);
	my $status = $? >> 8;
	is($err, '', 'no complaint');
	return ($status, $out, slurp_file("$folder/chart.svg"));
}

behaviour 'a run that reaches the goal' => sub {
	my ($status, $out) = report_of(run_of(5));

	is($status, 0, 'status');
	like($out, qr/^  hit ratio, goal above 95 % +97\.30 %: reached$/m, 'verdict');
	like($out, qr/^cold +2 +200 +90\.00 +0\.00 +10\.00 +0 +51\.00 +96\.00 +100\.00 +10 +2$/m, 'cold');
	like($out, qr/^warm +7 +700 +99\.00 +0\.00 +1\.00 +0 +51\.00 +96\.00 +100\.00 +35 +7$/m, 'warm');
	like($out, qr/^upstream down +4 +400 +95\.00 +95\.00 +0\.00 +20 /m, 'down');
	like($out, qr/^upstream back +7 +700 +99\.00 +0\.00 +1\.00 +0 .* +35 +7$/m, 'back: the count of an upstream begins anew');
	like($out, qr/^all +20 +2000 +97\.30 +19\.00 +1\.70 +20 .* +80 +20$/m, 'all');
	like($out, qr/calls saved +95\.56 %$/m, 'calls saved, of 1,800 reads');
	like($out, qr/for one call +22\.5$/m, 'reads for a call');
	like($out, qr/within 5 s, of 30 in a fixed window +25$/m, 'calls in a window');
	like($out, qr/while the upstream was down +380$/m, 'stale');
	like($out, qr/have seen +20, 1\.000 % of the reads\n +WB002, such as: server "odds_api" is unavailable +20$/m, 'errors');
	like($out, qr/odds, fetch: median, 99th percentile of 70 +225\.500 ms, 299\.125 ms$/m, 'durations inside the server');
};

behaviour 'a run that misses it' => sub {
	my ($status, $out) = report_of(run_of(95));

	is($status, 1, 'status');
	like($out, qr/^  hit ratio, goal above 95 % +79\.30 %: missed$/m, 'verdict');
};

behaviour 'the chart' => sub {
	my (undef, undef, $chart) = report_of(run_of(5));
	my ($out, $err) = ('', '');

	ok(IPC::Run::run([ 'python3', '-c', 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.stdin)' ], '<', \$chart, '2>', \$err), 'is XML')
	  or diag($err);
	unlike($chart, qr/nan|inf\b/i, 'has nothing but numbers');
	like($chart, qr/prefers-color-scheme: dark/, 'has colours for a dark page');
	like($chart, qr/>upstream down</, 'says when the upstream was down');
	# 62 + (960 - 62 - 24) * 9 / 20 and 4 / 20
	like($chart, qr/<rect x="455\.3" y="\d+" width="174\.8" height="\d+" class="down"/, 'shows it');
	is(scalar(() = $chart =~ /class="title"/g), 5, 'panels');
};

done_testing();
