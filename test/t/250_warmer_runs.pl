# Runs of the warmer: what is warm afterwards, in which order, within which budget, and what becomes of a run that is
# stopped, doubled, or meets a bad upstream.

use strict;
use warnings FATAL => 'all';

use Test::More;
use Time::HiRes qw(time);
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main', server => { max_connections => 4, breaker_failures => 1000, timeout => '20s' },
	conf => "wbcache.max_wait = '30s'");
my $books = 2;
my $markets = 5;

# GAME => STATUS...: these are the events, which start in half an hour. The upstream knows them.
sub events
{
	my (%status) = @_;

	$session->run('BEGIN; DELETE FROM event');
	$session->run("INSERT INTO event VALUES ('$_', 'football', 'nfl', '$status{$_}', now() + interval '30 min')") for sort keys %status;
	$session->run('COMMIT');
	return;
}

# A run, from nothing cached; not one that the task makes by itself.
sub run
{
	my $status;

	$session->run('SELECT wbcache.clear()');
	$upstream->reset;
	await(sub { ($status = $session->json('SELECT wbcache.run_warmer()'))->{ran} }) or die "no run\n";
	return $status;
}

sub warm_keys
{
	return split /\n/, $session->value(q{SELECT key FROM wbcache.warm_log WHERE result = 'fetched' ORDER BY at});
}

sub status_of
{
	return $session->ask($_[0])->{status} // 'none';
}

behaviour 'nothing bound: a run that says so, and no error' => sub {
	$session->run(q{SELECT wbcache.preset_optic_odds('api')});
	my $status = run();
	is_deeply([ @$status{qw(status errors fixtures_warmed last_error last_result)} ],
		[ 'ok', 0, 0, 'no table of events is bound', 'done' ], 'status');
	like($session->error('SELECT wbcache.get_upcoming_fixtures()'), qr/ERROR:  55000: no table of events is bound/, 'get_upcoming_fixtures');
	like($session->error(q{SELECT wbcache.warm_prop_categories('x')}), qr/ERROR:  55000: no table of events is bound/, 'warm_prop_categories');
};

