# What is in the table tier is an answer also where memory has no room for it, or nothing but the error of a failed refresh.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my $node = start_instance('main', conf => 'wbcache.memory_size = 32MB');
my $session = install($node, 'postgres', WbcacheTest::Upstream->start);

$session->run(<<'END_SQL');
CREATE SEQUENCE test.calls;
CREATE FUNCTION test.calls() RETURNS bigint LANGUAGE sql AS $$ SELECT last_value - 1 + is_called::int FROM test.calls $$;
CREATE FUNCTION test.large(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
  PERFORM nextval('test.calls');
  RETURN to_json((SELECT string_agg(md5(parts[2] || i), '') FROM generate_series(1, 170000) i));
END $$;
SELECT wbcache.create_endpoint('fresh', 'fresh:{id}', loader => 'test.large(text[])', soft_ttl => '10 h');
SELECT wbcache.create_endpoint('old', 'old:{id}', loader => 'test.large(text[])', soft_ttl => '1 ms', hard_ttl => '10 h', error_ttl => '1 h');
SELECT wbcache.create_endpoint('short', 'short:{id}', loader => 'test.large(text[])', soft_ttl => '10 h', error_ttl => '1 h');
END_SQL

my $good = sub { return $session->value("SELECT md5(wbcache.get('$_[0]')::text) = md5(test.large(ARRAY['x', '1'])::text)") };

is($good->($_), 't', "loaded: $_") for 'fresh:1', 'old:1';
ok(await_value($session, q{SELECT count(*) FROM wbcache.entry WHERE octet_length(value::text) > 5000000}, 2), 'both are in the table');
undef $session;
$node->stop('fast');
$node->append_conf('postgresql.conf', 'wbcache.memory_size = 4MB');
$node->start;
$session = session($node, 'postgres');
$session->run(q{SET wbcache.max_wait = '30s'});

behaviour 'a fresh row is a hit, each time' => sub {
	$session->run(q{SELECT setval('test.calls', 1, false), wbcache.stat_reset()});
	for my $time (1, 2)
	{
		is($session->value(q{SELECT status, detail FROM wbcache.lookup('fresh:1')}), 'hit|table tier', "read $time");
	}
	is($session->value('SELECT test.calls()'), 0, 'nothing was loaded');
	is($session->stat('stat_endpoint', 'hits, stale, misses, errors', q{endpoint = 'fresh'}), '2|0|0|0', 'counted as hits');
	is($session->stat('stat_memory', 'entries, evictions, refused'), '0|0|0', 'memory does not have it, and was not searched for room');
	is($good->('fresh:1'), 't', 'the value');
};

behaviour 'a stale row is served while its refresh fails, and the failure is not tried again and again' => sub {
	$session->run(q{SELECT setval('test.calls', 1, false), wbcache.stat_reset()});
	like($session->value(q{SELECT status, detail FROM wbcache.lookup('old:1')}), qr/^stale\|table tier; (?:a refresh is under way|refresh started)/, 'first read');
	ok(await_value($session, q{SELECT refresh_failures FROM wbcache.stat_endpoint WHERE endpoint = 'old'}, 1), 'its refresh fails: the value is too large now');
	for my $time (2, 3)
	{
		is($session->value(q{SELECT status, detail FROM wbcache.lookup('old:1')}), 'stale|table tier; a refresh is under way or was tried a moment ago',
			"read $time");
	}
	is($session->value(q{SELECT status || ' ' || (value IS NOT NULL) FROM wbcache.lookup('old:1')}), 'stale true', 'with a value');
	is($session->value('SELECT test.calls()'), 1, 'one load');
	is($session->stat('stat_endpoint', 'hits, stale, misses, errors', q{endpoint = 'old'}), '0|4|0|0', 'counted as stale');
	is($session->value(q{SELECT count(value), count(error) FROM wbcache.get_many(ARRAY['old:1', 'fresh:1'])}), '2|0', 'get_many too');
};

behaviour 'without a row the failure is the answer, and remembered' => sub {
	$session->run(q{SELECT setval('test.calls', 1, false), wbcache.stat_reset()});
	for my $time (1 .. 3)
	{
		like($session->error(q{SELECT wbcache.get('short:1')}), qr/ERROR:  54000: value is too large to be cached/, "read $time");
	}
	is($session->value('SELECT test.calls()'), 1, 'one load');
	is($session->stat('stat_endpoint', 'errors', q{endpoint = 'short'}), 3, 'counted as errors');
	is($session->value(q{SELECT error FROM wbcache.get_many(ARRAY['short:1'])}), 'value is too large to be cached', 'get_many too');
};

done_testing();
