# The memory tier is never larger than it may be, evicts what is used least, and never gives a wrong value.

use strict;
use warnings FATAL => 'all';

use Digest::MD5 qw(md5_hex);
use HTTP::Tiny;
use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main', conf => qq{wbcache.memory_size = 16MB\nwbcache.loaders = 0});
my $megabyte = 1024 * 1024;

$session->run(<<'END');
SELECT wbcache.create_endpoint('mem', 'mem:{x}', soft_ttl => '1 h');
SELECT wbcache.create_endpoint('blob', 'blob:{size}:{seed}', 'api', '/blob?size={size}&seed={seed}', soft_ttl => '1 h');
CREATE SEQUENCE test.serial;
CREATE SEQUENCE test.hot_misses;
CREATE UNLOGGED TABLE test.sample (size bigint, used bigint, entries bigint);

-- The value of a key: of 1 to 100 kB, and never that of another key.
CREATE FUNCTION test.value_of(i bigint) RETURNS json LANGUAGE sql IMMUTABLE AS
$$ SELECT to_json(rpad(md5(i::text), (1024 * (1 + abs(i) * 7919 % 100))::int, md5((i + 1)::text))) $$;

-- One turn of a client: stores the next key, reads an older one, and ten that all clients read all the time. One of
-- these that is gone is stored again.
CREATE FUNCTION test.turn() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  i bigint := nextval('test.serial');
  older bigint := i - 1 - (random() * 200)::int;
  hot text;
BEGIN
  PERFORM wbcache.set('mem:' || i, test.value_of(i));
  IF wbcache.get('mem:' || older)::text <> test.value_of(older)::text THEN
    RAISE EXCEPTION 'key % has the value of another one, or a broken one', i;
  END IF;
  FOR j IN 1 .. 10 LOOP
    hot := 'mem:hot' || (random() * 50)::int;
    IF wbcache.get(hot) IS NULL THEN
      PERFORM wbcache.set(hot, to_json(rpad(hot, 10000, '.')));
      PERFORM nextval('test.hot_misses');
    END IF;
  END LOOP;
  IF i % 50 = 0 THEN
    INSERT INTO test.sample SELECT size, used, entries FROM wbcache.stat_memory;
  END IF;
END $$;
END

behaviour '10,000 keys of 1 to 100 kB in 16 MB' => sub {
	my $script = PostgreSQL::Test::Utils::tempdir() . '/turn.sql';
	my ($out, $err) = ('', '');

	append_to_file($script, "SELECT test.turn();\n");
	ok(IPC::Run::run([ $node->installed_command('pgbench'), '-n', '-c', 4, '-j', 2, '-t', 2500, '-f', $script,
				$node->connstr('postgres') ], '>', \$out, '2>', \$err), 'four clients store and read')
	  or diag($err);
	is($session->value('SELECT last_value FROM test.serial'), 10000, 'keys');
	is($session->value('SELECT count(*), min(size), max(size) FROM test.sample'), "200|${\ (16 * $megabyte)}|${\ (16 * $megabyte)}",
		'size, at all times');
	cmp_ok($session->value('SELECT max(used) FROM test.sample'), '<=', 16 * $megabyte, 'bytes used at most');
	cmp_ok($session->value('SELECT avg(used) FROM test.sample WHERE ctid > $$(0,50)$$'), '>', 8 * $megabyte, 'on average more than half');
	is($session->stat('stat_memory', 'refused'), 0, 'values for which there was no room');
	cmp_ok($session->stat('stat_memory', 'evictions'), '>', 9000, 'evictions');
	cmp_ok($session->stat('stat_endpoint', 'hit_rate_percent', q{endpoint = 'mem'}), '>', 0, 'hit rate');
	is($session->stat('stat_endpoint', 'errors', q{endpoint = 'mem'}), 0, 'errors');
};

behaviour 'what is left is right, and there is a lot of it' => sub {
	my ($left, $wrong) = split /\|/, $session->value(<<'END');
SELECT count(*), count(*) FILTER (WHERE value <> test.value_of(i)::text)
FROM (SELECT i, wbcache.get('mem:' || i)::text AS value FROM generate_series(1, 10000) i OFFSET 0) t
WHERE value IS NOT NULL
END
	diag("$left of the last keys are left; entries and bytes used: " . $session->stat('stat_memory', 'entries, used'));
	cmp_ok($left, '>', 100, 'keys');
	is($wrong, 0, 'wrong values');
};

behaviour 'what is read all the time stays' => sub {
	my $percent = $session->value('SELECT last_value / 100000.0 * 100 FROM test.hot_misses');
	diag(sprintf('%.2f %% of the reads of hot keys found nothing', $percent));
	cmp_ok($percent, '<', 5, 'percent of the reads of hot keys that found nothing');
};

