# The sidebar answers while its data is refreshed, when that fails, when the events are locked, when the materialized view is
# gone, and after a crash; and what can't be had is seen in the statistics.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my $node = start_instance('main', conf => 'restart_after_crash = on');
my ($session, $reader, $locker) = map { session($node, 'postgres') } 1 .. 3;

$session->run(<<'END');
CREATE EXTENSION wbcache;
CREATE TABLE event (id int PRIMARY KEY, sport text, league text, status text, starts timestamptz);
INSERT INTO event VALUES (1, 'nfl', 'nfl', 'unplayed', '2000-01-01'), (2, 'soccer', 'epl', 'unplayed', '2000-01-01');
BEGIN;
SELECT wbcache.bind_events('event', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.unschedule_task('sidebar_refresh');
COMMIT;
SELECT wbcache.refresh_sidebar_data();
END
$_->run(q{SET wbcache.max_wait = '30s'; SET client_min_messages = error}) for $session, $reader;

my $STALE = 'sidebar_data as of its last refresh: the events are locked';

# What a reader gets: "live games of all, source".
sub sidebar
{
	my ($sport) = @_;
	my $argument = $sport ? "'$sport'" : '';

	return $reader->value(<<"END");
SELECT (SELECT coalesce(sum((s ->> 'live_games')::int), 0) FROM json_array_elements(g -> 'sports') s), g ->> 'source'
  FROM wbcache.get_sidebar($argument) g
END
}

sub change
{
	my ($status) = @_;
	$session->run("UPDATE event SET status = '$status' WHERE id = 1");
}

sub refresh
{
	return $session->value('SELECT wbcache.refresh_sidebar_data()');
}

sub stat_is
{
	my ($columns, $expected, $name) = @_;
	is($session->value("SELECT $columns FROM wbcache.stat_sidebar"), $expected, $name);
}

behaviour 'readers all through a refresh' => sub {
	is(sidebar(), '0|sidebar_data', 'before');
	change('live');
	$locker->run('BEGIN');
	like($locker->value('SELECT wbcache.refresh_sidebar_data()'), qr/^refreshed/, 'a refresh that is not committed');
	$reader->run(q{SET statement_timeout = '20s'});
	is(sidebar($_), ($_ eq 'soccer' ? 0 : 1) . '|events: sidebar_data is behind', "cold: $_") for '', 'nfl', 'soccer';
	is($reader->value(q{SELECT status FROM wbcache.lookup('sidebar:nfl:all')}), 'hit', 'hot');
	is(refresh(), 'none: another refresh is under way', 'another refresh');
	$locker->run('COMMIT');
	is(sidebar(), '1|sidebar_data', 'after');
};

behaviour 'readers while a refresh waits for the events' => sub {
	change('unplayed');
	is(sidebar('nfl'), '0|events: sidebar_data is behind', 'cached');
	$locker->run('BEGIN; LOCK TABLE event');
	$session->run(q{SET lock_timeout = '50s'});
	$session->send('SELECT wbcache.refresh_sidebar_data()');
	ok(await_value($locker, q{SELECT count(*) FROM pg_locks WHERE relation = 'event'::regclass AND NOT granted}, 1), 'the refresh waits');
	is(sidebar('nfl'), '0|events: sidebar_data is behind', 'hot');
	is(sidebar(), "1|$STALE", 'cold: what there is');
	is($reader->value(q{SELECT status <> 'hit' AND detail LIKE '%; from sidebar_data as of%' FROM wbcache.lookup('sidebar:all:all')}), 't',
		'it is not kept, and lookup tells');
	$locker->run('COMMIT');
	like(($session->receive)[0], qr/^refreshed/, 'the refresh goes on');
	$session->run('RESET lock_timeout');
	is(sidebar(), '0|sidebar_data', 'after');
};

behaviour 'locked events with current data' => sub {
	$locker->run(q{BEGIN; LOCK TABLE event; SELECT wbcache.invalidate_sidebar_cache()});
	$session->run('SELECT wbcache.invalidate_sidebar_cache()');
	is(sidebar(), '0|sidebar_data', 'cold');
	$locker->run('ROLLBACK');
};

behaviour 'a refresh that fails' => sub {
	change('live');
	$locker->run('BEGIN; LOCK TABLE event');
	$session->run(q{SET lock_timeout = '10ms'});
	is(refresh(), 'failed: canceling statement due to lock timeout', 'it says so');
	$session->run('RESET lock_timeout');
	stat_is('state, failures, last_error', 'behind|1|canceling statement due to lock timeout', 'so do the statistics');
	is($session->value(q{SELECT error IS NOT NULL, rows IS NULL FROM wbcache.sidebar_refresh_log ORDER BY started DESC LIMIT 1}), 't|t', 'and the log');
	is(sidebar(), "0|$STALE", 'readers get what there is');
	$locker->run('ROLLBACK');
	is(sidebar(), '1|events: sidebar_data is behind', 'and the truth as soon as it can be had');
	like(refresh(), qr/^refreshed/, 'next time it succeeds');
	stat_is('state, failures, last_error IS NULL', 'current|1|t', 'the statistics');
};

behaviour 'a refresh that is cancelled' => sub {
	change('unplayed');
	my $rows = $session->value('SELECT count(*) FROM wbcache.sidebar_refresh_log');
	$locker->run('BEGIN; LOCK TABLE event');
	$session->send('SELECT wbcache.refresh_sidebar_data()');
	ok(await_value($locker, q{SELECT count(*) FROM pg_locks WHERE relation = 'event'::regclass AND NOT granted}, 1), 'it waits');
	$locker->run('SELECT pg_cancel_backend(' . $session->pid . ')');
	like(($session->receive)[1], qr/ERROR:  57014/, 'the error');
	$locker->run('ROLLBACK');
	is($session->value('SELECT count(*) FROM wbcache.sidebar_refresh_log'), $rows, 'no row in the log');
	like(refresh(), qr/^refreshed/, 'the lock is free');
};

behaviour 'locked sidebar_data' => sub {
	$session->run('SELECT wbcache.invalidate_sidebar_cache()');
	$locker->run('BEGIN; REFRESH MATERIALIZED VIEW wbcache.sidebar_data');
	is(sidebar(), '0|events: sidebar_data is locked', 'from the events');
	$locker->run('COMMIT');
	stat_is('fallbacks', 1, 'it is counted');
};

behaviour 'after a crash' => sub {
	is($session->value('SELECT wbcache.sidebar_state()'), 'current', 'before');
	my $size = log_size($node);
	kill('KILL', $locker->pid);
	ok(await(sub { log_count($node, qr/database system is ready to accept connections/, $size) }), 'started again');
	$_->close for $session, $reader, $locker;
	($session, $reader, $locker) = map { session($node, 'postgres') } 1 .. 3;
	$reader->run(q{SET wbcache.max_wait = '30s'});
	is($session->value('SELECT wbcache.sidebar_state()'), 'behind', 'who knows what has changed');
	is(sidebar(), '0|events: sidebar_data is behind', 'read');
	like(refresh(), qr/^refreshed/, 'refreshed');
	is(sidebar(), '0|sidebar_data', 'read again');
};

behaviour 'sidebar_data dropped' => sub {
	$session->run('DROP MATERIALIZED VIEW wbcache.sidebar_data');
	is(sidebar(), '0|sidebar_data', 'what is cached is good');
	change('live');
	is(sidebar(), '1|events: sidebar_data is missing', 'the events');
	stat_is('state, fallbacks', 'missing|1', 'the statistics');
	like($session->error('SELECT wbcache.refresh_sidebar_data()'), qr/ERROR:  55000: .* does not exist\nHINT:  Call wbcache.bind_events/, 'no refresh');
	$session->run(q{SELECT wbcache.bind_events('event', 'id', 'sport', 'league', 'status', 'starts')});
	ok(await_value($session, 'SELECT wbcache.sidebar_state()', 'current'), 'bound again, the task refreshes it');
	is(sidebar(), '1|sidebar_data', 'read');
};

$_->close for $session, $reader, $locker;
done_testing();