$session->run(<<'END');
CREATE TABLE event (id text, sport text, league text, status text, starts timestamptz);
SELECT wbcache.bind_events('event', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.schedule_task('warmer', '1 h', 'wbcache.warm_upcoming()');
END
await_value($session, q{SELECT next_start > now() + interval '50 min' AND last_result <> 'running' FROM wbcache.task WHERE name = 'warmer'}, 't');

# From here on it runs when it is told to only, and not for each change of a game.
$session->run(q{UPDATE wbcache.task SET driver = 'cron', next_start = NULL WHERE name = 'warmer'});

behaviour 'the keys of a game to come are warm after a run, each by one request' => sub {
	events('nfl-kc-buf' => 'unplayed', 'nfl-mia-nyj' => 'completed');
	my $status = run();
	is_deeply([ @$status{qw(ran status fixtures_warmed categories_cached props_cached errors requests)} ],
		[ JSON::PP::true, 'ok', 1, 1, $books * $markets, 0, 1 + $books * $markets ], 'status');
	is($upstream->total, 1 + $books * $markets, 'requests');
	my @keys = warm_keys();
	is(scalar @keys, 1 + $books * $markets, 'keys in the log');
	is($keys[0], 'props:categories:nfl-kc-buf', 'categories come first');
	is_deeply([ sort map { /^props:nfl-kc-buf:(\w+):draftkings$/ } @keys ], [ qw(anytime_touchdown_scorer moneyline player_passing_yards player_receiving_yards player_rushing_yards) ],
		'the top categories: what is about players, then what comes first');
	is(status_of($_), 'hit', $_) for @keys;
	is($upstream->total, 1 + $books * $markets, 'requests after reading');
	is($session->value(q{SELECT bool_and(priority >= 40 AND ms > 0 AND fixture_id = 'nfl-kc-buf') FROM wbcache.warm_log}), 't', 'the log');
};

behaviour 'a run that finds all warm makes no request' => sub {
	my $before = $upstream->total;
	my $status = $session->json('SELECT wbcache.run_warmer()');
	is_deeply([ @$status{qw(fixtures_warmed props_cached requests errors)} ], [ 1, $books * $markets, 0, 0 ], 'status');
	is($upstream->total, $before, 'requests');
};

behaviour 'after a clean restart too: the table tier has it all' => sub {
	undef $session;
	$node->restart;
	$session = session($node, 'postgres');
	$upstream->reset;
	my $status = $session->json('SELECT wbcache.run_warmer()');
	is_deeply([ @$status{qw(fixtures_warmed props_cached requests errors)} ], [ 1, $books * $markets, 0, 0 ], 'status');
	is($upstream->total, 0, 'requests');
};

behaviour 'within its budget, the games of highest priority first; the others next time' => sub {
	events('nfl-kc-buf' => 'unplayed', 'nfl-sf-sea' => 'live', 'nfl-phi-dal' => 'unplayed');
	$session->run(q{UPDATE event SET league = 'xfl' WHERE id = 'nfl-kc-buf'; ALTER SYSTEM SET wbcache.warmer_budget = 9; SELECT pg_reload_conf()});
	await_value($session, 'SHOW wbcache.warmer_budget', 9);
	is($session->value('SELECT string_agg(fixture_id, $$ $$) FROM wbcache.get_upcoming_fixtures()'), 'nfl-sf-sea nfl-phi-dal nfl-kc-buf', 'order');
	$session->run('DELETE FROM wbcache.warm_log');
	my $status = run();
	is_deeply([ @$status{qw(requests errors skipped_for_budget)} ], [ 9, 0, 2 ], 'first run');
	is($upstream->total, 9, 'requests');
	my @games = map { /nfl-\w+-\w+/ ? $& : () } warm_keys();
	is($games[0], 'nfl-sf-sea', 'the live game is first');
	ok(!grep({ $_ eq 'nfl-kc-buf' } @games), 'that of lowest priority has to wait');
	$status = $session->json('SELECT wbcache.run_warmer()');
	is_deeply([ @$status{qw(requests skipped_for_budget)} ], [ 9, 1 ], 'second run');
	$status = $session->json('SELECT wbcache.run_warmer()') for 1 .. 2;
	is($status->{skipped_for_budget}, 0, 'in the end all are warm');
	is(status_of('props:categories:nfl-kc-buf'), 'hit', 'that one too');
	$session->run('ALTER SYSTEM RESET wbcache.warmer_budget; SELECT pg_reload_conf()');
	await_value($session, 'SHOW wbcache.warmer_budget', 1000);
};

behaviour 'half of the games fail: the other half is warm, and the status says degraded' => sub {
	my @games = qw(nfl-kc-buf nfl-phi-dal nfl-gb-chi nba-bos-nyk nba-lal-gsw nhl-tor-mtl mlb-nyy-bos epl-liv-ars laliga-rma-fcb bundesliga-fcb-bvb ligue1-psg-om nfl-sf-sea);
	events(map { $_ => 'unplayed' } @games);
	$session->run('SELECT wbcache.clear()');
	$upstream->reset;
	$upstream->behave(path => "/api/v3/markets/active?fixture_id=$_", status => 503) for @games[ 0 .. 5 ];
	my $status = $session->json('SELECT wbcache.run_warmer()');
	is_deeply([ @$status{qw(status fixtures_warmed errors)} ], [ 'degraded', 6, 6 ], 'status');
	like($status->{last_error}, qr/^server "api" answered with HTTP status 503$/, 'last error');
	is(status_of("props:categories:$_"), 'hit', $_) for @games[ 6 .. 11 ];
	is($session->value(q{SELECT count(*) FROM wbcache.warm_log WHERE result = 'failed: server "api" answered with HTTP status 503'}), 6, 'the log');
	$upstream->clear;
	ok(await(sub { ($status = $session->json('SELECT wbcache.run_warmer()'))->{errors} == 0 }), 'when the failures are forgotten');
	is_deeply([ @$status{qw(status fixtures_warmed)} ], [ 'ok', 12 ], 'all are warm');
};

behaviour 'while the breaker is open the run waits, and asks no more than the breaker allows' => sub {
	events('nfl-kc-buf' => 'unplayed', 'nfl-phi-dal' => 'unplayed', 'nfl-gb-chi' => 'unplayed');
	$session->run(q{ALTER SERVER api OPTIONS (SET breaker_failures '1', ADD breaker_cooldown '2s')});
	$session->run('SELECT wbcache.clear()');
	$upstream->reset;
	$upstream->behave(path => '*', status => 503, count => 1);
	my $log = log_size($node);
	my $status = $session->json('SELECT wbcache.run_warmer()');
	cmp_ok($status->{fixtures_warmed}, '>=', 2, 'fixtures warm in the end');
	cmp_ok($status->{errors}, '<=', 1, 'errors: of what had failed');
	is(log_count($node, qr/circuit breaker of server "api" is closed again/, $log), 1, 'the breaker was open, and closed by one probe');
	$session->run(q{ALTER SERVER api OPTIONS (SET breaker_failures '1000')});
};

behaviour 'categories in another shape, and ids that can not be in a key, are errors of their own' => sub {
	events('nfl-kc-buf' => 'unplayed', 'nfl-phi-dal' => 'unplayed', 'nfl-gb-chi' => 'unplayed', 'nfl-sf-sea' => 'live', 'a:b' => 'unplayed', '' => 'unplayed');
	$session->run('SELECT wbcache.clear()');
	$upstream->reset;
	$upstream->behave(path => '/api/v3/markets/active?fixture_id=nfl-kc-buf', body => '{"data": "none"}');
	$upstream->behave(path => '/api/v3/markets/active?fixture_id=nfl-phi-dal', body => '[{"id": "a\u0000b"}]');
	$upstream->behave(path => '/api/v3/markets/active?fixture_id=nfl-gb-chi', body => '[]');
	my $status = $session->json('SELECT wbcache.run_warmer()');
	is_deeply([ @$status{qw(fixtures_warmed categories_cached errors last_result)} ], [ 2, 2, 4, 'done' ], 'status');
	like($session->error(q{SELECT wbcache.warm_prop_categories('nfl-kc-buf')}),
		qr/ERROR:  WB001: the categories of fixture "nfl-kc-buf" are in an unexpected shape/, 'by hand');
	$upstream->clear;
};

# The session of a run whose first fetch is not answered.
sub hanging_run
{
	events('nfl-kc-buf' => 'unplayed');
	$session->run('SELECT wbcache.clear()');
	$upstream->reset;
	$upstream->behave(path => '*', hang => 1);
	my $other = session($node, 'postgres');
	$other->send('SELECT wbcache.run_warmer()');
	return $other;
}

behaviour 'two runs at the same moment: one runs, the other says so' => sub {
	my $other = hanging_run();
	ok(await(sub { $upstream->control('counts')->{in_flight} == 1 }), 'one waits for the upstream');
	is($session->stat('stat_warmer', 'running, duration > interval $$0$$, last_result'), 't|t|done', 'stat_warmer');
	like($session->error('SELECT wbcache.run_warmer()'), qr/NOTICE:.*task "warmer" is running already, skipping/, 'a notice');
	is($session->json('SELECT wbcache.run_warmer()')->{ran}, JSON::PP::false, 'the other did not run');
	like($session->error('CALL wbcache.warm_upcoming()'), qr/NOTICE:.*the warmer is running already, skipping/, 'nor does the procedure by hand');
	is($session->value(q{SELECT coalesce(backend_xmin, backend_xid) IS NULL FROM pg_stat_activity WHERE backend_type = 'wbcache task'}), 't', 'it waits without a snapshot');
	$upstream->clear;
	my ($out) = $other->receive;
	like($out, qr/"ran": true/, 'the first did');
	like($session->error('BEGIN; CALL wbcache.warm_upcoming()'), qr/ERROR:  25001: /, 'not in a transaction block');
	$session->run('ROLLBACK');
};

behaviour 'a run that is stopped says so, and leaves nothing behind' => sub {
	$session->run(q{UPDATE wbcache.task SET driver = 'worker' WHERE name = 'warmer'});
	my $other = hanging_run();
	ok(await(sub { $upstream->control('counts')->{in_flight} == 1 }), 'it waits for the upstream');
	$session->run(q{SELECT pg_terminate_backend(pid) FROM wbcache.stat_worker WHERE kind = 'task'});
	$other->receive;
	is($session->stat('stat_warmer', 'running, last_result'), 'f|interrupted', 'stat_warmer');
	$upstream->clear;
	ok(await_value($session, 'SELECT pending_keys FROM wbcache.stat_coalescer', 0), 'no flights are left');
	$session->send('SELECT wbcache.clear()')->receive;
	$upstream->behave(path => '*', hang => 1);
	$other->send('SELECT wbcache.run_warmer()');
	ok(await(sub { $upstream->control('counts')->{in_flight} == 1 }), 'again');
	my $started = time();
	undef $session;
	$node->stop('fast');
	cmp_ok(time() - $started, '<', 10, 'a shutdown in the middle of it is prompt');
	$other->close;
	$upstream->clear;
	$node->start;
	$session = session($node, 'postgres');
	ok(await_value($session, q{SELECT runs > 0 AND last_result = 'done' FROM wbcache.stat_warmer}, 't'), 'the task runs again by itself');
	is(status_of('props:categories:nfl-kc-buf'), 'hit', 'and warms');
};

behaviour 'in a procedure whose transactions leave something to be done at exit' => sub {
	my $other = session($node, 'postgres');

	$other->run('CREATE PROCEDURE mine() LANGUAGE plpgsql AS $$BEGIN CREATE TEMP TABLE t AS SELECT 1; CALL wbcache.warm_upcoming(); END$$');
	is($other->error('CALL mine()'), '', 'no error');
	$other->close;
	ok(await_value($session, 'SELECT running, last_result FROM wbcache.stat_warmer', 'f|done'), 'it has ended');
	is($session->error('SET default_transaction_read_only = on; CALL wbcache.warm_upcoming(); RESET default_transaction_read_only'), '', 'nor in a READ ONLY one');
};

behaviour 'by hand' => sub {
	events('nfl-kc-buf' => 'unplayed', 'nfl-mia-nyj' => 'completed');
	$session->run('SELECT wbcache.clear(); DELETE FROM wbcache.warm_log');
	$upstream->reset;
	is($session->value(q{SELECT wbcache.warm_prop_categories('nfl-kc-buf')}), 7, 'categories');
	is($upstream->total, 1, 'one request');
	is($session->value(q{SELECT wbcache.warm_popular_props('nfl-kc-buf')}), $books * $markets, 'props');
	is($upstream->total, 1 + $books * $markets, 'no category again');
	is($session->value(q{SELECT count(*), count(priority) FROM wbcache.warm_log WHERE result = 'fetched'}), (1 + $books * $markets) . '|0', 'the log');
	like($session->error(q{SELECT wbcache.warm_popular_props('nfl-mia-nyj')}), qr/NOTICE:.*fixture "nfl-mia-nyj" is completed, skipping/, 'one that is over');
	like($session->error(q{SELECT wbcache.warm_popular_props('nope')}), qr/ERROR:  42704: fixture "nope" does not exist/, 'one that does not exist');
	$session->run('SELECT wbcache.clear()');
	$upstream->behave(path => '*', status => 500);
	like($session->error(q{SELECT wbcache.warm_prop_categories('nfl-kc-buf')}), qr/ERROR:  WB001: server "api" answered with HTTP status 500/, 'a failure');
	$upstream->clear;
};

behaviour 'the task fails with a reason where no endpoint has the keys' => sub {
	$session->run(q{SELECT wbcache.drop_endpoint('props_categories')});
	like($session->error('SELECT wbcache.run_warmer()'), qr/ERROR:  WB007: .*DETAIL:  key "props:categories:nfl-kc-buf" matches no endpoint/s, 'run_warmer');
	is($session->stat('stat_warmer', 'status, last_result'), 'degraded|failed', 'stat_warmer');
};

done_testing();