behaviour 'a value above the limit is refused, with the limit' => sub {
	my $limit = 4 * $megabyte;
	my $error = $session->error(qq{SELECT wbcache.set('mem:large', to_json(repeat('x', $limit - 1)))});
	like($error, qr/ERROR:  54000: value is too large to be cached\n/, 'a quarter of the memory: message');
	like($error, qr/^DETAIL:  It has ${\ ($limit + 1)} bytes; the limit is $limit\.$/m, 'detail');
	like($error, qr/^HINT:  .*wbcache\.max_value_size/m, 'hint');
	my $answer = $session->ask('blob:' . ($limit + 1) . ':1');
	is($answer->{sqlstate}, '54000', 'an answer of the upstream: SQLSTATE');
	is($answer->{detail}, "The limit is $limit bytes.", 'detail');

	$node->append_conf('postgresql.conf', 'wbcache.max_value_size = 100kB');
	$node->reload;
	ok(await(sub { $session->error(q{SELECT wbcache.set('mem:large', to_json(repeat('x', 102399)))})
				=~ /It has 102401 bytes; the limit is 102400\./ }), 'max_value_size: detail');
	is($session->error(q{SELECT wbcache.set('mem:large', to_json(repeat('x', 102398)))}), '', 'the limit itself is allowed');
	is($session->value(q{SELECT length(wbcache.get('mem:large')::text)}), 102400, 'and stored');
};

behaviour 'large values after many small ones' => sub {
	$node->append_conf('postgresql.conf', "wbcache.max_value_size = 8MB\nwbcache.memory_size = 32MB");
	$session->close;
	$node->restart;
	$session = session($node, 'postgres');
	my $small = q{FROM generate_series(1, 30000) i WHERE wbcache.get('mem:small' || i) IS NOT NULL};
	$session->run(qq{SELECT count(wbcache.set('mem:small' || i, to_json(repeat('s', 1022))))
		FROM generate_series($_ * 1000 + 1, $_ * 1000 + 1000) i}) for 0 .. 29;
	my $before = $session->value("SELECT count(*) $small");
	cmp_ok($before, '>', 15000, 'small ones are stored');

	for my $i (1 .. 50)
	{
		$session->run(qq{SELECT wbcache.set('mem:large$i', to_json(repeat('l', 100 * 1024)))});
		my $size = $session->value(qq{SELECT length(wbcache.get('mem:large$i')::text)});
		$size eq 100 * 1024 + 2 or return fail("large value $i is stored");
	}
	is($session->stat('stat_memory', 'refused'), 0, 'all large ones are stored');
	my $after = $session->value("SELECT count(*) $small");
	my $large = $session->value(q{SELECT count(wbcache.get('mem:large' || i)) FROM generate_series(1, 50) i});
	diag("50 values of 100 kB after 30,000 of 1 kB in 32 MB: $before small ones before, $after after; $large large ones are there");
	cmp_ok($after, '>', $before / 10, 'many small ones are left');
	cmp_ok($large, '>', 25, 'and most of the large ones');
};

behaviour 'values of 4 MB come back as they were' => sub {
	my $http = HTTP::Tiny->new(no_proxy => ['127.0.0.1'], default_headers => { 'X-Api-Key' => $upstream->key });
	for my $seed (1 .. 10)
	{
		my $sent = $http->get($upstream->base_url . "/blob?size=4194304&seed=$seed")->{content};
		is($session->value("SELECT md5(wbcache.get('blob:4194304:$seed')::text) FROM generate_series(1, 2)"),
			md5_hex($sent) . "\n" . md5_hex($sent), "value $seed, fetched and from memory");
	}
	is($upstream->count('/blob'), 21, 'requests: ten of the test, ten misses, and the one above the limit');
	$session->run(q{SELECT wbcache.set('mem:four', to_json(repeat('4', 4194302)))});
	is($session->value(q{SELECT wbcache.get('mem:four')::text = '"' || repeat('4', 4194302) || '"'}), 't', 'one that was set');
	is($session->stat('stat_memory', 'refused'), 0, 'refused');
	cmp_ok($session->stat('stat_memory', 'used'), '<=', 32 * $megabyte, 'bytes used');
};

behaviour 'memory is given back' => sub {
	$session->run(q{SELECT wbcache.alter_endpoint('mem', soft_ttl => '30 min')});
	$session->run(q{SELECT count(wbcache.delete('mem:small' || i)) FROM generate_series(1, 30000) i});
	$session->run(q{SELECT count(wbcache.delete('mem:large' || i)) FROM generate_series(1, 50) i});
	$session->run(qq{SELECT wbcache.delete('blob:4194304:$_')}) for 1 .. 10;
	$session->run(q{SELECT wbcache.delete('mem:four')});
	is($session->stat('stat_memory', 'entries, used'), '0|0', 'entries, bytes used');
};

done_testing();
