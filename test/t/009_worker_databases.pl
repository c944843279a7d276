# Which databases have a fetcher: those in wbcache.databases that exist, as soon and as long as they do.

use strict;
use warnings FATAL => 'all';

use Test::More;
use Time::HiRes qw(time);
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main', databases => 'postgres, later, postgres, "My DB"',
	server => { timeout => '60s' });
my $other_upstream = WbcacheTest::Upstream->start;
my $endpoint = q{SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '10 min')};
my $missing = qr/LOG:  database "later" in wbcache\.databases does not exist; it will be served when it does/;

$session->run($endpoint);

sub databases_are
{
	my ($expected, $name) = @_;
	return ok(await_value($session, q{SELECT string_agg(database, ',' ORDER BY database) FROM wbcache.stat_worker
		WHERE kind = 'fetcher' AND state = 'running'}, $expected), $name);
}

sub set_databases
{
	my ($list) = @_;
	$node->append_conf('postgresql.conf', "wbcache.databases = '$list'");
	$node->reload;
	return;
}

behaviour 'a database that does not exist is worth one line in the log' => sub {
	databases_are('postgres', 'the one that exists is served, once');
	ok(await(sub { log_count($node, $missing) }), 'the other one is complained about');
	set_databases('postgres, later, postgres, "My DB"');
	# A database that is created makes the launcher look at all of them, at the latest when its 5 s are over.
	$session->run('CREATE DATABASE "My DB"');
	databases_are('My DB,postgres', 'one of them is created');
	is(log_count($node, $missing), 1, 'lines about the other one');
};

behaviour 'a database that is created is served' => sub {
	$session->run('CREATE DATABASE later');
	my $later = install($node, 'later', $other_upstream);
	$later->run($endpoint);
	$later->run(q{SET wbcache.max_wait = '30s'});
	is($later->ask('echo:1')->{status}, 'miss', 'who reads before its fetcher has started waits for that');
	databases_are('My DB,later,postgres', 'it has a fetcher');
	is(log_count($node, $missing), 1, 'lines about it');
};

behaviour 'a name in quotes is served' => sub {
	my $quoted = install($node, 'My DB', $upstream);
	$quoted->run($endpoint);
	is($quoted->ask('echo:1')->{status}, 'miss', 'status');
};

behaviour 'a database that accepts no connections is worth one line in the log' => sub {
	my $log = log_size($node);
	my $closed = qr/LOG:  database "My DB" in wbcache\.databases does not accept connections; it will be served when it does/;

	$session->run('ALTER DATABASE "My DB" ALLOW_CONNECTIONS false');
	$session->run(q{SELECT pg_terminate_backend(pid) FROM wbcache.stat_worker WHERE database = 'My DB'});
	ok(await(sub { log_count($node, $closed, $log) }), 'it is complained about');
	databases_are('later,postgres', 'it is not served');
	$session->run('ALTER DATABASE "My DB" ALLOW_CONNECTIONS true');
	$node->reload;
	databases_are('My DB,later,postgres', 'and served when it accepts connections');
	is(log_count($node, $closed, $log), 1, 'lines about it');
	is(log_count($node, qr/FATAL|ERROR/, $log), 0, 'no errors') or diag(log_since($node, $log));
};

behaviour 'the same key in two databases is two keys' => sub {
	my $later = session($node, 'later');
	$upstream->behave(path => '/api/v3/echo/same', body => '"first"');
	$other_upstream->behave(path => '/api/v3/echo/same', body => '"second"');
	is($session->ask('echo:same')->{value}, 'first', 'value in one');
	is($later->ask('echo:same')->{value}, 'second', 'value in the other');
	is($session->ask('echo:same')->{value}, 'first', 'again in one');
	is($later->ask('echo:same')->{status}, 'hit', 'both are cached');
	$later->run(q{SELECT wbcache.delete('echo:same')});
	is($session->ask('echo:same')->{status}, 'hit', 'to delete one leaves the other');
	$later->run(q{SELECT wbcache.alter_endpoint('echo', soft_ttl => '1 min')});
	is($session->ask('echo:same')->{status}, 'hit', 'so does to alter its endpoint');
	is($session->value(q{SELECT count(*) FROM wbcache.stat_server}), 1, 'a database shows its own servers only');
	$session->run('SELECT wbcache.clear()');
	is($later->ask('echo:same')->{status}, 'miss', 'to clear the cache is for all');
	$upstream->clear;
	$other_upstream->clear;
};

