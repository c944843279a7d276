# After kill -9 of a backend the 1,000 hottest keys come back without a client asking: hottest first, each fetched once,
# and with no more than three quarters of the server's rate limit.

use strict;
use warnings FATAL => 'all';

use Test::More;
use Time::HiRes qw(time);
use WbcacheTest;

my $LIMIT = 200;    # requests a second

my ($upstream, $node, $session) = start_served('main',
	conf => "restart_after_crash = on\nwbcache.hot_keys = 1000\nwbcache.hot_keys_interval = 1s",
	server => { max_connections => 16 });

$session->run(q{SELECT wbcache.create_endpoint('echo', 'echo:{class}:{x}', 'api', '/echo/{class}/{x}', soft_ttl => '10 h')});

# Reads n keys of a class so many times each.
sub use_keys
{
	my ($class, $n, $times) = @_;
	$session->run("SELECT count(wbcache.get('echo:$class:' || x)) FROM generate_series(1, $times), generate_series(1, $n) x");
	return;
}

# How many of the first n keys of a class are answered at once.
sub hits
{
	my ($class, $n) = @_;
	return $session->value("SELECT count(*) FILTER (WHERE (wbcache.lookup('echo:$class:' || x)).status = 'hit') FROM generate_series(1, $n) x");
}

behaviour 'the keys that are used most are noted' => sub {
	use_keys('cold', 300, 1);
	use_keys('warm', 900, 6);
	use_keys('hot', 100, 60);
	ok(await_value($session, q{SELECT count(*), count(*) FILTER (WHERE key LIKE 'echo:hot:%' AND uses > 20),
		count(*) FILTER (WHERE key LIKE 'echo:warm:%' AND uses BETWEEN 3 AND 10) FROM wbcache.hot_key}, '1000|100|900'),
		'the hottest 1,000 of 1,300');
	is($session->value('SELECT hot_keys, state, wanted FROM wbcache.stat_warmup'), '1000|none|0', 'view');
	is($session->value('SELECT DISTINCT endpoint FROM wbcache.hot_key'), 'echo', 'endpoint');
};

behaviour 'a steady load writes nothing' => sub {
	my $rows = $session->value('SELECT md5(string_agg(h::text, $$,$$ ORDER BY key)) FROM wbcache.hot_key h');
	my $noted = $session->value('SELECT noted_at FROM wbcache.stat_warmup');
	use_keys('hot', 100, 5);
	ok(await_value($session, qq{SELECT noted_at > '$noted'::timestamptz + interval '2.5 s' FROM wbcache.stat_warmup}, 't'), 'it was compared again');
	is($session->value('SELECT md5(string_agg(h::text, $$,$$ ORDER BY key)) FROM wbcache.hot_key h'), $rows, 'no row has changed');
};

behaviour 'after kill -9 they come back' => sub {
	$session->run("ALTER SERVER api OPTIONS (ADD rate_limit '$LIMIT/1s')");
	my $size = log_size($node);
	my $victim = session($node, 'postgres');

	$upstream->reset;
	$session->close;
	kill('KILL', $victim->pid);
	undef $victim;
	ok(await_query($node, q{SELECT state = 'done' FROM wbcache.stat_warmup}), 'done');
	$session = session($node, 'postgres');
	my ($wanted, $back, $failed, $seconds) = split(/\|/,
		$session->value(q{SELECT wanted, back, failed, round(extract(epoch FROM duration), 1) FROM wbcache.stat_warmup}));
	is($wanted, 1000, 'keys that were missing');
	cmp_ok($back, '>=', 900, 'keys that are back');
	note("$back of $wanted keys were back after $seconds s, with a limit of $LIMIT requests a second");

	my @requests = sort { $a->{started} <=> $b->{started} } $upstream->log('/echo/*');
	is(scalar @requests, $back + $failed, 'one request each');
	cmp_ok(hits('hot', 100) + hits('warm', 900), '>=', 900, 'hits');
	is($upstream->total, scalar @requests, 'for which nothing is fetched');

	my $early = grep { $_->{path} =~ m{/hot/} } @requests[ 0 .. 79 ];
	is($early, 80, 'the hottest come first');

	my ($most, $from) = (0, 0);
	for my $to (0 .. $#requests)
	{
		$from++ while $requests[$from]{started} <= $requests[$to]{started} - 1;
		$most = $to - $from + 1 if $to - $from + 1 > $most;
	}
	cmp_ok($most, '<=', $LIMIT, 'requests in any second');
	note("most requests in one second: $most");
	cmp_ok($requests[-1]{started} - $requests[0]{started}, '>', 1000 / ($LIMIT * 3 / 4) - 1.5, 'seconds: a quarter of the limit is left to clients');
	is(log_count($node, qr/LOG:  bringing back 1000 hot keys that the cache has lost\n/, $size), 1, 'a line at the start');
	is(log_count($node, qr/LOG:  \d+ of 1000 hot keys are back after [\d.]+ s\n/, $size), 1, 'and one at the end');
};

behaviour 'what was brought back is still hot' => sub {
	ok(await_value($session, 'SELECT noted_at IS NOT NULL FROM wbcache.stat_warmup', 't'), 'noted again');
	is($session->value(q{SELECT count(*) FROM wbcache.hot_key WHERE key LIKE 'echo:hot:%' AND uses > 20}), 100, 'no less hot');
	is($session->value('SELECT count(*) FROM wbcache.hot_key'), 1000, 'and as many');
};

$session->close;
done_testing();
