# The text format of Prometheus, as the tests see it.

package WbcacheMetrics;

use strict;
use warnings FATAL => 'all';

use Carp qw(croak);

# parse TEXT, PATTERN: {help => {NAME => TEXT}, type => {NAME => TYPE}, value => {'NAME{LABELS}' => NUMBER}} of the
# metrics whose names match. Labels are in order of their names, without those in WITHOUT; a NaN is left out.
sub parse
{
	my ($text, $pattern, @without) = @_;
	my %parsed = (help => {}, type => {}, value => {});

	for (split /\n/, $text)
	{
		if (/^# (HELP|TYPE) (\w+) (.*)$/)
		{
			my ($what, $name, $text) = ($1, $2, $3);
			$parsed{ lc $what }{$name} = $text if $name =~ $pattern;
		}
		elsif (/^(\w+)(?:\{(.*)\})? (\S+)$/)
		{
			my ($name, $labels, $value) = ($1, $2 // '', $3);
			next if $name !~ $pattern || $value eq 'NaN';
			my %label = $labels =~ /(\w+)=("(?:[^"\\]|\\.)*")/g;
			delete @label{ @without, grep { $label{$_} eq '""' } keys %label };
			my $series = $name . '{' . join(',', map { "$_=$label{$_}" } sort keys %label) . '}';
			croak("twice: $series") if exists $parsed{value}{$series};
			$parsed{value}{$series} = $value + 0;
		}
		elsif (!/^\s*$/)
		{
			croak("no metric: $_");
		}
	}
	return \%parsed;
}

1;
