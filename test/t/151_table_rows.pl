# Rows of the table tier: locked, expired, invalidated, copied with the database, on a standby.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);
use WbcacheTest;

my $node = start_instance('main', init => { allows_streaming => 1 }, databases => 'postgres, copy', conf => "wbcache.memory_size = 4MB\nmax_wal_senders = 4");
my $session = install($node, 'postgres', WbcacheTest::Upstream->start);

$session->run(<<'END_SQL');
CREATE SEQUENCE test.calls;
CREATE FUNCTION test.calls() RETURNS bigint LANGUAGE sql AS $$ SELECT last_value - 1 + is_called::int FROM test.calls $$;
CREATE FUNCTION test.load(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
  RETURN json_build_object('id', parts[2], 'call', nextval('test.calls'), 'database', current_database());
END $$;
CREATE FUNCTION test.large(parts text[]) RETURNS json LANGUAGE sql AS $$
  SELECT (E' {"a" :\t[1,  2.50 ],\n "b": "' || (SELECT string_agg(md5(parts[2] || i), ' é ') FROM generate_series(1, 20000) i) || E'"}\n')::json $$;
SELECT wbcache.create_endpoint('item', 'item:{id}', loader => 'test.load(text[])', soft_ttl => '10 h', tags => ARRAY['group:{id}']);
SELECT wbcache.create_endpoint('short', 'short:{id}', loader => 'test.load(text[])', soft_ttl => '3 s', hard_ttl => '4 s');
SELECT wbcache.create_endpoint('large', 'large:{id}', loader => 'test.large(text[])', soft_ttl => '10 h');
SELECT wbcache.create_endpoint('filler', 'filler:{id}', soft_ttl => '10 h');
CREATE FUNCTION test.many(name text, n int) RETURNS bigint LANGUAGE sql
  AS $$ SELECT count(value) FROM wbcache.get_many((SELECT array_agg(name || ':' || i) FROM generate_series(1, n) i)) $$;
-- Drives what else there is out of memory.
CREATE FUNCTION test.evict() RETURNS void LANGUAGE sql
  AS $$ SELECT wbcache.set('filler:' || i, to_json(repeat(md5(i::text), 3000))) FROM generate_series(1, 60) i $$;
END_SQL

sub rows
{
	my ($pattern, $n) = @_;
	return ok(await_value($session, "SELECT count(*) FROM wbcache.entry WHERE key LIKE '$pattern'", $n), "$n rows like $pattern");
}

# Waits until a loader has tried to write several times: its transactions commit, whether or not they could. Looked at from
# another database, where the look itself doesn't count.
sub loader_tries
{
	my ($times) = @_;
	my $outside = session($node, 'template1');
	my $commits = q{SELECT xact_commit FROM pg_stat_database WHERE datname = 'postgres'};
	my $before = $outside->value($commits);
	return ok(await(sub { $outside->value($commits) >= $before + $times }), 'a loader has tried to write');
}

# Memory has other keys only.
sub evict
{
	$session->run('SELECT test.evict()') for 1 .. 3;
	return;
}

behaviour 'large values come back byte by byte' => sub {
	my $digest = q{SELECT md5(wbcache.get('large:' || i)::text) = md5(test.large(ARRAY['large', i::text])::text) FROM generate_series(1, 2) i};
	is($session->value($digest), "t\nt", 'loaded');
	rows('large:%', 2);
	is($session->value(q{SELECT md5(value::text) = md5(test.large(ARRAY['large', '1'])::text), pg_column_size(value) > 100000
		FROM wbcache.entry WHERE key = 'large:1'}), 't|t', 'in the table');
	evict();
	is($session->value(q{SELECT status, detail, md5(value::text) = md5(test.large(ARRAY['large', '1'])::text) FROM wbcache.lookup('large:1')}),
		'hit|table tier|t', 'from the table');
};

behaviour 'a row shows what psql users want to know' => sub {
	$session->run(q{SELECT wbcache.get('item:shown')});
	rows('item:shown', 1);
	is($session->value(q{SELECT role, loader, endpoint, tags, etag IS NULL, soft_expires_at - cached_at, hard_expires_at - cached_at, fetch_ms > 0,
		fetch_started < cached_at FROM wbcache.entry WHERE key = 'item:shown'}), '0|0|item|{group:shown}|t|10:00:00|20:00:00|t|t', 'columns');
	$session->run(q{SELECT wbcache.get_with_swr('private', 'test.load(text[])', '1 h', '2 h')});
	rows('private', 1);
	is($session->value(q{SELECT role::regrole = current_user::text::regrole, loader::regprocedure, endpoint IS NULL, tags FROM wbcache.entry WHERE key = 'private'}),
		't|test.load(text[])|t|{}', 'of a key without an endpoint');
};

behaviour 'an ACCESS EXCLUSIVE lock on the table is in nobody\'s way' => sub {
	my $locker = session($node, 'postgres');
	$session->run(q{SELECT wbcache.get('item:cold')});
	rows('item:cold', 1);
	evict();
	$locker->run('BEGIN; LOCK TABLE wbcache.entry IN ACCESS EXCLUSIVE MODE');
	my $answer = $session->ask('filler:60');
	is($answer->{detail}, 'memory tier', 'what is in memory is served');
	$answer = $session->ask('item:cold');
	is($answer->{status}, 'miss', 'what is in the table alone is loaded');
	cmp_ok($answer->{took}, '<', 2000, 'milliseconds it took');
	for my $call (q{get('item:more')}, q{set('item:set', '1')}, q{invalidate('item:more')}, q{delete('item:more')}, q{invalidate_tag('group:more')},
		q{drop_endpoint('filler')}, q{clear()}, q{get('item:more')})
	{
		my $started = time();
		is($session->error("SET statement_timeout = '10s'; SELECT wbcache.$call"), '', $call);
		cmp_ok(time() - $started, '<', 2, "$call: seconds");
	}
	loader_tries(3);
	is($session->value(q{SELECT count(*) FROM pg_locks WHERE relation = 'wbcache.entry'::regclass AND NOT granted}), 0, 'nobody waits for the lock');
	$answer = $session->ask('item:' . time());
	is($answer->{status}, 'miss', 'loads go on');
	$locker->run('ROLLBACK');
	rows('item:more', 1);
	$session->run(q{SELECT wbcache.create_endpoint('filler', 'filler:{id}', soft_ttl => '10 h')});
};

behaviour 'rows that somebody has locked are in nobody\'s way' => sub {
	my $locker = session($node, 'postgres');
	$session->run(q{SELECT test.many('item', 10)});
	rows('item:_', 9);
	$locker->run(q{BEGIN; SELECT FROM wbcache.entry FOR UPDATE});
	my $before = $session->value('SELECT test.calls()');
	for my $call (q{invalidate('item:1')}, q{set('item:2', '1')}, q{delete('item:3')}, q{get('item:1')}, q{get('item:3')}, q{get('item:4')})
	{
		is($session->error("SET statement_timeout = '10s'; SELECT wbcache.$call"), '', $call);
	}
	is($session->value(q{SELECT test.calls()}) - $before, 2, 'loads: of what was invalidated or deleted');
	$session->run(q{SELECT wbcache.get('item:beside')});
	rows('item:beside', 1);
	loader_tries(2);
	is($session->value(q{SELECT count(*) FROM wbcache.entry WHERE key IN ('item:1', 'item:2') AND
		wbcache.entry_is_current(key, epoch, stripes, generations)}), 0, 'the locked rows are as they were');
	$locker->run('ROLLBACK');
	ok(await_value($session, q{SELECT count(*) FROM wbcache.entry WHERE key IN ('item:1', 'item:2') AND
		wbcache.entry_is_current(key, epoch, stripes, generations)}, 2), 'the rows are written when they are free');
};

behaviour 'nor are rows that somebody has changed or deleted by hand, and not committed' => sub {
	my $hand = session($node, 'postgres');
	$session->run(q{SELECT wbcache.get('item:1'), wbcache.get('item:4')});
	rows('item:1', 1);
	rows('item:4', 1);
	$hand->run(q{BEGIN; UPDATE wbcache.entry SET fetch_ms = 0 WHERE key = 'item:1'; DELETE FROM wbcache.entry WHERE key = 'item:4'});
	$session->run(q{SELECT wbcache.invalidate('item:1'), wbcache.invalidate('item:4')});
	$session->run(q{SELECT wbcache.get('item:1'), wbcache.get('item:4'), wbcache.get('item:beside2')});
	rows('item:beside2', 1);
	loader_tries(2);
	$hand->run('COMMIT');
	ok(await_value($session, q{SELECT count(*) FROM wbcache.entry WHERE key IN ('item:1', 'item:4') AND
		wbcache.entry_is_current(key, epoch, stripes, generations)}, 2), 'they are written when they are free');
	unlike(log_since($node, 0), qr/could not be written/, 'no attempt has failed');
};

behaviour 'default_transaction_read_only is not for the loaders' => sub {
	$session->run(q{ALTER SYSTEM SET default_transaction_read_only = on}); $session->run(q{SELECT pg_reload_conf()});
	ok(await_value($session, q{SHOW default_transaction_read_only}, 'on'), 'set');
	$session->run(q{SELECT wbcache.set('item:read_only', '1')});
	rows('item:read_only', 1);
	$session->run(q{SET default_transaction_read_only = off});
	$session->run(q{ALTER SYSTEM RESET default_transaction_read_only});
	$session->run(q{SELECT pg_reload_conf(); RESET default_transaction_read_only});
	ok(await_value($session, q{SHOW default_transaction_read_only}, 'off'), 'as before');
};

behaviour 'an older result never replaces a newer one' => sub {
	$session->run(q{SELECT wbcache.set('item:order', '"newer"')});
	ok(await_value($session, q{SELECT value FROM wbcache.entry WHERE key = 'item:order'}, '"newer"'), 'a row');
	# As if its fetch had begun later than that of the entry which will be written next.
	$session->run(q{UPDATE wbcache.entry SET fetch_started = fetch_started + interval '1 h' WHERE key = 'item:order'});
	$session->run(q{SELECT wbcache.set('item:order', '"older"'), wbcache.set('item:order_done', '1')});
	rows('item:order_done', 1);
	$session->run(q{SELECT wbcache.set('item:order_done2', '1')});
	rows('item:order_done2', 1);
	is($session->value(q{SELECT value FROM wbcache.entry WHERE key = 'item:order'}), '"newer"', 'the row is as it was');
	is($session->value(q{SELECT wbcache.get('item:order')}), '"older"', 'and is not of use: it was invalidated');
};

behaviour 'rows that are expired, invalidated, or of an endpoint that was dropped, are purged' => sub {
	$session->run(q{SELECT wbcache.get('large:1'), test.many('item', 20)});
	rows('item:20', 1);
	rows('large:1', 1);
	$session->run(q{SELECT test.many('short', 50)});
	rows('short:%', 50);
	my $locker = session($node, 'postgres');
	$locker->run(q{BEGIN; SELECT FROM wbcache.entry WHERE key = 'item:20' FOR UPDATE});
	$session->run(q{SELECT wbcache.drop_endpoint('large'), wbcache.invalidate_tag('group:19'), wbcache.invalidate_tag('group:20')});
	ok(await_value($session, q{SELECT count(*) FROM wbcache.entry WHERE key LIKE 'short:%' OR key LIKE 'large:%' OR key = 'item:19'}, 0), 'all are gone');
	ok(await(sub { $session->stat('stat_invalidation', 'rows_purged') > 0 }), 'and counted');
	is($session->value(q{SELECT count(*) FROM wbcache.entry WHERE key = 'item:20'}), 1, 'but for one that is locked');
	is($session->value(q{SELECT count(*) FROM wbcache.entry WHERE key = 'item:18'}), 1, 'what is of use stays');
	$locker->run('ROLLBACK');
};

behaviour 'a copy of the database does not believe the rows' => sub {
	$session->run(q{SELECT wbcache.get('item:copied')});
	rows('item:copied', 1);
	undef $session;
	# The template must have no other sessions; the workers make way when they are told that it is to be dropped, not copied.
	my $maintenance = session($node, 'template1');
	$node->append_conf('postgresql.conf', q{wbcache.databases = ''});
	$node->reload;
	ok(await_value($maintenance, q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'postgres'}, 0), 'nobody is connected');
	$maintenance->run('CREATE DATABASE copy TEMPLATE postgres');
	my $copy = session($node, 'copy');
	$copy->run(q{SET wbcache.max_wait = '30s'});
	is($copy->value(q{SELECT count(*), bool_or(wbcache.entry_is_current(key, epoch, stripes, generations)) FROM wbcache.entry}) =~ s/^[1-9]\d*/n/r,
		'n|f', 'rows are there, none of use');
	$node->append_conf('postgresql.conf', q{wbcache.databases = 'postgres, copy'});
	$node->reload;
	$session = session($node, 'postgres');
	$session->run(q{SET wbcache.max_wait = '30s'});
	is($copy->json(q{SELECT wbcache.get('item:copied')})->{database}, 'copy', 'it loads a value of its own');
	is($session->json(q{SELECT wbcache.get('item:copied')})->{database}, 'postgres', 'the original has the other');
};

