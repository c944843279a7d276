# Each reason that health() can give is provoked, looks as RUNBOOK.md shows it, and goes away when its cause does.

use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use Test::More;
use WbcacheHealth;
use WbcacheTest;

my $upstream = WbcacheTest::Upstream->start;
my $node = start_instance('main', start => 0, conf => <<'END');
shared_preload_libraries = ''
wbcache.memory_size = 4MB
wbcache.max_flights = 16
wbcache.max_value_size = 2MB
restart_after_crash = on
END
my ($session, $other, $health);

# Two sessions, after a start.
sub connect_again
{
	($session, $other) = map { session($node, 'postgres') } 1 .. 2;
	$health->use_session($session);
	return;
}

sub restart_with
{
	my ($settings) = @_;

	$_->close for $session, $other;
	$node->append_conf('postgresql.conf', $settings);
	$node->restart;
	connect_again();
	return;
}

sub reload_with
{
	my ($settings) = @_;

	$node->append_conf('postgresql.conf', $settings);
	$node->reload;
	return;
}

# Reads a key this many times, whatever comes of it.
sub read_key
{
	my ($key, $n) = @_;

	$session->run("SELECT test.read_key('$key', $n)");
	return;
}

# Reads so many keys that nobody has read before.
my $serial = 0;

sub read_new
{
	my ($endpoint, $n) = @_;

	$session->run("SELECT test.read_key('$endpoint:' || i, 1) FROM generate_series(${\ ($serial + 1)}, ${\ ($serial + $n)}) i");
	$serial += $n;
	return;
}