behaviour 'a served database can be dropped, and made anew' => sub {
	my $later = session($node, 'later');
	$later->ask('echo:kept');
	$later->close;
	ok(await_value($session, q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'later' AND backend_type = 'client backend'}, 0),
		'no client is left');

	my $log = log_size($node);
	my $started = time();
	is($session->error('DROP DATABASE later'), '', 'DROP DATABASE without FORCE');
	cmp_ok(time() - $started, '<', 5, 'seconds for it');
	$session->run('CREATE DATABASE later');
	$later = install($node, 'later', $other_upstream);
	$later->run($endpoint);
	$later->run(q{SET wbcache.max_wait = '30s'});
	my $answer = $later->ask('echo:kept');
	is($answer->{status}, 'miss', 'the new one is served') or diag(explain($answer));
	is($answer->{value}{n}, 2, 'with a value of its own');
	databases_are('My DB,later,postgres', 'fetchers');
	is(log_count($node, qr/FATAL|ERROR|wbcache\.databases/, $log), 0, 'nothing in the log') or diag(log_since($node, $log));
};

behaviour 'a DROP DATABASE that fails is followed by a fetcher' => sub {
	my $later = session($node, 'later');
	like($session->error('DROP DATABASE later'), qr/55006: database "later" is being accessed by other users/, 'it fails');
	$later->run(q{SET wbcache.max_wait = '30s'});
	is($later->ask('echo:afterwards')->{status}, 'miss', 'the database is served');
};

behaviour 'a database taken out of wbcache.databases is not served any more' => sub {
	my $later = session($node, 'later');
	my $waiting = session($node, 'later');
	$later->ask('echo:hot');
	$other_upstream->behave(path => '/api/v3/echo/waiting', hang => 1);
	$waiting->run(q{SET wbcache.max_wait = '60s'});
	$waiting->begin_ask('echo:waiting');
	ok(await(sub { $other_upstream->count('/echo/waiting') == 1 }), 'somebody waits');

	set_databases('postgres, "My DB"');
	databases_are('My DB,postgres', 'fetchers');
	my $answer = $waiting->end_ask;
	is($answer->{sqlstate}, 'WB004', 'who waited is told: SQLSTATE');
	is($answer->{message}, 'no wbcache worker serves this database any more', 'message');
	$answer = $later->ask('echo:cold');
	is($answer->{sqlstate}, 'WB004', 'a miss: SQLSTATE');
	is($answer->{message}, 'no wbcache worker serves this database', 'message');
	is($answer->{hint}, 'Add the database to wbcache.databases and reload the configuration.', 'hint');
	is($later->ask('echo:hot')->{status}, 'hit', 'what is in memory is served');
	$later->run(q{SELECT wbcache.set('echo:stale', '1', soft_ttl => '1 us', hard_ttl => '10 min')});
	$answer = $later->ask('echo:stale');
	is($answer->{status}, 'stale', 'also when it is stale');
	like($answer->{detail}, qr/no refresh: no worker serves this database/, 'with a word about its refresh');
	is($session->ask('echo:elsewhere')->{status}, 'miss', 'other databases are served');
	$other_upstream->clear;
};

behaviour 'and served again when it is put back' => sub {
	set_databases('postgres, later, "My DB"');
	databases_are('My DB,later,postgres', 'fetchers');
	my $later = session($node, 'later');
	is($later->ask('echo:back')->{status}, 'miss', 'a miss');
	is($session->value('SELECT waiters, pending_keys FROM wbcache.stat_coalescer'), '0|0', 'nothing is left behind');
};

behaviour 'all of them may go' => sub {
	set_databases('');
	ok(await_value($session, q{SELECT count(*) FROM wbcache.stat_worker}, 1), 'only the launcher is left');
	is($session->ask('echo:none')->{sqlstate}, 'WB004', 'a miss');
	set_databases('postgres');
	ok($session->ask_until('echo:none', 'miss'), 'and come back');
};

done_testing();
