# Without the library being preloaded, without a worker slot, without a listed database: errors that say what to do.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheTest;

my $upstream = WbcacheTest::Upstream->start;
my $node = start_instance('main', start => 0);
my $session;

# Starts, or restarts, with these settings.
sub start_with
{
	my ($settings) = @_;

	$session->close if $session;
	$node->append_conf('postgresql.conf', $settings);
	defined $node->{_pid} ? $node->restart : $node->start;
	return;
}

behaviour 'without shared_preload_libraries the definitions work, and the cache says what is missing' => sub {
	start_with(q{shared_preload_libraries = ''});
	$session = install($node, 'postgres', $upstream);
	is($session->error(q{SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '10 min')}), '',
		'create_endpoint');
	is($session->error(q{SELECT wbcache.alter_endpoint('echo', soft_ttl => '5 min')}), '', 'alter_endpoint');
	like($session->error(q[SELECT wbcache.create_endpoint('bad', 'bad:{x', 'api', '/echo/x')]), qr/ERROR:  22023/,
		'create_endpoint with a mistake in it');
	for my $call (q{get('echo:1')}, q{get('nothing:1')}, q{lookup('echo:1')}, q{get_many(ARRAY['echo:1'])}, q{set('echo:1', '1')},
		q{delete('echo:1')}, q{invalidate('echo:1')}, q{invalidate_tag('echo')}, q{clear()}, q{stat_reset()},
		map { "stat_$_" } qw(endpoint coalescer server memory worker))
	{
		my $error = $session->error("SELECT * FROM wbcache.$call");
		like($error, qr/ERROR:  55000: wbcache must be loaded via shared_preload_libraries\n/, $call);
		like($error, qr/^HINT:  Add 'wbcache' to shared_preload_libraries in postgresql\.conf and restart the server\.$/m, 'hint');
	}
	is($session->error(q{SELECT wbcache.drop_endpoint('echo')}), '', 'drop_endpoint');
	$session->run(q{CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS ''; CREATE TABLE event (id text, sport text, league text, status text, starts timestamptz)});
	is($session->error(q{SELECT wbcache.schedule_task('task', '1 h', 'nothing()')}), '', 'schedule_task');
	is($session->error(q{SELECT wbcache.bind_events('event', 'id', 'sport', 'league', 'status', 'starts')}), '', 'bind_events');
	is($session->error(q{SELECT wbcache.unbind_events('event'), wbcache.unschedule_task('task')}), '', 'and their opposites');
	$session->run(q{SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '10 min')});
};

behaviour 'with it, the same definitions are served' => sub {
	start_with(q{shared_preload_libraries = 'wbcache'});
	$session = WbcacheTest::session($node, 'postgres');
	is($session->ask('echo:1')->{status}, 'miss', 'a miss');
};

# What they wrote would have transaction IDs that the new cluster doesn't know of.
behaviour 'in a server that pg_upgrade has started nothing runs' => sub {
	my $workers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'wbcache%'};

	ok(await_value($session, $workers, 4), 'a launcher, a fetcher, two loaders');
	$session->close;
	$node->stop;
	system_or_bail('pg_ctl', '-w', '-s', '-D', $node->data_dir, '-l', $node->logfile, '-o', '-b', 'start');
	$session = WbcacheTest::session($node, 'postgres');
	is($session->value($workers), 0, 'with -b: none');
	$session->close;
	undef $session;
	system_or_bail('pg_ctl', '-w', '-s', '-D', $node->data_dir, '-m', 'fast', 'stop');
	$node->start;
	$session = WbcacheTest::session($node, 'postgres');
	ok(await_value($session, $workers, 4), 'without it: all');
};

behaviour 'a database that is not listed gets what was set, and else an error' => sub {
	start_with(q{wbcache.databases = ''});
	$session = WbcacheTest::session($node, 'postgres');
	is($session->ask('echo:1')->{status}, 'hit', 'what the table tier has kept over the restart');
	my $answer = $session->ask('echo:2');
	is($answer->{sqlstate}, 'WB004', 'SQLSTATE');
	is($answer->{message}, 'no wbcache worker serves this database', 'message');
	is($answer->{hint}, 'Add the database to wbcache.databases and reload the configuration.', 'hint');
	cmp_ok($answer->{took}, '<', 2000, 'at once');
	is($session->value(q{SELECT error FROM wbcache.get_many(ARRAY['echo:2'])}), $answer->{message}, 'get_many');
	$session->run(q{SELECT wbcache.set('echo:2', '{"n": 0}')});
	is($session->ask('echo:2')->{status}, 'hit', 'a value that was set');
};

behaviour 'without a free worker slot there is one line in the log' => sub {
	my $log = log_size($node);
	my $line = qr/LOG:  no worker slot is free for the wbcache fetcher of database "postgres"; trying again every 5 s\n.*HINT:  Raise max_worker_processes/;

	# One is taken by the launcher, one by the launcher of logical replication.
	start_with(qq{wbcache.databases = 'postgres'\nmax_worker_processes = 2});
	$session = WbcacheTest::session($node, 'postgres');
	ok($node->wait_for_log($line, $log), 'the line');
	$session->run(q{SET wbcache.max_wait = '200ms'});
	my $answer = $session->ask('echo:3');
	is($answer->{sqlstate}, 'WB003', 'a read waits in vain: SQLSTATE');
	is($answer->{detail}, 'The fetch has not started yet.', 'detail');
	for (1 .. 3)
	{
		# Each reload makes the launcher try again.
		my $looks = $session->value('SELECT pg_conf_load_time()');
		$node->reload;
		ok(await(sub { WbcacheTest::session($node, 'postgres')->value('SELECT pg_conf_load_time()') ne $looks }), 'reload');
	}
	my @lines = log_since($node, $log) =~ /$line/g;
	is(scalar @lines, 1, 'lines');
	is($session->stat('stat_worker', 'state', q{kind = 'fetcher'}), 'stopped', 'the view shows it');
};

behaviour 'with a slot it is served' => sub {
	start_with('max_worker_processes = 8');
	$session = WbcacheTest::session($node, 'postgres');
	is($session->ask('echo:3')->{status}, 'miss', 'a miss');
};

behaviour 'a slot that becomes free is taken' => sub {
	start_with('max_worker_processes = 3');
	$session = WbcacheTest::session($node, 'postgres');
	ok(await_value($session, q{SELECT state FROM wbcache.stat_worker WHERE kind = 'fetcher'}, 'running'), 'the last slot is taken');
	$session->run('CREATE DATABASE second');
	my $log = log_size($node);
	$node->append_conf('postgresql.conf', q{wbcache.databases = 'postgres, second'});
	$node->reload;
	ok($node->wait_for_log(qr/no worker slot is free for the wbcache fetcher of database "second"/, $log), 'another one has none');
	$node->append_conf('postgresql.conf', q{wbcache.databases = 'second'});
	$node->reload;
	ok(await_value($session, q{SELECT string_agg(database, ',') FROM wbcache.stat_worker
		WHERE kind = 'fetcher' AND state = 'running'}, 'second'), 'until the first gives it up');
};

done_testing();
