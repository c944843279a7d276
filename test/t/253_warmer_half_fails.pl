# An upstream that fails for half of the games, those that come first: the other half is warm all the same, by the rules
# of the breaker.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my $each = 30;
my $failures = 5;
my $cooldown = 1.5;
my $connections = 4;

# What the upstream sees may be so much later or sooner than what the server does, in seconds.
my $slack = 0.4;

my ($upstream, $node, $session) = start_served('main',
	server => { max_connections => $connections, breaker_failures => $failures, breaker_cooldown => $cooldown * 1000 . 'ms' },
	conf => "wbcache.warmer_sportsbooks = 'draftkings'\nwbcache.warmer_categories = 1");

$session->run(<<"END");
CREATE TABLE event (id text PRIMARY KEY, sport text, league text, status text, starts timestamptz);
INSERT INTO event SELECT 'bad-' || n, 'football', 'nfl', 'live', now() FROM generate_series(1, $each) n;
INSERT INTO event SELECT 'good-' || n, 'soccer', 'epl', 'unplayed', now() + interval '50 min' FROM generate_series(1, $each) n;
SELECT wbcache.bind_events('event', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.preset_optic_odds('api'), wbcache.unschedule_task('warmer');
END
$upstream->behave(path => '*fixture_id=bad-*', status => 503, latency => 0.2);
$upstream->behave(path => '/api/v3/markets/active?fixture_id=good-*', body => '{"data": [{"id": "moneyline", "name": "Moneyline"}]}');
$session->run('CALL wbcache.warm_upcoming()');
my $status = $session->json('SELECT wbcache.get_warmer_status()');
my @log = sort { $a->{finished} <=> $b->{finished} } $upstream->log('*');

# Those that the upstream got after one time and before another.
sub started_between
{
	my ($from, $to) = @_;
	return scalar grep { $_->{started} > $from && $_->{started} < $to } @log;
}

behaviour 'the games that come first are those that fail' => sub {
	is($session->value('SELECT count(*) FROM (SELECT fixture_id FROM wbcache.get_upcoming_fixtures() LIMIT ' . $each . q{) f WHERE fixture_id LIKE 'bad-%'}), $each, 'all');
};

behaviour 'the other half is warm' => sub {
	is($status->{fixtures_warmed}, $each, 'games');
	is($status->{props_cached}, $each, 'their props');
	my @not = grep { $session->ask("props:categories:good-$_")->{status} ne 'hit' || $session->ask("props:good-$_:moneyline:draftkings")->{status} ne 'hit' } 1 .. $each;
	is("@not", '', 'all are hits');
};

behaviour 'the status is degraded, and says why' => sub {
	is($status->{status}, 'degraded', 'status');
	is($status->{errors}, $each, 'an error for each of the others');
	like($status->{last_error}, qr/503/, 'last_error');
};

behaviour 'each was asked for once' => sub {
	my $paths = $upstream->control('counts')->{paths};
	my @more = grep { /\?/ && $paths->{$_}{n} > 1 } sort keys %$paths;
	is("@more", '', 'requests');
	is(scalar @log, 3 * $each, 'in all');
};

behaviour 'after so many failures in a row nothing is sent until the cooldown is over, and then one request alone' => sub {
	my ($row, $opened, $probes) = (0, 0, 0);
	my $probe;

	for my $request (@log)
	{
		my $failed = $request->{result} eq '503';
		my $is_probe = defined $probe && $request->{number} == $probe->{number};
		$row = $failed ? $row + 1 : 0;
		next unless $row == $failures || ($is_probe && $failed);
		my $until = $request->{finished} + $cooldown;
		$opened++;
		is(started_between($request->{finished} + $slack, $until - $slack), 0, "opening $opened: nothing in between");
		($probe) = sort { $a->{started} <=> $b->{started} } grep { $_->{started} >= $until - $slack } @log;
		last unless defined $probe;
		is(started_between($probe->{started}, $probe->{finished}), 0, 'one request alone');
	}
	cmp_ok($opened, '>=', 2, 'it opened more than once');

	# One place in the queue after the other would need $each - $failures, but for those under way when it opened.
	cmp_ok($opened, '<=', $each / 2, 'and not for each game that fails');
};

done_testing();