behaviour 'a hot standby works with memory alone' => sub {
	$node->backup('backup');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($node, 'backup', has_streaming => 1);
	$standby->append_conf('postgresql.conf', 'max_connections = 40');
	$standby->start;
	$session->run(q{CREATE FUNCTION test.readonly(parts text[]) RETURNS json LANGUAGE sql AS 'SELECT to_json(pg_catalog.pg_backend_pid())';
		SELECT wbcache.create_endpoint('readonly', 'readonly:{id}', loader => 'test.readonly(text[])', soft_ttl => '1 h')});
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	my $reader = session($standby, 'postgres');
	$reader->run(q{SET wbcache.max_wait = '30s'});
	is($reader->ask('readonly:1')->{status}, 'miss', 'a loader runs there');
	is($reader->ask('readonly:1')->{detail}, 'memory tier', 'its value is in memory');
	is($reader->ask('item:1')->{sqlstate}, '25006', 'a loader that writes does not');
	like($reader->error('SELECT count(*) FROM wbcache.entry'), qr/cannot access temporary or unlogged relations during recovery/, 'there is no table');
	$reader->close;
	$standby->promote;
	$reader = session($standby, 'postgres');
	ok($reader->ask('readonly:2')->{value}, 'promoted: it serves');
	ok(await_value($reader, q{SELECT count(*) FROM wbcache.entry WHERE key = 'readonly:2'}, 1), 'and writes its own table');
	$reader->close;
	unlike(log_since($standby, 0), qr/PANIC|TRAP|could not be written/, 'log');
	$standby->stop;
};

done_testing();
