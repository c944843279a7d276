# A read writes nothing: it works in a READ ONLY transaction and on a hot standby, and a hit leaves no trace in the WAL.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheTest;

my ($upstream, $node, $session) = start_served('primary',
	init => { allows_streaming => 1 },
	conf => "checkpoint_timeout = 1h\nbgwriter_lru_maxpages = 0\nwbcache.loaders = 0");
my $standby;

$session->run(<<'END');
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '10 min');
SELECT wbcache.create_endpoint('blob', 'blob:{x}', 'api', '/blob?size=1000&seed={x}', soft_ttl => '300 ms', hard_ttl => '10 min');
END

behaviour 'reads work in a READ ONLY transaction' => sub {
	$session->run(q{SELECT wbcache.set('echo:stale', '0', soft_ttl => '1 us')});
	for my $mode ('READ ONLY', 'ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE')
	{
		my $key = 'echo:' . length $mode;
		is($session->value(<<"END"), "1\n1\nhit\n1\nt", $mode);
BEGIN $mode;
SELECT wbcache.get('$key') ->> 'n';
SELECT wbcache.get('$key') ->> 'n';
SELECT status FROM wbcache.lookup('$key');
SELECT value ->> 'n' FROM wbcache.get_many(ARRAY['$key more']);
SELECT wbcache.get('echo:stale') IS NOT NULL;
COMMIT;
END
	}
};

behaviour '1,000,000 hits write no WAL and no tuple, and take no transaction ID' => sub {
	my $trace = q{SELECT pg_current_wal_insert_lsn(), (SELECT wal_records FROM pg_stat_wal), pg_snapshot_xmax(pg_current_snapshot()),
		(SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables),
		(SELECT tup_inserted + tup_updated + tup_deleted FROM pg_stat_database WHERE datname = 'postgres')};
	my $settled = q{SELECT pg_stat_force_next_flush(); } . $trace;
	my $script = PostgreSQL::Test::Utils::tempdir() . '/hits.sql';
	my ($out, $err) = ('', '');

	append_to_file($script, "SELECT wbcache.get(:key);\n");
	my @pgbench = ($node->installed_command('pgbench'), '-n', '-M', 'prepared', '-c', 4, '-D', 'key=echo:hot', '-f', $script);
	my $connstr = $node->connstr('postgres');
	IPC::Run::run([ @pgbench, '-t', 10, $connstr ], '>', \$out, '2>', \$err) or die $err;
	$session->run('SELECT test.ask($$echo:hot$$)');
	# The only other writer on this instance is the one that logs running transactions, up to 15 s after the last change.
	ok(await(sub {
		my $before = $session->value('CHECKPOINT; ' . $settled);
		WbcacheTest::usleep(300_000);
		$before eq $session->value($settled)
	}), 'the instance is quiet');

	my $hits = $session->stat('stat_endpoint', 'hits', q{endpoint = 'echo'});
	my $before = $session->value($settled);
	ok(IPC::Run::run([ @pgbench, '-t', 50000, $connstr ], '>', \$out, '2>', \$err), '200,000 statements on four connections') or diag($err);
	is($session->value(q{SELECT count(wbcache.get('echo:hot')) FROM generate_series(1, 800000)}), 800000, '800,000 in one');
	# A session that starts may tidy up a page of a catalog: that is a record or two, for 1,000,000 hits.
	my ($now, @after) = split /\|/, ($session->value($settled) =~ s/^\s+//r) =~ s/^[^|]*\|//r;
	my ($then, @before) = split /\|/, ($before =~ s/^\s+//r) =~ s/^[^|]*\|//r;
	cmp_ok($now - $then, '<', 10, 'WAL records');
	is("@after", "@before", 'next transaction ID, tuples of tables, and of the database');
	is($session->stat('stat_endpoint', 'hits', q{endpoint = 'echo'}), $hits + 1_000_000, 'hits');
};

behaviour 'a hot standby serves with a fetcher of its own' => sub {
	$session->run('CREATE DATABASE second');
	$node->backup('backup');
	$standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($node, 'backup', has_streaming => 1);
	$standby->append_conf('postgresql.conf', q{wbcache.databases = 'postgres, second'});
	$node->append_conf('postgresql.conf', q{wbcache.databases = ''});
	$node->reload;
	ok(await_value($session, q{SELECT count(*) FROM wbcache.stat_worker}, 1), 'the primary has no fetcher any more');
	$standby->start;

	my $reader = session($standby, 'postgres');
	is($reader->value('SELECT pg_is_in_recovery()'), 't', 'this is a standby');
	is($reader->ask('echo:standby')->{status}, 'miss', 'a miss is fetched');
	is($reader->ask('echo:standby')->{status}, 'hit', 'and found the next time');
	$reader->ask('blob:standby');
	my $stale = $reader->ask_until('blob:standby', 'stale');
	ok($stale, 'a stale value is served');
	my $fresh = $reader->ask_until('blob:standby', 'hit');
	ok($fresh->{cached_at} > $stale->{cached_at} + 0.2, 'and refreshed');
	is($reader->value(q{SELECT count(value) FROM wbcache.get_many(ARRAY['echo:s1', 'echo:s2', 'echo:standby'])}), 3, 'get_many');
	is($session->ask('echo:standby')->{sqlstate}, 'WB004', 'the primary knows nothing of that');
	cmp_ok($reader->stat('stat_endpoint', 'hits', q{endpoint = 'echo'}), '>', 0, 'the standby has its own statistics');
	ok(await_value($reader, q{SELECT string_agg(database, ',' ORDER BY database) FROM wbcache.stat_worker
		WHERE kind = 'fetcher' AND state = 'running'}, 'postgres,second'), 'and fetchers');

	my $error = $reader->error(q{SELECT wbcache.create_endpoint('no', 'no:{x}')});
	like($error, qr/25006: cannot execute .* (read-only transaction|during recovery)/, 'endpoints are made on the primary');
	$session->run(q{SELECT wbcache.create_endpoint('new', 'new:{x}', 'api', '/echo/new/{x}')});
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	is($reader->ask('new:1')->{status}, 'miss', 'and served on the standby');
};

behaviour 'a database dropped on the primary does not hold up the standby' => sub {
	$session->run('DROP DATABASE second');
	ok(eval { $node->wait_for_catchup($standby, 'replay', $node->lsn('insert')); 1 }, 'the standby catches up');
	my $reader = session($standby, 'postgres');
	ok(await_value($reader, q{SELECT string_agg(database, ',') FROM wbcache.stat_worker
		WHERE kind = 'fetcher' AND state = 'running'}, 'postgres'), 'fetchers');
	is($reader->ask('echo:after')->{status}, 'miss', 'it serves');
};

behaviour 'after promotion it goes on' => sub {
	my $reader = session($standby, 'postgres');
	my $pid = $reader->stat('stat_worker', 'pid', q{kind = 'fetcher' AND database = 'postgres'});
	$standby->promote;
	is($reader->ask('echo:standby')->{status}, 'hit', 'what was cached is there');
	is($reader->ask('echo:promoted')->{status}, 'miss', 'what was not is fetched');
	$reader->run(q{SELECT wbcache.alter_endpoint('echo', soft_ttl => '5 min')});
	is($reader->ask('echo:standby')->{status}, 'miss', 'endpoints can be altered');
	is($reader->stat('stat_worker', 'pid', q{kind = 'fetcher' AND database = 'postgres'}), $pid, 'the fetcher is the same');
};

done_testing();
