# wbcache.notify_channel: what was invalidated reaches those who listen, in order, once it is committed, and whoever misses
# something can tell.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my $channel = 'Cache "ä" changes';
my $node = start_instance('main', databases => 'postgres, other', conf => "wbcache.notify_channel = '$channel'\nwbcache.invalidation_alert_rate = 0");
my $upstream = WbcacheTest::Upstream->start;
my $session = install($node, 'postgres', $upstream);
my $listener = session($node, 'postgres');

$session->run(q{SELECT wbcache.create_endpoint('item', 'item:{id}', soft_ttl => '1 h')});
$listener->run(qq{LISTEN "Cache ""ä"" changes"});

# psql tells of notifications after a query: "Asynchronous notification ... with payload ...".
my @received;

sub receive
{
	my ($out) = $listener->send('SELECT 1')->receive;

	push @received, map { $WbcacheTest::JSON->decode($_) }
	  map { my $payload = $_; utf8::encode($payload) if utf8::is_utf8($payload); $payload }
	  $out =~ /^Asynchronous notification ".*" with payload "(.*)" received from/mg;
	return;
}

# The events that came since, as "REASON kind what xcount", until there are so many.
sub events
{
	my ($n) = @_;
	my @events;

	await(sub {
		receive();
		@events = map { @{ $_->{events} } } @received;
		return @events >= $n;
	});
	return map { $_->{reason} . ' ' . $_->{kind} . ' ' . ($_->{what} // 'null') . " x$_->{count}" } @events;
}

# Everything that was sent up to now is received and forgotten.
sub drain
{
	$session->run(q{SELECT wbcache.invalidate_tag('drained')});
	ok(await(sub { receive(); return scalar grep { ($_->{what} // '') eq 'drained' } map { @{ $_->{events} } } @received }), 'drained');
	@received = ();
	return;
}

behaviour 'each kind and reason' => sub {
	drain();
	$session->run(q{BEGIN; SELECT wbcache.invalidate('item:1', 'CANCELLED'), wbcache.invalidate_tag('tag "quoted" \ ä', 'POSTPONED'),
		wbcache.invalidate_pattern('item:*', 'STATUS_CHANGE'), wbcache.invalidate_own('private'), wbcache.clear(), wbcache.delete('item:2'); COMMIT});
	is_deeply([ events(5) ], [ 'CANCELLED key item:1 x1', "POSTPONED tag tag \"quoted\" \\ \x{e4} x1", 'STATUS_CHANGE pattern item:* x1', 'MANUAL key item:2 x1',
			'MANUAL everything null x1' ], 'all but the private key');
	is($received[0]{lost}, 0, 'none is lost');
	like($received[0]{epoch}, qr/^\d+$/, 'epoch');
};

behaviour 'nothing before the commit, nothing that was rolled back' => sub {
	drain();
	$session->run(q{BEGIN; SELECT wbcache.invalidate('item:rolled back'); ROLLBACK;
		BEGIN; SAVEPOINT a; SELECT wbcache.invalidate('item:cut'); ROLLBACK TO a; SELECT wbcache.invalidate('item:open')});
	my $other = session($node, 'postgres');
	$other->run(q{SELECT wbcache.invalidate('item:committed')});
	is_deeply([ events(1) ], ['MANUAL key item:committed x1'], 'what others commit meanwhile');
	$session->run('COMMIT');
	is_deeply([ events(2) ], [ 'MANUAL key item:committed x1', 'MANUAL key item:open x1' ], 'the rest after the commit');
};

behaviour 'many in one transaction are summed up, many transactions come in several messages' => sub {
	drain();
	$session->run(q{SELECT count(wbcache.invalidate('item:' || i)) FROM generate_series(1, 5000) i});
	my @events = events(17);
	is($events[0], 'MANUAL key item:1 x1', 'the first');
	# some keys share a stripe
	like($events[-1], qr/^MANUAL key null x49[5-8]\d$/, 'the others');

	drain();
	$session->run(q{DO $$ BEGIN FOR i IN 1 .. 400 LOOP PERFORM wbcache.invalidate_tag(i || repeat(' "', 100)); COMMIT; END LOOP; END $$});
	@events = events(400);
	is(scalar @events, 400, 'events');
	is_deeply(\@events, [ map { "MANUAL tag $_" . ' "' x 100 . ' x1' } 1 .. 400 ], 'in order');
	cmp_ok(scalar @received, '>', 400 * 300 / 8000, 'messages');
	is(scalar(grep { $_->{lost} } @received), 0, 'none is lost');
	my $next = $received[0]{first};
	my $gaps = 0;
	for my $message (@received)
	{
		$gaps++ if $message->{first} != $next;
		$next = $message->{first} + @{ $message->{events} };
	}
	is($gaps, 0, 'numbers follow each other');
};

behaviour 'what is overwritten before it can be sent is counted as lost' => sub {
	drain();
	$node->append_conf('postgresql.conf', 'wbcache.loaders = 0');
	$node->reload;
	ok(await_value($session, q{SELECT count(*) FROM wbcache.stat_worker WHERE kind = 'loader' AND state = 'running'}, 0), 'no loader');
	$session->run(q{DO $$ BEGIN FOR i IN 1 .. 1500 LOOP PERFORM wbcache.invalidate_tag('tag' || i); COMMIT; END LOOP; END $$});
	$node->append_conf('postgresql.conf', 'wbcache.loaders = 2');
	$node->reload;
	my @events = events(1000);
	is(scalar @events, 1000, 'events that were kept');
	is($events[0], 'MANUAL tag tag501 x1', 'the oldest of them');
	is($received[0]{lost}, 500, 'lost');
};

behaviour 'a database hears of its own, and of what is invalidated everywhere' => sub {
	$session->run('CREATE DATABASE other');
	my $other = install($node, 'other', $upstream);
	my $hears = session($node, 'other');
	$hears->run(q{LISTEN "Cache ""ä"" changes"});
	$other->run(q{SELECT wbcache.invalidate_tag('of other')});
	my $heard = '';
	ok(await(sub { $heard .= ($hears->send('SELECT 1')->receive)[0]; $heard =~ /of other/ }), 'its own');
	drain();
	unlike($WbcacheTest::JSON->encode(\@received), qr/of other/, 'not that of another');
	$session->run(q{SELECT wbcache.invalidate_tag('of postgres')});
	$session->run('SELECT wbcache.clear()');
	ok(await(sub { $heard .= ($hears->send('SELECT 1')->receive)[0]; $heard =~ /everything/ }), 'clear() in another');
	unlike($heard, qr/of postgres/, 'and no more of that');
};

behaviour 'a restart is another epoch' => sub {
	my $epoch = $received[0] ? $received[0]{epoch} : do { drain(); $session->run(q{SELECT wbcache.invalidate_tag('x')}); events(1); $received[0]{epoch} };
	$node->restart;
	$session = session($node, 'postgres');
	$listener = session($node, 'postgres');
	$listener->run(qq{LISTEN "Cache ""ä"" changes"});
	@received = ();
	$session->run(q{SELECT wbcache.invalidate_tag('after')});
	is_deeply([ events(1) ], ['MANUAL tag after x1'], 'what came after it');
	isnt($received[0]{epoch}, $epoch, 'epoch');
	is($received[0]{first}, 1, 'number');
};

behaviour 'a bad channel is refused, an empty one ends it' => sub {
	my $size = log_size($node);
	$node->append_conf('postgresql.conf', "wbcache.notify_channel = '" . 'x' x 64 . q{'});
	$node->reload;
	ok(await(sub { log_since($node, $size) =~ /invalid value for parameter "wbcache.notify_channel"/ }), 'too long');
	$session->run(q{SELECT wbcache.invalidate_tag('still')});
	ok(await(sub { receive(); return $WbcacheTest::JSON->encode(\@received) =~ /still/ }), 'the old one is still used');
	$node->append_conf('postgresql.conf', q{wbcache.notify_channel = ''});
	$node->reload;
	ok(await_value(session($node, 'postgres'), 'SHOW wbcache.notify_channel', ''), 'empty');
};

done_testing();