$node->start;
$session = install($node, 'postgres', $upstream, breaker_cooldown => '100ms', timeout => '60s', max_connections => 20);
$other = session($node, 'postgres');
$health = WbcacheHealth->new($node, $session, dirname(__FILE__) . '/../../RUNBOOK.md');
$session->run(<<'END');
CREATE FUNCTION test.read_key(key text, n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1 .. n LOOP
    BEGIN
      PERFORM wbcache.get(key);
    EXCEPTION WHEN OTHERS THEN
    END;
  END LOOP;
END $$;
CREATE PROCEDURE test.store(name text, n int, size int) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1 .. n LOOP
    PERFORM wbcache.set('page:' || name || i, to_json(repeat('x', size)));
    COMMIT;
  END LOOP;
END $$;
SELECT wbcache.create_endpoint('page', 'page:{x}', soft_ttl => '1 h');
SELECT wbcache.create_endpoint('odds', 'odds:{x}', 'api', '/echo/odds/{x}', soft_ttl => '1 h', error_ttl => '0');
SELECT wbcache.create_endpoint('news', 'news:{x}', 'api', '/echo/news/{x}', soft_ttl => '1 h', error_ttl => '0');
END

# ---------------------------------------------------------------------------
# Library and workers
# ---------------------------------------------------------------------------

behaviour 'without the library in shared_preload_libraries' => sub {
	$health->is_there('not_preloaded', 'degraded');
	is($session->value('SELECT wbcache.health_status()'), 2, 'health_status');
	is($session->json("SELECT wbcache.$_()")->{status}, 'degraded', $_) for qw(health health_cache health_cache_props health_coalescer);
	like($session->value('SELECT wbcache.report()'), qr/\Awbcache of "postgres" at .*: degraded\ndegraded  not_preloaded: .*\z/, 'report');
	restart_with(q{shared_preload_libraries = 'wbcache'});
	$health->is_gone('not_preloaded');
};

behaviour 'a database that is not in wbcache.databases' => sub {
	reload_with(q{wbcache.databases = ''});
	$health->is_there('not_served', 'degraded', 'postgres');
	reload_with(q{wbcache.databases = 'postgres'});
	$health->is_gone('not_served');
};

# One slot is that of logical replication's launcher, one that of ours.
behaviour 'no worker slots' => sub {
	restart_with('max_worker_processes = 2');
	$health->is_there('fetcher_missing', 'degraded', 'postgres');
	$health->is_there('loader_missing', 'degraded', 'postgres');
	restart_with('max_worker_processes = 16');
	$health->is_gone($_) for qw(fetcher_missing loader_missing);
	is(($session->value('SELECT wbcache.health_status()')), 0, 'healthy');
};

behaviour 'fewer loaders than there should be, and none' => sub {
	restart_with('max_worker_processes = 4');
	$health->is_there('loader_missing', 'warning', 'postgres', 'one of two');
	restart_with("max_worker_processes = 16\nwbcache.loaders = 0");
	$health->is_there('loader_missing', 'degraded', 'postgres', 'none is wanted');
	reload_with('wbcache.loaders = 2');
	$health->is_gone('loader_missing');
};

# ---------------------------------------------------------------------------
# Servers
# ---------------------------------------------------------------------------

behaviour 'a breaker' => sub {
	$upstream->behave(path => '*', status => 503);
	read_new('odds', 5);
	$health->is_there('breaker_open', 'degraded', 'api');
	$upstream->behave(path => '*', hang => 1);
	ok(await_value($session, q{SELECT next_try < clock_timestamp() FROM wbcache.stat_server}, 't'), 'the cooldown is over');
	$other->send(q{SELECT wbcache.get('odds:probe')});
	$health->is_there('breaker_half_open', 'warning', 'api');
	$health->is_gone('breaker_open');
	$upstream->clear;
	$other->receive;
	$health->is_gone('breaker_half_open');
};

behaviour 'a server that asks for a pause' => sub {
	$upstream->behave(path => '*', retry_after => 3, count => 1);
	read_new('odds', 1);
	$health->is_there('server_paused', 'warning', 'api');
	$health->is_gone('server_paused');
};

behaviour 'a rate limit' => sub {
	$session->run(q{ALTER SERVER api OPTIONS (ADD rate_limit '4/4s')});
	ok(await(sub { read_new('odds', 1); $health->row('server_rate_limited') }), 'it is used up');
	$health->is_there('server_rate_limited', 'warning', 'api');
	$health->is_gone('server_rate_limited');
	$session->run('ALTER SERVER api OPTIONS (DROP rate_limit)');
};

# ---------------------------------------------------------------------------
# Reads
# ---------------------------------------------------------------------------

behaviour 'reads that end in errors' => sub {
	$session->run(q{SELECT wbcache.stat_reset(); SELECT wbcache.set('page:home', '1')});
	$upstream->behave(path => '*', status => 404);
	read_new('odds', 6);
	read_key('page:home', 93);
	$health->is_not_there('read_errors', 'of 99 reads');
	read_key('page:home', 1);
	$health->is_there('read_errors', 'degraded', 'odds');
	$upstream->clear;
	read_key('page:home', 100);
	$health->is_gone('read_errors');
};

behaviour 'few hits' => sub {
	$session->run('SELECT wbcache.stat_reset()');
	read_key('page:nothing', 21);
	read_key('page:home', 78);
	$health->is_not_there('hit_ratio_low', 'of 99 reads');
	read_key('page:home', 1);
	$health->is_there('hit_ratio_low', 'warning', 'page');
	is($session->json('SELECT wbcache.health_cache()')->{status}, 'warning', 'health_cache');
	read_key('page:home', 10);
	$health->is_gone('hit_ratio_low');
	is($session->json('SELECT wbcache.health_cache()')->{status}, 'healthy', 'health_cache');
};

behaviour 'fetches that fail' => sub {
	$session->run('SELECT wbcache.stat_reset()');
	$upstream->behave(path => '*', status => 404);
	read_new('news', 9);
	$health->is_not_there('refresh_failures', 'of 9');
	read_new('news', 1);
	$health->is_there('refresh_failures', 'degraded', 'news', 'all of them');
	$upstream->clear;
	read_new('news', 30);
	$health->is_there('refresh_failures', 'warning', 'news');
	read_new('news', 10);
	$health->is_gone('refresh_failures');
};

behaviour 'endpoints and tasks whose owner was dropped' => sub {
	$session->run(<<'END');
CREATE ROLE leaver LOGIN;
CREATE FUNCTION test.nothing() RETURNS void LANGUAGE sql AS '';
GRANT USAGE ON SCHEMA test TO leaver;
GRANT USAGE ON FOREIGN SERVER api TO leaver;
SELECT wbcache.create_endpoint('left', 'left:{x}', 'api', '/echo/left/{x}');
SELECT wbcache.alter_endpoint('left', owner => 'leaver');
SELECT wbcache.create_endpoint('left_set', 'left_set:{x}');
SELECT wbcache.alter_endpoint('left_set', owner => 'leaver');
GRANT EXECUTE ON FUNCTION wbcache.schedule_task TO leaver;
SET ROLE leaver;
SELECT wbcache.schedule_task('leftover', '1 h', 'test.nothing()');
RESET ROLE;
SELECT 1;
END
	ok(await_value($session, q{SELECT last_result FROM wbcache.task WHERE name = 'leftover'}, 'succeeded'), 'its task has run');
	$health->is_not_there('owner_gone', 'before');
	$session->run('DROP OWNED BY leaver; DROP ROLE leaver');
	$health->is_there('owner_gone', 'degraded', 'left');
	is($session->value(q{SELECT string_agg(concat_ws(' ', about, level, part), ', ' ORDER BY about)
		FROM wbcache.health_reasons WHERE code = 'owner_gone'}),
		'left degraded cache, left_set warning cache, leftover warning tasks', 'all of them');
	$session->run(q{SELECT wbcache.alter_endpoint('left_set', owner => current_user::regrole), wbcache.drop_endpoint('left'), wbcache.unschedule_task('leftover')});
	$health->is_gone('owner_gone');
	$session->run(q{SELECT wbcache.drop_endpoint('left_set')});
};

# ---------------------------------------------------------------------------
# Coalescer
# ---------------------------------------------------------------------------

behaviour 'almost as many flights as there can be' => sub {
	$upstream->behave(path => '*', hang => 1);
	$session->run(q{SELECT count(wbcache.set('odds:hang' || i, '1', soft_ttl => '1 us')) FROM generate_series(1, 13) i});
	$session->run(q{SELECT count(wbcache.get('odds:hang' || i)) FROM generate_series(1, 13) i});
	$health->is_there('flights_full', 'degraded');
	$upstream->clear;
	$health->is_gone('flights_full');
};

behaviour 'many who wait' => sub {
	my @readers = map { session($node, 'postgres') } 1 .. 6;

	$session->run('SET wbcache.health_waiters = 5');
	$upstream->behave(path => '*', hang => 1);
	$_->begin_ask('odds:one') for @readers;
	$health->is_there('many_waiters', 'warning');
	is($session->json('SELECT wbcache.health_coalescer()')->{status}, 'warning', 'health_coalescer');
	$upstream->clear;
	is($_->end_ask->{sqlstate}, undef, 'answered') for @readers;
	$health->is_gone('many_waiters');
	is($session->json('SELECT wbcache.health_coalescer()')->{status}, 'healthy', 'health_coalescer');
	$session->run('RESET wbcache.health_waiters');
	$_->close for @readers;
};

# ---------------------------------------------------------------------------
# Memory and the table tier
# ---------------------------------------------------------------------------

behaviour 'a table tier that can not be written' => sub {
	$other->run('BEGIN; LOCK TABLE wbcache.entry');
	$session->run(q{CALL test.store('unwritten', 300, 10)});
	$health->is_there('table_tier_behind', 'warning');
	$other->run('ROLLBACK');
	$health->is_gone('table_tier_behind');
};

behaviour 'memory that is too small' => sub {
	my $load = q{CALL test.store('small', 1500, 2000); CALL test.store('large', 5, 900000)};

	ok(await(sub { $session->run($load); $health->row('memory_evicting') && $health->row('memory_refusing') }), 'under load');
	$health->is_there($_, 'warning') for qw(memory_evicting memory_refusing);
	restart_with('wbcache.memory_size = 64MB');
	$session->run($load);
	$health->is_gone($_, "$_ is gone, under the same load in more memory") for qw(memory_evicting memory_refusing);
};

behaviour 'many registered keys' => sub {
	$session->run(q{SELECT count(wbcache.register_cache_key('game', 'page:' || i)) FROM generate_series(1, 26214) i});
	$health->is_not_there('registry_full', 'one too few');
	$session->run(q{SELECT wbcache.register_cache_key('game', 'page:one more')});
	$health->is_there('registry_full', 'warning');
	my $size = log_size($node);
	kill('KILL', $other->pid);
	ok(await(sub { log_count($node, qr/database system is ready to accept connections/, $size) }), 'after a crash');
	$_->close for $session, $other;
	connect_again();
	$health->is_gone('registry_full');
};

# ---------------------------------------------------------------------------
# Sidebar
# ---------------------------------------------------------------------------

$session->run(<<'END');
CREATE TABLE event (id int PRIMARY KEY, sport text, league text, status text, starts timestamptz);
INSERT INTO event VALUES (1, 'nfl', 'nfl', 'unplayed', '2000-01-01');
BEGIN;
SELECT wbcache.bind_events('event', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.unschedule_task('sidebar_refresh');
COMMIT;
SELECT wbcache.refresh_sidebar_data();
END

# Changes something, and has it refreshed.
sub refresh_sidebar
{
	$session->run('UPDATE event SET status = md5(random()::text)');
	$session->run('SELECT wbcache.refresh_sidebar_data()');
	return;
}

behaviour 'a sidebar that is behind for long' => sub {
	$session->run(q{UPDATE event SET status = 'live'});
	$health->is_not_there('sidebar_old', 'at once');
	$session->run(q{SET wbcache.health_sidebar_age = '1ms'});
	$health->is_there('sidebar_old', 'warning', 'sidebar_data');
	$session->run('DELETE FROM wbcache.sidebar_refresh_log');
	like($health->row('sidebar_old'), qr/behind the events, and was never refreshed$/, 'as after a restore');
	refresh_sidebar();
	$health->is_gone('sidebar_old');
	$session->run('RESET wbcache.health_sidebar_age');
};

behaviour 'a refresh that fails' => sub {
	$session->run(q{UPDATE event SET status = 'half'});
	$other->run('BEGIN; LOCK TABLE event');
	$session->run(q{SET lock_timeout = '10ms'; SELECT wbcache.refresh_sidebar_data(); RESET lock_timeout});
	$health->is_there('sidebar_refresh_failed', 'warning', 'sidebar_data');
	$other->run('ROLLBACK');
	refresh_sidebar();
	$health->is_gone('sidebar_refresh_failed');
};

behaviour 'a refresh that is slow' => sub {
	$session->run(q{SET wbcache.sidebar_alert_time = 0});
	refresh_sidebar();
	$session->run(q{RESET wbcache.sidebar_alert_time});
	$health->is_there('sidebar_slow', 'warning', 'sidebar_data');
	refresh_sidebar();
	$health->is_gone('sidebar_slow');
};

behaviour 'sidebar_data without data, and gone' => sub {
	$session->run('REFRESH MATERIALIZED VIEW wbcache.sidebar_data WITH NO DATA');
	$health->is_there('sidebar_not_populated', 'warning', 'sidebar_data');
	refresh_sidebar();
	$health->is_gone('sidebar_not_populated');
	$session->run('DROP MATERIALIZED VIEW wbcache.sidebar_data');
	$health->is_there('sidebar_missing', 'warning', 'sidebar_data');
	$session->run(q{SELECT wbcache.bind_events('event', 'id', 'sport', 'league', 'status', 'starts')});
	$health->is_gone('sidebar_missing');
};

# ---------------------------------------------------------------------------
# Tasks
# ---------------------------------------------------------------------------

behaviour 'a task that fails' => sub {
	$session->run(<<'END');
CREATE FUNCTION test.tidy() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room for the archive'; END $$;
SELECT wbcache.schedule_task('tidy', '1 h', 'test.tidy()');
END
	$health->is_there('task_failed', 'warning', 'tidy');
	$session->run(q{CREATE OR REPLACE FUNCTION test.tidy() RETURNS text LANGUAGE sql RETURN 'done'});
	$session->run(q{SELECT wbcache.run_task('tidy')});
	$health->is_gone('task_failed');
};

behaviour 'a task that is cut off' => sub {
	my $pid;

	$session->run(q{CREATE OR REPLACE FUNCTION test.tidy() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT 'slept' FROM pg_sleep(300); END});
	$other->send(q{SELECT wbcache.run_task('tidy')});
	ok(await_value($session, q{SELECT last_result FROM wbcache.task WHERE name = 'tidy'}, 'running'), 'it runs');
	ok(await(sub { $pid = $session->value(q{SELECT min(pid) FROM wbcache.stat_worker WHERE kind = 'task'}) }), 'its process');
	$session->run("SELECT pg_terminate_backend($pid)");
	$health->is_there('task_interrupted', 'warning', 'tidy');
	$other->receive;
	$session->run(q{CREATE OR REPLACE FUNCTION test.tidy() RETURNS text LANGUAGE sql RETURN 'done'});
	$session->run(q{SELECT wbcache.run_task('tidy')});
	$health->is_gone('task_interrupted');
};

behaviour 'a task of pg_cron, restored where there is none' => sub {
	$session->run(q{UPDATE wbcache.task SET driver = 'cron', cron_schedule = '*/5 * * * *', cron_job = 7, next_start = NULL WHERE name = 'tidy'});
	$health->is_there('task_without_job', 'warning', 'tidy');
	$session->run(q{SELECT wbcache.schedule_with_worker('tidy')});
	$health->is_gone('task_without_job');
};

# ---------------------------------------------------------------------------
# Warmer
# ---------------------------------------------------------------------------

behaviour 'a warmer that has errors, and one that does not run' => sub {
	$session->run(q{INSERT INTO event SELECT i, 'nfl', 'nfl', 'unplayed', now() + interval '30 min' FROM generate_series(101, 106) i});
	$upstream->behave(path => '*', status => 404);
	$session->run(q{SELECT wbcache.preset_optic_odds('api')});
	$health->is_there('warmer_degraded', 'warning', 'warmer');
	is($session->json('SELECT wbcache.health_cache_props()')->{status}, 'warning', 'health_cache_props');
	$upstream->clear;
	$upstream->behave(path => '*', body => '{"data": []}');
	ok(await(sub { my $run = $session->json('SELECT wbcache.run_warmer()'); $run->{ran} && $run->{errors} == 0 }), 'once the failures are forgotten');
	$health->is_gone('warmer_degraded');
	is($session->json('SELECT wbcache.health_cache_props()')->{fixtures_warmed}, 6, 'games warmed');
	$upstream->clear;

	$session->run(q{SET wbcache.health_warmer_age = '2s'});
	$health->is_there('warmer_not_run', 'warning', 'warmer');
	$session->run('SELECT wbcache.run_warmer()');
	$health->is_gone('warmer_not_run');
	$session->run(q{RESET wbcache.health_warmer_age; SELECT wbcache.unschedule_task('warmer'), wbcache.stat_reset()});
};

# ---------------------------------------------------------------------------
# Invalidation: both rates are those of a minute
# ---------------------------------------------------------------------------

behaviour 'tables that lack some of their triggers' => sub {
	my $why = q{SELECT string_agg(about || ': ' || substring(message from 'says: (.*)'), ', ' ORDER BY about)
		FROM wbcache.health_reasons WHERE code = 'triggers_missing'};

	$session->run(<<'END');
CREATE TABLE odds (game int, price int) PARTITION BY LIST (game);
CREATE TABLE odds_1 PARTITION OF odds FOR VALUES IN (1);
SELECT wbcache.watch_odds('odds', 'game', 'price');
END
	$health->is_not_there('triggers_missing', 'all are there');
	$session->run('ALTER TABLE event DROP COLUMN status CASCADE');
	$health->is_there('triggers_missing', 'degraded', 'public.event');
	$session->run(q{ALTER TABLE event ADD COLUMN status text; SELECT wbcache.bind_events('event', 'id', 'sport', 'league', 'status', 'starts')});
	$health->is_gone('triggers_missing');
	$session->run('DROP VIEW wbcache.events CASCADE');
	is($session->value($why), 'public.event: the view wbcache.events is missing', 'only the view is missing');
	$session->run(q{SELECT wbcache.unbind_events('event')});
	$health->is_gone('triggers_missing');

	$session->run('ALTER TABLE odds DISABLE TRIGGER wbcache_odds_truncate');
	is($session->value($why), 'public.odds: 2 of its 3 triggers are there and ENABLE ALWAYS', 'one is disabled');
	$session->run('ALTER TABLE odds ENABLE ALWAYS TRIGGER wbcache_odds_truncate; ALTER TABLE odds_1 ENABLE TRIGGER wbcache_odds_update');
	is($session->value($why), 'public.odds_1: 1 of its 2 triggers are there and ENABLE ALWAYS', 'one of a partition does not fire on a subscriber');
	$session->run('DROP TABLE odds');
	is($session->value($why), '', 'all is well');
};

behaviour 'many invalidations, and many patterns' => sub {
	$session->run(q{DO $$ BEGIN FOR i IN 1 .. 257 LOOP PERFORM wbcache.invalidate_pattern('page:x' || i); COMMIT; END LOOP; END $$});
	$health->is_there($_, 'warning') for qw(invalidation_rate patterns_forgotten);
	local $WbcacheTest::LIMIT = 180;
	$health->is_gone($_) for qw(invalidation_rate patterns_forgotten);
};

behaviour 'in the end' => sub {
	ok(await_value($session, 'SELECT wbcache.health_status()', 0), 'all is well') or
	  diag($session->value(q{SELECT string_agg(concat_ws(' ', level, code, about, message, figures), chr(10)) FROM wbcache.health_reasons}));
	is($session->json('SELECT wbcache.health()')->{status}, 'healthy', 'health');
	$health->all_were_seen;
};

$_->close for $session, $other;
done_testing();
