# Reasons of health(), as the tests see them: each is provoked, compared with what RUNBOOK.md shows of it, and goes away.
#
#	my $health = WbcacheHealth->new($node, $session, "$top/RUNBOOK.md");
#	$health->is_there('breaker_open', 'degraded', 'api');
#	$health->is_gone('breaker_open');
#	$health->all_were_seen;

package WbcacheHealth;

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheTest;

sub new
{
	my ($class, $node, $session, $runbook) = @_;

	return bless { node => $node, session => $session, runbook => _sections($runbook), there => {}, gone => {} }, $class;
}

# The session in which to look; its settings count.
sub use_session
{
	my ($self, $session) = @_;
	$self->{session} = $session;
	return;
}

# {code => {level, message, query, output}}
sub _sections
{
	my ($file) = @_;
	my (undef, %text) = split /^### (\w+)\n/m, slurp_file($file);
	my %section;

	for my $code (keys %text)
	{
		my ($level, $message) = $text{$code} =~ /\A\n(\w+): `(.*)`$/m;
		my ($query) = $text{$code} =~ /^```sql\n(.*?)^```/ms;
		my ($output) = $text{$code} =~ /^```text\n(.*?)^```/ms;

		$section{$code} = { level => $level, message => $message, query => $query, output => $output,
			words => $text{$code} =~ /^\*Meaning\.\* \S.*^\*What to do\.\* \S/ms ? 1 : 0 };
	}
	return \%section;
}

# The same text, whatever the numbers in it are, and however wide they make a column.
sub _alike
{
	my ($text) = @_;

	return '' unless defined $text;
	$text =~ s/\d+(?:[.:,-]\d+)*(?:\+00)?/N/g;
	$text =~ s/-{2,}/--/g;
	$text =~ s/ +/ /g;
	$text =~ s/ +$//gm;
	$text =~ s/\s+\z/\n/;
	return $text;
}

# What psql prints for a query.
sub _psql
{
	my ($self, $query) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ $self->{node}->installed_command('psql'), '-X', '-P', 'footer=off', '-d', $self->{node}->connstr('postgres'),
			'-c', "SET TimeZone = 'UTC'", '-qc', $query ], '>', \$out, '2>', \$err);
	return $out =~ s/^SET\n//r =~ s/\n\n\z/\n/r . $err;
}

# "level|about|message" of a reason, empty if it isn't there.
sub row
{
	my ($self, $code) = @_;
	return $self->{session}->value("SELECT level, about, message FROM wbcache.health_reasons WHERE code = '$code' ORDER BY about LIMIT 1");
}

# is_there CODE, LEVEL, ABOUT, NAME: a reason comes to be there, and RUNBOOK.md shows it as it is.
sub is_there
{
	my ($self, $code, $level, $about, $name) = @_;
	my $row = await(sub { $self->row($code) }) || 'not there||';
	my ($is_level, $is_about, $message) = split /\|/, $row, 3;
	my $section = $self->{runbook}{$code} || {};
	my $output = $section->{query} ? $self->_psql($section->{query}) : '';
	my $health = $self->{session}->json('SELECT wbcache.health()');

	$name = $name ? "$code: $name" : $code;
	note("$name\n$is_level: `$message`\n$output");
	is("$is_level, $is_about", $level . ', ' . ($about // ''), "$name is there");
	ok((grep { $_->{code} eq $code } @{ $health->{reasons} }), 'health() says so, too');
	is($health->{status}, $health->{reasons}[0]{level}, 'its status is that of the worst');
	$self->{there}{$code} = 1;
	return $row if $name ne $code;

	is($section->{level}, $level, 'level in RUNBOOK.md');
	is(_alike($section->{message}), _alike($message), 'message in RUNBOOK.md');
	is(_alike($section->{output}), _alike($output), 'output of the query in RUNBOOK.md');
	return $row;
}

sub is_not_there
{
	my ($self, $code, $name) = @_;

	is($self->row($code), '', "$code is not there: $name");
	return;
}

sub is_gone
{
	my ($self, $code, $name) = @_;

	ok(await(sub { $self->row($code) eq '' }), $name || "$code is gone");
	$self->{gone}{$code} = 1;
	return;
}

# Every reason that there is, but these, was provoked, has gone away; and has its section in RUNBOOK.md.
sub all_were_seen
{
	my ($self) = @_;
	my @codes = split /\n/, $self->{session}->value('SELECT unnest(enum_range(NULL::wbcache.health_code)) ORDER BY 1');

	cmp_ok(scalar @codes, '>', 20, 'reasons');
	ok($self->{there}{$_} && $self->{gone}{$_}, "$_ was provoked, and has gone away") for @codes;
	ok($self->{runbook}{$_}{words}, "RUNBOOK.md says what $_ means, and what to do") for @codes;
	is(join(' ', sort keys %{ $self->{runbook} }), join(' ', sort @codes), 'sections of RUNBOOK.md');
	return;
}

1;
