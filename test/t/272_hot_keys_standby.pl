# Hot keys on a standby: nothing is written or brought back in recovery; when it is promoted, what it has not is fetched.
# In a dump there are none.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main', conf => "wbcache.hot_keys = 1000\nwbcache.hot_keys_interval = 1s", databases => 'postgres, restored',
	init => { allows_streaming => 1 });
my $standby = PostgreSQL::Test::Cluster->new('standby');
my $folder = PostgreSQL::Test::Utils::tempdir();

$session->run(q{SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '10 h')});
$node->backup('base');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;

behaviour 'a standby in recovery' => sub {
	$session->run(q{SELECT count(wbcache.get('echo:' || x)) FROM generate_series(1, 9), generate_series(1, 30) x});
	ok(await_value($session, 'SELECT count(*) FROM wbcache.hot_key', 30), 'noted on the primary');
	$node->wait_for_catchup($standby);
	my $there = session($standby, 'postgres');
	ok(await_value($there, 'SELECT hot_keys, state, noted_at IS NULL FROM wbcache.stat_warmup', '30|waiting|t'), 'it has the rows, and does nothing');
	is($there->ask('echo:1')->{value}{n}, 2, 'it fetches for clients');
	ok(await_value($there, q{SELECT count(*) FROM wbcache.stat_worker WHERE kind = 'loader' AND database = 'postgres' AND state = 'running'}, 2),
		'it has loaders');
	$there->close;
};

behaviour 'when it is promoted' => sub {
	$upstream->reset;
	$standby->promote;
	my $there = session($standby, 'postgres');
	ok(await_value($there, 'SELECT state, wanted, back, failed FROM wbcache.stat_warmup', 'done|29|29|0'), 'all come back but the one it has');
	is($upstream->total, 29, 'requests');
	is($there->ask('echo:30')->{status}, 'hit', 'a hit');
	ok(await_value($there, 'SELECT noted_at IS NOT NULL FROM wbcache.stat_warmup', 't'), 'and are noted there');
	is(log_count($standby, qr/read-only transaction|during recovery|hot keys of wbcache could not/), 0, 'no error in the log');
	$there->close;
};

behaviour 'a dump' => sub {
	command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', "$folder/dump.sql" ], 'pg_dump');
	unlike(slurp_file("$folder/dump.sql"), qr/hot_key/, 'has none of it');
	$session->run('CREATE DATABASE restored');
	command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', "$folder/dump.sql" ], 'restore');
	my $restored = session($node, 'restored');
	is($restored->ask('echo:1')->{status}, 'miss', 'it serves');
	ok(await_value($restored, 'SELECT state FROM wbcache.stat_warmup', 'none'), 'nothing to bring back');
	$restored->close;
};

$session->close;
done_testing();
