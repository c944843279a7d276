# Patterns and registered keys over a restart: after a clean one they hold as before; after a crash all is empty.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main', conf => 'restart_after_crash = on');

$session->run(<<'END');
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '10 h');
SELECT wbcache.create_endpoint('game', 'game:{x}', 'api', '/echo/game/{x}', soft_ttl => '10 h');
END

sub rows
{
	my ($pattern, $n) = @_;
	return ok(await_value($session, "SELECT count(*) FROM wbcache.entry WHERE key LIKE '$pattern' AND wbcache.entry_is_current(key, epoch, stripes, generations)", $n),
		"$n rows like $pattern");
}

sub restart
{
	my ($mode) = @_;

	$session->close;
	if ($mode eq 'crash')
	{
		$node->stop('immediate');
		$node->start;
	}
	else
	{
		$node->restart;
	}
	$session = session($node, 'postgres');
	ok(await_value($session, q{SELECT count(*) FROM wbcache.stat_worker WHERE kind = 'fetcher' AND state = 'running'}, 1), 'served again');
	return;
}

sub status
{
	my ($key) = @_;
	my $answer = $session->ask($key);
	return "$answer->{status} $answer->{value}{n}";
}

behaviour 'a clean restart' => sub {
	$session->ask("echo:$_") for qw(a1 a2 b1 b2);
	rows('echo:%', 4);
	$session->run(q{SELECT wbcache.invalidate_pattern('echo:a*')});
	is(status('echo:b1'), 'hit 1', 'one that was looked at since');
	is(status('echo:a2'), 'miss 2', 'one that was fetched since');
	rows('echo:a2', 1);
	restart('clean');
	is(status('echo:a1'), 'miss 2', 'what matched is not served');
	is(status('echo:a2'), 'hit 2', 'what was fetched afterwards is');
	is(status('echo:b1'), 'hit 1', 'so is what did not match');
	is(status('echo:b2'), 'hit 1', 'whether it was looked at or not');
	restart('clean');
	is(status('echo:b2'), 'hit 1', 'and again');
	$session->run(q{SELECT wbcache.invalidate_pattern('echo:b*')});
	is(status('echo:b2'), 'miss 2', 'a pattern after the restart');
};

behaviour 'a registered key over a clean restart' => sub {
	$session->run(q{SELECT wbcache.register_cache_key('g', 'game:1')});
	is(status('game:1'), 'miss 1', 'fetched');
	rows('game:1', 1);
	restart('clean');
	is(status('game:1'), 'hit 1', 'its value is there');
	$session->run(q{SELECT wbcache.invalidate_game_cache('g')});
	is(status('game:1'), 'miss 2', 'and goes with the game');
	$session->run(q{SELECT wbcache.invalidate_game_cache('g')});
	is(status('game:1'), 'miss 3', 'so does what was fetched after the restart');
};

# The time of every registration in the file, as if it was made long ago.
sub let_registrations_expire
{
	my $file = $node->data_dir . '/pg_stat/wbcache.registry';
	open(my $in, '<:raw', $file) or die $!;
	local $/;
	my $content = <$in>;
	my ($magic, undef, $size, $shutdown) = unpack('L L Q Q', $content);
	my $piece = substr($content, 24);
	my $n = 32768;
	my @table = map { my $c = $_; $c = $c & 1 ? ($c >> 1) ^ 0x82f63b78 : $c >> 1 for 1 .. 8; $c } 0 .. 255;
	my $crc = 0xffffffff;
	my $made = 0;

	is(length $piece, $size, 'size of the file');
	for my $i (0 .. $n - 1)
	{
		my $at = 16 + 4 * $n + 24 * $i + 8;
		next if unpack('q', substr($piece, $at, 8)) == 0;
		substr($piece, $at, 8) = pack('q', 1);
		$made++;
	}
	$crc = $table[($crc ^ $_) & 0xff] ^ ($crc >> 8) for unpack('C*', $piece);
	open(my $out, '>:raw', $file) or die $!;
	print $out pack('L L Q Q', $magic, $crc ^ 0xffffffff, $size, $shutdown), $piece;
	close($out);
	return $made;
}

