# The README, as 900_readme_examples.pl sees it: code blocks, tables, and names in backticks.

package WbcacheReadme;

use strict;
use warnings FATAL => 'all';

use Carp qw(croak);

sub read
{
	my ($class, $file) = @_;

	open(my $in, '<', $file) or croak("could not read $file: $!");
	my $self = bless { lines => [<$in>] }, $class;
	close($in);
	return $self;
}

sub text
{
	return join('', @{ $_[0]->{lines} });
}

# All code blocks of a language, in order: {line, code}. The line is that of the first line of code.
sub blocks
{
	my ($self, $language) = @_;
	my ($inside, @blocks);

	for my $i (0 .. $#{ $self->{lines} })
	{
		my $line = $self->{lines}[$i];

		if ($line !~ /^```(\w*)/)
		{
			$inside->{code} .= $line if $inside;
		}
		elsif ($inside)
		{
			push @blocks, $inside if $inside->{language} eq $language;
			undef $inside;
		}
		else
		{
			$inside = { language => $1, line => $i + 2, code => '' };
		}
	}
	return @blocks;
}

# The statements of an SQL block: {sql, result}; the result is the comment behind the statement, undef without one.
sub statements
{
	my ($code) = @_;
	my ($sql, @statements) = ('');

	for (split /^/, $code)
	{
		$sql .= $_;
		if (/;\s*(?:--\s*(.*?)\s*)?$/)
		{
			push @statements, { sql => $sql, result => $1 };
			$sql = '';
		}
	}
	croak("a statement has no end: $sql") if $sql =~ /\S/;
	return @statements;
}

# The rows of the one table below a heading, each an array of cells, without the rows of column names and dashes.
sub table
{
	my ($self, $heading) = @_;
	my ($level, $here, @rows) = ('');

	for (@{ $self->{lines} })
	{
		if (/^(#+) (.*?)\s*$/)
		{
			$here = $2 eq $heading;
		}
		elsif ($here && /^\|(.*)\|$/)
		{
			push @rows, [ map { s/^\s+|\s+$//gr } split /\|/, $1, -1 ];
		}
	}
	croak("no table below \"$heading\"") if @rows < 3;
	return @rows[ 2 .. $#rows ];
}

# What stands in backticks in a cell.
sub names
{
	my ($cell) = @_;
	return $cell =~ /`([^`]+)`/g;
}

1;
