# Real schedules as events, seen from the middle of their season: what the sidebar says of every sport and league agrees
# with what is counted here, over the files themselves; after each of many changes, too.

use strict;
use warnings FATAL => 'all';

use File::Basename qw(basename);
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::Local qw(timegm);
use WbcacheTest;

my $shared = $ENV{WBCACHE_SHARED_DATA} // '';
plan skip_all => 'no real schedules here' unless -d $shared;

# Games: {id, sport, league, name, start, status, over}; start in seconds, all local times taken for UTC.
my @games;

sub game
{
	my ($sport, $league, $name, $day, $time) = @_;
	my ($year, $month, $date) = split /-/, $day;
	my ($hour, $minute) = split /:/, $time || '15:00';

	push @games, { id => scalar(@games), sport => $sport, league => $league, name => $name,
		start => timegm(0, $minute, $hour, $date, $month - 1, $year) };
}

# Of a line of a CSV file.
sub cells
{
	my ($line) = @_;
	return map { s/^"|"$//gr } $line =~ /((?:"[^"]*"|[^,])*)(?:,|$)/g;
}

for my $file (sort glob("$shared/soccer*/*.json"))
{
	my $schedule = JSON::PP->new->utf8->decode(slurp_file($file));
	game('soccer', basename($file, '.json'), $schedule->{name}, @$_{qw(date time)}) for @{ $schedule->{matches} };
}
for my $file (sort glob("$shared/nfl/*.csv"))
{
	my ($head, @lines) = split /\r?\n/, slurp_file($file);
	my @names = cells($head);
	for my $line (@lines)
	{
		my %row;
		@row{@names} = cells($line);
		# Its id is one of the soccer's, too.
		game('nfl', $row{season} eq '2020' ? 'en.1' : "nfl-$row{season}", "NFL $row{season}", @row{qw(gameday gametime)});
	}
}
cmp_ok(scalar @games, '>', 2000, 'games');

# The clock is set so that it is now 32 minutes after some game has begun; starts are at full five minutes.
my ($some) = (grep { $_->{sport} eq 'soccer' } @games)[600];
my $shift = time() - $some->{start} - 32 * 60;
for my $game (@games)
{
	$game->{start} += $shift;
	my $age = time() - $game->{start};
	$game->{status} = $age < 0 ? 'unplayed' : $age < 50 * 60 ? 'live' : $age < 65 * 60 ? 'half' : $age < 120 * 60 ? 'live' : 'completed';
}

my $node = start_instance('main');
my $session = session($node, 'postgres');
my $rows = join('', map { join("\t", @$_{qw(id sport league name status start)}) . "\n" } @games);
my $file = PostgreSQL::Test::Utils::tempdir() . '/games';
open(my $out, '>:utf8', $file) or die "could not write $file: $!\n";
print $out $rows;
close($out);

$session->run(<<"END");
CREATE EXTENSION wbcache;
SET wbcache.max_wait = '50s';
CREATE TABLE event (id int PRIMARY KEY, sport text, league text, name text, status text, epoch bigint);
COPY event FROM '$file';
ALTER TABLE event ADD starts timestamptz;
UPDATE event SET starts = to_timestamp(epoch);
BEGIN;
SELECT wbcache.bind_events('event', 'id', 'sport', 'league', 'status', 'starts', league_name => 'name');
SELECT wbcache.unschedule_task('sidebar_refresh');
COMMIT;
END

# {sport}{league} = "games live next_start", counted here.
sub counted
{
	my %count;
	for my $game (@games)
	{
		my $of = $count{ $game->{sport} }{ $game->{league} } ||= [ 0, 0, 0 ];
		$of->[0]++;
		$of->[1]++ if $game->{status} =~ /^(?:live|half)$/;
		$of->[2] = $game->{start}
			if $game->{status} eq 'unplayed' && $game->{start} > time() && (!$of->[2] || $game->{start} < $of->[2]);
	}
	return { map { my $s = $_; $s => { map { $_ => "@{ $count{$s}{$_} }" } keys %{ $count{$s} } } } keys %count };
}

sub seconds
{
	my ($y, $mo, $d, $h, $mi, $s) = ($_[0] // return 0) =~ /^(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)Z$/ or die "what time is $_[0]?\n";
	return timegm($s, $mi, $h, $d, $mo - 1, $y);
}

# The same, as a sidebar says it.
sub said
{
	my ($arguments) = @_;
	my $sidebar = $session->json("SELECT wbcache.get_sidebar($arguments)");

	return { map { my $s = $_; $s->{id} => { map { $_->{id} => join(' ', $_->{games}, $_->{live_games}, seconds($_->{next_start})) }
				@{ $s->{leagues} } } } @{ $sidebar->{sports} } };
}

sub agrees
{
	my ($name) = @_;
	my $counted = counted();

	is_deeply(said(''), $counted, "$name: all");
	for my $sport (sort keys %$counted)
	{
		is_deeply(said("'$sport'"), { $sport => $counted->{$sport} }, "$name: $sport");
		is_deeply(said("'$sport', '$_'"), { $sport => { $_ => $counted->{$sport}{$_} } }, "$name: $sport, $_")
			for sort keys %{ $counted->{$sport} };
	}
}

behaviour 'from the events' => sub { agrees('before the first refresh') };
behaviour 'from sidebar_data' => sub {
	like($session->value('SELECT wbcache.refresh_sidebar_data()'), qr/^refreshed: \d+ rows, ${\ scalar @games} games$/, 'refreshed');
	agrees('refreshed');
	is($session->value(q{SELECT wbcache.get_sidebar() ->> 'source'}), 'sidebar_data', 'source');
};
behaviour 'sums of a sport are those of its leagues' => sub {
	for my $sport (@{ $session->json('SELECT wbcache.get_sidebar()')->{sports} })
	{
		for my $what (qw(games live_games))
		{
			my $sum = 0;
			$sum += $_->{$what} for @{ $sport->{leagues} };
			is($sport->{$what}, $sum, "$what of $sport->{id}");
		}
		is_deeply([ map { $_->{id} } @{ $sport->{leagues} } ],
			$session->json("SELECT json_agg(league_id ORDER BY priority DESC, league_name, league_id) FROM wbcache.sidebar_now WHERE sport_id = '$sport->{id}'"),
			"order of $sport->{id}");
	}
};

# Each change is shown by the next read, whether there was a refresh meanwhile or not.
behaviour 'after each change' => sub {
	my @words = qw(unplayed live half completed cancelled postponed);
	my @wrong;
	srand(5);
	for my $n (1 .. 200)
	{
		my $game = $games[ rand @games ];
		$game->{status} = $words[ rand @words ];
		$session->run("UPDATE event SET status = '$game->{status}' WHERE id = $game->{id}");
		$session->run('SELECT wbcache.refresh_sidebar_data()') if $n % 7 == 0;
		my ($counted, $all, $own) = (counted(), said(''), said("'$game->{sport}', '$game->{league}'"));
		push @wrong, "$n: $game->{sport} $game->{league}"
			if WbcacheTest::encode($all) ne WbcacheTest::encode($counted)
			|| $own->{ $game->{sport} }{ $game->{league} } ne $counted->{ $game->{sport} }{ $game->{league} };
	}
	is("@wrong", '', 'what the sidebar got wrong');
};

$session->close;
done_testing();
