# Triggers on a subscriber of logical replication: what the publisher commits invalidates there, when it is applied. And
# pg_dump carries what bind_events() and watch_odds() have made.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheTest;

my $tables = <<'END';
CREATE TABLE event (id int PRIMARY KEY, sport text, league text, status text, starts timestamptz, score int);
CREATE TABLE odds (id int PRIMARY KEY, event int, price numeric, line numeric);
END
my $publisher = start_instance('publisher', init => { allows_streaming => 'logical' }, conf => "wbcache.databases = ''");
$publisher->safe_psql('postgres', "$tables CREATE PUBLICATION everything FOR TABLE event, odds");

my $subscriber = start_instance('subscriber', databases => 'postgres, restored');
my $session = install($subscriber, 'postgres', WbcacheTest::Upstream->start);
my $connection = WbcacheTest::Session::quote($publisher->connstr('postgres'));
$session->run(<<"END");
$tables
BEGIN;
SELECT wbcache.bind_events('event', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.drop_endpoint('sidebar'), wbcache.unschedule_task('sidebar_refresh');
COMMIT;
SELECT wbcache.watch_odds('odds', 'event', 'price');
CREATE FUNCTION test.load(parts text[]) RETURNS json LANGUAGE sql AS \$\$
  SELECT json_agg(e ORDER BY id) FROM (SELECT id, status, (SELECT price FROM public.odds WHERE event = e.id) FROM public.event e) e
\$\$;
SELECT wbcache.create_endpoint('page', 'page:{id}', loader => 'test.load(text[])', soft_ttl => '1 h', null_is_value => true,
  tags => ARRAY['game:{id}']);
SELECT wbcache.create_endpoint('sidebar', 'sidebar:{sport}:{league}', loader => 'test.load(text[])', soft_ttl => '1 h',
  null_is_value => true, tags => ARRAY['sidebar', 'sidebar:sport:{sport}', 'sidebar:league:{league}']);
CREATE SUBSCRIPTION everything CONNECTION $connection PUBLICATION everything;
END

# Has what the publisher changes; then tells which of these keys a reader who sees the change finds invalid.
my @keys = qw(page:1 page:2 sidebar:nfl:nfl sidebar:soccer:epl sidebar:all:all);

sub invalidated_by
{
	my ($sql) = @_;

	$session->value("SELECT wbcache.get('$_')") for @keys;
	is_deeply([ grep { $session->ask($_)->{status} ne 'hit' } @keys ], [], "cached before: $sql");
	$publisher->safe_psql('postgres', $sql);
	$publisher->wait_for_catchup('everything');
	return join(' ', grep { $session->ask($_)->{status} ne 'hit' } @keys);
}

behaviour 'the subscription is at work' => sub {
	ok(await_value($session, q{SELECT bool_and(srsubstate IN ('r', 's')) FROM pg_subscription_rel}, 't'), 'tables are in sync');
};

behaviour 'rows that are applied invalidate' => sub {
	is(invalidated_by(q{INSERT INTO event VALUES (1, 'nfl', 'nfl', 'unplayed', '2026-01-01', 0), (2, 'soccer', 'epl', 'unplayed', '2026-01-01', 0)}),
		"@keys", 'INSERT');
	is(invalidated_by(q{UPDATE event SET status = 'live' WHERE id = 1}), 'page:1 sidebar:nfl:nfl sidebar:all:all', 'a status');
	is(invalidated_by(q{INSERT INTO odds VALUES (1, 2, 2.00, 0)}), 'page:2', 'INSERT of odds');
	is(invalidated_by(q{UPDATE odds SET price = 2.40}), 'page:2', 'a movement');
	is($session->ask('page:2')->{value}[1]{price}, 2.40, 'the new value is that of the change');
	is(invalidated_by(q{DELETE FROM event WHERE id = 1}), 'page:1 sidebar:nfl:nfl sidebar:all:all', 'DELETE');
	is(invalidated_by(q{TRUNCATE odds}), "@keys", 'TRUNCATE');
};

behaviour 'what changes nothing, or was rolled back, invalidates nothing' => sub {
	is(invalidated_by(q{UPDATE event SET score = score + 1}), '', 'another column');
	is(invalidated_by(q{UPDATE event SET status = status}), '', 'the same status');
	is(invalidated_by(q{BEGIN; UPDATE event SET status = 'half'; ROLLBACK}), '', 'rolled back');
	is(invalidated_by(q{BEGIN; SAVEPOINT a; UPDATE event SET status = 'half'; ROLLBACK TO a; UPDATE event SET score = 0; COMMIT}), '',
		'in a savepoint that is rolled back');
	is(invalidated_by(q{INSERT INTO odds VALUES (1, 2, 2.00, 0)}), 'page:2', 'odds again');
	is(invalidated_by(q{UPDATE odds SET price = 2.1, line = 1}), '', 'odds that hardly move');
};

behaviour 'pg_dump carries the triggers and the view' => sub {
	my $file = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
	$session->run('CREATE DATABASE restored');
	command_ok([ 'pg_dump', '--no-subscriptions', '-d', $subscriber->connstr('postgres'), '-f', $file ], 'pg_dump');
	command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $subscriber->connstr('restored'), '-f', $file ], 'restore');
	my $restored = session($subscriber, 'restored');

	for my $query ('SELECT tgrelid::regclass, tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2',
		q{SELECT pg_get_viewdef('wbcache.events'::regclass)}, 'SELECT * FROM wbcache.events')
	{
		is($restored->value($query), $session->value($query), $query);
	}
	$restored->run(q{SET wbcache.max_wait = '30s'});
	$_->value(q{SELECT wbcache.get('page:2')}) for $restored, $session;
	is($restored->ask('page:2')->{status}, 'hit', 'cached');
	$restored->run(q{UPDATE event SET status = 'completed' WHERE id = 2});
	is($restored->ask('page:2')->{status}, 'miss', 'a change invalidates there');
	is($session->ask('page:2')->{status}, 'hit', 'and nowhere else');
	$restored->close;
};

behaviour 'DROP EXTENSION takes CASCADE, and leaves the tables' => sub {
	my $restored = session($subscriber, 'restored');

	like($restored->error('DROP EXTENSION wbcache'), qr/2BP01.*trigger wbcache_events.* depends on/s, 'refused');
	$restored->run('SET client_min_messages = warning; DROP EXTENSION wbcache CASCADE');
	$restored->run(q{INSERT INTO event VALUES (3, 'nfl', 'nfl', 'live'); TRUNCATE odds});
	is($restored->value(q{SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal}), 0, 'triggers');
	is($restored->value(q{SELECT to_regclass('wbcache.events')}), '', 'the view');
	$restored->close;
};

$session->run('DROP SUBSCRIPTION everything');
$session->close;

behaviour 'where the library is not preloaded, watched tables work as any' => sub {
	$subscriber->append_conf('postgresql.conf', "shared_preload_libraries = ''");
	$subscriber->restart;
	$session = session($subscriber, 'postgres');
	$session->run(q{INSERT INTO event VALUES (4, 'nfl', 'nfl', 'Scheduled'); UPDATE odds SET price = 9; DELETE FROM event WHERE id = 2});
	$session->run(q{SELECT wbcache.unwatch_odds('odds'); SELECT wbcache.watch_odds('odds', 'event', 'price'); TRUNCATE odds});
	is($session->value('SELECT game_id, status FROM wbcache.events'), '4|unplayed', 'the view');
	$session->close;
};
done_testing();
