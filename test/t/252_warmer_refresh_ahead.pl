# Refresh ahead: what a run has warmed is refreshed before it turns stale, while the game is to come or under way.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main', server => { breaker_failures => 1000 },
	conf => "wbcache.warmer_sportsbooks = 'draftkings'\nwbcache.warmer_categories = 1\nwbcache.hot_keys = 3\nwbcache.hot_keys_interval = '1s'");
my $categories = 'props:categories:nfl-kc-buf';
my $markets = '/markets/active?fixture_id=nfl-kc-buf';

$session->run(<<'END');
CREATE TABLE event (id text PRIMARY KEY, sport text, league text, status text, starts timestamptz);
INSERT INTO event VALUES ('nfl-kc-buf', 'football', 'nfl', 'unplayed', now() + interval '30 min'),
  ('nfl-sf-sea', 'football', 'nfl', 'live', now());
SELECT wbcache.bind_events('event', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.preset_optic_odds('api');
SELECT wbcache.alter_endpoint(name, soft_ttl => '1 s', hard_ttl => '1 min') FROM wbcache.endpoint WHERE name LIKE 'props%';
SELECT wbcache.schedule_task('warmer', '1 h', 'wbcache.warm_upcoming()');
END
ok(await(sub { $session->json('SELECT wbcache.run_warmer()')->{ran} }), 'a run');

sub requests
{
	return $upstream->count($markets);
}

# Reads until the upstream has had so many more requests; how each read was answered.
sub read_during
{
	my ($more) = @_;
	my $until = requests() + $more;
	my %seen;

	await(sub { $seen{ $session->ask($categories)->{status} }++; requests() >= $until }) or die "no more requests\n";
	return \%seen;
}

behaviour 'nobody reads, and yet it is refreshed, by one request for each TTL or little more' => sub {
	my $before = requests();
	my $answer = $session->ask($categories);
	ok(await(sub { requests() >= $before + 3 }), 'three refreshes');
	is($session->ask($categories)->{status}, 'hit', 'then it is fresh');
	my @started = map { $_->{started} } $upstream->log($markets);
	cmp_ok($started[-1] - $started[-3], '>=', 1.4, 'seconds of two TTLs of a second');
	is($session->stat('stat_warmer', 'keys_ahead, refreshes_ahead > 0'), '4|t', 'stat_warmer');
};

behaviour 'what no client reads does not become hot by that' => sub {
	my $read = 'props:categories:nfl-sf-sea';

	$session->ask($read) for 1 .. 20;
	ok(await_value($session, "SELECT count(*) FROM wbcache.hot_key WHERE key = '$read'", 1), 'what one reads does');
	my $until = requests() + 3;
	ok(await(sub { requests() >= $until }), 'three refreshes');
	is($session->value("SELECT string_agg(key || ' ' || uses, ', ') FROM wbcache.hot_key WHERE key NOT IN ('$read', '$categories')"), '', 'no others');
};

behaviour 'who reads all the time gets it fresh' => sub {
	my $seen = read_during(4);
	is($seen->{miss} // 0, 0, 'no miss');
	cmp_ok($seen->{hit} // 0, '>', 50, 'hits') or diag(WbcacheTest::encode($seen));
};

behaviour 'what an invalidation takes away comes back without a reader' => sub {
	my $before = requests();
	$session->run(q{SELECT wbcache.invalidate_tag('game:nfl-kc-buf')});
	ok(await(sub { requests() > $before }), 'it is fetched');
	is($session->ask_until($categories, 'hit')->{status}, 'hit', 'and there');
};

behaviour 'when a game changes, its keys are fetched at once, without a run' => sub {
	my ($category) = $session->value("SELECT string_agg(category, ' ') FROM wbcache.top_categories(wbcache.get('$categories'), 1)");
	my $odds = "/fixtures/odds?fixture_id=nfl-kc-buf&market=$category&sportsbook=draftkings";
	my $change = q{UPDATE event SET status = 'delayed' WHERE id = 'nfl-kc-buf'};

	$session->run(q{UPDATE wbcache.task SET driver = 'cron', next_start = NULL WHERE name = 'warmer'});
	$session->run(q{SELECT wbcache.alter_endpoint('props', soft_ttl => '1 h', hard_ttl => '2 h')});
	$session->ask_until("props:nfl-kc-buf:$category:draftkings", 'hit');
	my ($runs, $before) = ($session->stat('stat_warmer', 'runs'), $upstream->count($odds));
	$session->run("BEGIN; $change; ROLLBACK; $change");
	ok(await(sub { $upstream->count($odds) > $before }), 'fetched again, long before a quarter of its TTL');
	is($session->stat('stat_warmer', 'runs'), $runs, 'no run');
	$session->run(q{SELECT wbcache.alter_endpoint('props', soft_ttl => '1 s', hard_ttl => '1 min')});
	ok($session->json('SELECT wbcache.run_warmer()')->{ran}, 'the run that was wanted');
	$session->run(q{UPDATE wbcache.task SET driver = 'worker', next_start = now() + interval '1 h' WHERE name = 'warmer'});
};

behaviour 'while the upstream fails it is tried with growing delays; then it goes on' => sub {
	$upstream->behave(path => '*', status => 503);
	my $before = requests();
	ok(await(sub { requests() >= $before + 7 }), 'seven tries');
	my @started = map { $_->{started} } ($upstream->log($markets))[ $before .. $before + 6 ];
	cmp_ok($started[6] - $started[5], '>', 2 * ($started[1] - $started[0]), 'from one to the next it takes longer and longer')
	  or diag(WbcacheTest::encode(\@started));
	is($session->ask($categories)->{value}{page}, 1, 'the value is served meanwhile');
	$upstream->clear;
	is($session->ask_until($categories, 'hit')->{status}, 'hit', 'fresh again');
	read_during(2);
};

behaviour 'when the upstream has other categories, what they offer is warm without a reader' => sub {
	my $top = sub { $session->value("SELECT string_agg(category, ' ') FROM wbcache.top_categories(wbcache.get('$categories'), 1)") };
	my $before = $top->();

	$upstream->control('fixture', id => 'nfl-kc-buf', status => 'live');
	ok(await(sub { $top->() ne $before }), 'other categories');
	my ($category) = $top->();
	ok(await(sub { $upstream->count("/fixtures/odds?fixture_id=nfl-kc-buf&market=$category&sportsbook=draftkings") > 0 }), "$category is fetched");
	is($session->ask_until("props:nfl-kc-buf:$category:draftkings", 'hit')->{status}, 'hit', 'and there');
};

behaviour 'when a game changes, a run comes before its time' => sub {
	ok(await_value($session, 'SELECT NOT running FROM wbcache.stat_warmer', 't'), 'no run');
	my $runs = $session->stat('stat_warmer', 'runs');
	my $begun = q{UPDATE event SET status = 'live' WHERE id = 'nfl-kc-buf'};

	$session->run("BEGIN; $begun; ROLLBACK; INSERT INTO event VALUES ('other', 'football', 'nfl', 'unplayed', now() + interval '3 days'); DELETE FROM event WHERE id = 'other'");
	read_during(3);
	is($session->stat('stat_warmer', 'runs'), $runs, 'not for what is rolled back, nor for a game that is not to be warmed');
	$session->run($begun);
	ok(await_value($session, "SELECT runs = $runs + 1 AND NOT running FROM wbcache.stat_warmer", 't'), 'a run');
	is($session->value(q{SELECT next_start > now() + interval '50 min' FROM wbcache.task WHERE name = 'warmer'}), 't', 'the next is due when its interval has passed');
};

behaviour 'and one run only, whatever the task does' => sub {
	my $runs = sub { return $session->value(q{SELECT runs FROM wbcache.task WHERE name = 'warmer'}) };

	$session->run(q{CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS ''; SELECT wbcache.schedule_task('warmer', '1 h', 'nothing()')});
	ok(await_value($session, q{SELECT last_result = 'succeeded' AND next_start > now() + interval '50 min' FROM wbcache.task WHERE name = 'warmer'}, 't'), 'it has run');
	my $before = $runs->();
	$session->run(q{UPDATE event SET status = 'half' WHERE id = 'nfl-kc-buf'});
	ok(await(sub { $runs->() > $before }), 'it runs again');
	read_during(4);
	is($runs->(), $before + 1, 'once');
	$session->run(q{SELECT wbcache.schedule_task('warmer', '1 h', 'wbcache.warm_upcoming()')});
	ok(await_value($session, q{SELECT last_result = 'succeeded' AND next_start > now() + interval '50 min' FROM wbcache.task WHERE name = 'warmer'}, 't'), 'the warmer again');
};

behaviour 'runs before their time share the budget of the one before' => sub {
	$session->run(q{ALTER DATABASE postgres SET wbcache.warmer_budget = 2;
		INSERT INTO event SELECT 'new-' || n, 'football', 'nfl', 'unplayed', now() + interval '40 min' FROM generate_series(1, 10) n});
	$session->json('SELECT wbcache.run_warmer()');
	my ($runs, $requests) = split /\|/, $session->stat('stat_warmer', 'runs, total_requests');
	$session->run(q{UPDATE event SET status = 'live' WHERE id = 'nfl-kc-buf'});
	ok(await_value($session, "SELECT runs > $runs AND NOT running FROM wbcache.stat_warmer", 't'), 'a run');
	is($session->stat('stat_warmer', 'total_requests'), $requests, 'has nothing left');
	is($session->json('SELECT wbcache.run_warmer()')->{requests}, 2, 'one that is asked for has');
	$session->run(q{ALTER DATABASE postgres RESET wbcache.warmer_budget; DELETE FROM event WHERE id LIKE 'new-%'});
	ok(await_value($session, "SELECT runs > $runs + 2 AND NOT running AND keys_ahead = 5 FROM wbcache.stat_warmer", 't'), 'without these games');
};

behaviour 'when the game is over it stops by itself' => sub {
	my $others = '/markets/active?fixture_id=nfl-sf-sea';
	my $keys = $session->stat('stat_warmer', 'keys_ahead');
	my $over = q{UPDATE event SET status = 'Final' WHERE id = 'nfl-kc-buf'};
	$session->run("BEGIN; $over");
	is($session->stat('stat_warmer', 'keys_ahead'), $keys, 'not before the commit');
	$session->run("ROLLBACK; BEGIN; SAVEPOINT s; $over; ROLLBACK TO s; UPDATE event SET status = 'half' WHERE id = 'nfl-kc-buf'; COMMIT");
	is($session->stat('stat_warmer', 'keys_ahead'), $keys, 'nor when it was rolled back, or the game goes on');
	$session->run($over);
	is($session->stat('stat_warmer', 'keys_ahead'), 2, 'the keys of the other game are left');
	is($session->json('SELECT wbcache.run_warmer()')->{keys_ahead}, 2, 'after another run, too');
	$upstream->reset;
	ok(await(sub { $upstream->count($others) >= 4 }), 'that one is refreshed four times');
	cmp_ok(requests(), '<=', 1, 'requests for this one: that under way');
};

behaviour 'a game that ends in one transaction with many others' => sub {
	$session->run(q{INSERT INTO event SELECT 'other-' || n, 'football', 'nfl', 'unplayed', now() + interval '3 days' FROM generate_series(1, 80) n});
	is($session->stat('stat_warmer', 'keys_ahead'), 2, 'it is refreshed ahead');
	$session->run(q{BEGIN; UPDATE event SET status = 'completed' WHERE id LIKE 'other-%'; UPDATE event SET status = 'completed' WHERE id = 'nfl-sf-sea'; COMMIT});
	ok(await_value($session, 'SELECT keys_ahead FROM wbcache.stat_warmer', 0), 'it is not any more');
};

behaviour 'and so it does when no run comes any more' => sub {
	my $runs = $session->stat('stat_warmer', 'runs');
	$session->run(q{UPDATE event SET status = CASE id WHEN 'nfl-kc-buf' THEN 'live' ELSE 'completed' END; SELECT wbcache.schedule_task('warmer', '1 s', 'wbcache.warm_upcoming()')});
	ok(await_value($session, "SELECT runs > $runs AND NOT running AND keys_ahead = 2 FROM wbcache.stat_warmer", 't'), 'it is refreshed');
	$session->run(q{SELECT wbcache.unschedule_task('warmer')});
	ok(await_value($session, 'SELECT keys_ahead FROM wbcache.stat_warmer', 0), 'no more');
};

behaviour 'DROP EXTENSION leaves nothing that fails' => sub {
	my $log = log_size($node);
	$session->run(q{SELECT wbcache.schedule_task('warmer', '1 h', 'wbcache.warm_upcoming()')});
	ok(await_value($session, 'SELECT keys_ahead FROM wbcache.stat_warmer', 2), 'it is refreshed');
	$session->run('SELECT wbcache.unbind_events($$event$$); DROP EXTENSION wbcache CASCADE; CREATE EXTENSION wbcache');
	$session->value('SELECT wbcache.get_warmer_status()');
	unlike(log_since($node, $log), qr/(ERROR|FATAL|PANIC):/, 'the log');
};

done_testing();