behaviour 'registrations end' => sub {
	$session->close;
	$node->stop;
	is(let_registrations_expire(), 1, 'one was made');
	$node->start;
	$session = session($node, 'postgres');
	ok(await(sub {
		$session->run(q{SELECT wbcache.delete('game:1')});
		my $n = $session->ask('game:1')->{value}{n};
		$session->run(q{SELECT wbcache.invalidate_game_cache('g')});
		return $session->ask('game:1')->{value}{n} == $n;
	}), 'a loader takes it off: the key does not go with the game any more');
	$session->run(q{SELECT wbcache.register_cache_key('g', 'game:1')});
	my $n = $session->ask('game:1')->{value}{n};
	$session->run(q{SELECT wbcache.invalidate_game_cache('g')});
	cmp_ok($session->ask('game:1')->{value}{n}, '>', $n, 'it can be registered again');
};

behaviour 'a crash' => sub {
	$session->run(q{SELECT wbcache.invalidate_pattern('echo:b*')});
	restart('crash');
	is($session->value('SELECT count(*) FROM wbcache.entry'), 0, 'the table is empty');
	is(status('echo:a2'), 'miss 3', 'and so is the memory');
	is(status('echo:a2'), 'hit 3', 'caching works');
	$session->run(q{SELECT wbcache.invalidate_pattern('echo:?2')});
	is(status('echo:a2'), 'miss 4', 'patterns too');
	is($session->stat('stat_invalidation', 'total, patterns'), '1|1', 'counters begin again');
	is($session->value('SELECT min(number), max(number) FROM wbcache.invalidation_events'), '1|1', 'and events');
};

behaviour 'damaged files are not believed' => sub {
	$session->ask("echo:$_") for qw(c1 d1);
	rows('echo:_1', 2);
	$session->run(q{SELECT wbcache.invalidate_pattern('echo:c*')});
	$session->ask('echo:e1');
	rows('echo:e1', 1);
	$session->close;
	$node->stop;

	# As if another pattern had been invalidated.
	my $file = $node->data_dir . '/pg_stat/wbcache.globs';
	open(my $in, '<:raw', $file) or die $!;
	my $content = do { local $/; <$in> };
	is($content =~ s/echo:c\*/echo:x*/, 1, 'the pattern is in the file');
	open(my $out, '>:raw', $file) or die $!;
	print $out $content;
	close($out);
	$node->start;
	$session = session($node, 'postgres');
	is(status('echo:c1'), 'miss 2', 'what was invalidated is not served');
	is(status('echo:d1'), 'miss 2', 'nor what may have been');
	is(status('echo:e1'), 'hit 1', 'what was fetched after the last pattern is');
	$session->run(q{SELECT wbcache.invalidate_pattern('echo:e*')});
	is(status('echo:e1'), 'miss 2', 'patterns work');
};

behaviour 'the files are there between a shutdown and a start only' => sub {
	$session->close;
	$node->stop;
	ok(-s $node->data_dir . "/pg_stat/wbcache.$_", "$_ after a shutdown") for qw(stripes globs registry);
	$node->start;
	ok(!-e $node->data_dir . "/pg_stat/wbcache.$_", "$_ after a start") for qw(stripes globs registry);
	$session = session($node, 'postgres');
};

behaviour 'a clean run of the server without the library, which invalidates nothing' => sub {
	$session->run(<<'END');
CREATE TABLE price (id int PRIMARY KEY, game int, price numeric);
INSERT INTO price VALUES (1, 1, 2);
SELECT wbcache.watch_odds('price', 'game', 'price');
CREATE FUNCTION load_price(parts text[]) RETURNS json LANGUAGE sql AS 'SELECT to_json(price) FROM public.price WHERE game = parts[2]::int';
SELECT wbcache.create_endpoint('price', 'price:{game}', loader => 'load_price(text[])', soft_ttl => '10 h', tags => ARRAY['game:{game}']);
END
	is($session->value(q{SELECT wbcache.get('price:1')}), 2, 'the value');
	rows('price:%', 1);
	$node->append_conf('postgresql.conf', q{shared_preload_libraries = ''});
	$session->close;
	$node->restart;
	session($node, 'postgres')->run('UPDATE price SET price = 9');
	$node->append_conf('postgresql.conf', q{shared_preload_libraries = 'wbcache'});
	restart('clean');
	is($session->value(q{SELECT wbcache.get('price:1')}), 9, 'what was stored before is not believed');
};

done_testing();
