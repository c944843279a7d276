#!/usr/bin/perl
# Runs TAP files and counts what passed: tap.pl COUNTS LOGS FILE...
#
# Writes "<passed> <failed>" to COUNTS. A file that breaks off, plans wrongly or ends with a bad status without a failed
# test counts as one failure. What PostgreSQL::Test wrote to LOGS is shown for the files that failed.
# Environment: PROVE_JOBS, WBC_TEST_TIMEOUT (seconds a file may take, 600), PROVE_FLAGS (-v).

use strict;
use warnings;

use File::Basename qw(basename);
use TAP::Harness;

my ($counts, $logs, @files) = @ARGV;
my $limit = $ENV{WBC_TEST_TIMEOUT} || 600;

my $harness = TAP::Harness->new({
	exec => [ 'timeout', '--foreground', '-k', '30', $limit, $^X, map { "-I$_" } grep { !ref } @INC ],
	jobs => $ENV{PROVE_JOBS} || 1,
	verbosity => ($ENV{PROVE_FLAGS} || '') =~ /-v/ ? 1 : 0,
	failures => 1,
	timer => 1,
	merge => 0,
	color => 0,
});
my $aggregate = $harness->runtests(@files);

my ($passed, $failed) = (0, 0);
for my $name ($aggregate->descriptions)
{
	my ($parser) = $aggregate->parsers($name);
	my $bad = scalar $parser->failed;
	$bad = 1 if !$bad && $parser->has_problems;
	$passed += scalar $parser->passed;
	$failed += $bad;
	show_log("$logs/regress_log_" . basename($name, '.pl')) if $bad;
}

open(my $out, '>', $counts) or die "could not write $counts: $!\n";
print $out "$passed $failed\n";
close($out) or die "could not write $counts: $!\n";

sub show_log
{
	my ($file) = @_;
	open(my $in, '<', $file) or return;
	my @lines = <$in>;
	close($in);
	splice(@lines, 0, @lines - 80) if @lines > 80;
	print "--- end of ", basename($file), "\n", @lines, "---\n";
	return;
}
