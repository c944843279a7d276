# Leases: of all who want a value that the application computes, one gets the lease, and the others the stale value, or
# what the one stores. A lease that is not used, or does not hold any more, is free again.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my $flights = 64;
my $node = start_instance('main', conf => "wbcache.max_flights = $flights\nwbcache.loaders = 0");
my $upstream = WbcacheTest::Upstream->start;
my $session = install($node, 'postgres', $upstream);

$session->run(<<'END_SQL');
SELECT wbcache.create_endpoint('page', 'page:{id}', soft_ttl => '1 h', tags => ARRAY['group:{id}']);
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '1 h');
CREATE UNLOGGED TABLE test.caller (pid int, key text, value text, status text, lease bigint);
-- Acquires, and notes what came; returns the lease.
CREATE FUNCTION test.acquire(key text, lease_time interval DEFAULT '30 s') RETURNS bigint LANGUAGE sql
  AS $$ INSERT INTO test.caller SELECT pg_backend_pid(), key, value, status, lease FROM wbcache.acquire(key, lease_time) RETURNING lease $$;
END_SQL

my @sessions = map { session($node, 'postgres') } 1 .. 20;
$_->run(q{SET wbcache.max_wait = '50s'}) for @sessions, $session;

sub acquire { return $_[0]->send("SELECT test.acquire('$_[1]'" . ($_[2] ? ", '$_[2]')" : ')')); }

sub waiting
{
	my ($n) = @_;
	return ok(await_value($session, 'SELECT waiters FROM wbcache.stat_coalescer', $n), "$n wait");
}

# Who of the sessions got a lease of this key: (session, lease) of the one, or nothing.
sub holder
{
	my ($key) = @_;
	my $row = await(sub { $session->value("SELECT pid, lease FROM test.caller WHERE key = '$key' AND lease IS NOT NULL") });
	my ($pid, $lease) = split(/\|/, $row || '|');
	my ($holder) = grep { $_->pid eq $pid } @sessions;
	return ($holder, $lease);
}

behaviour 'of 20 who want a key that is not there, one gets the lease, and 19 what it stores' => sub {
	acquire($_, 'page:cold') for @sessions;
	waiting(19);
	my ($holder, $lease) = holder('page:cold');
	is($session->value(q{SELECT count(*) FROM test.caller WHERE key = 'page:cold'}), 1, 'nobody else has an answer');
	my $reader = session($node, 'postgres');
	$reader->run(q{SET wbcache.max_wait = '50s'});
	$reader->begin_ask('page:cold');
	waiting(20);
	$holder->receive;
	$holder->run(qq{SELECT wbcache.set('page:cold', '"made"', lease => $lease)});
	$_->receive for grep { $_ != $holder } @sessions;
	is($session->value(q{SELECT value, status, lease IS NULL, count(*) FROM test.caller WHERE key = 'page:cold' AND pid <> } . $holder->pid .
		' GROUP BY 1, 2, 3'), '"made"|collapsed|t|19', 'all the others have the value, and no lease');
	my $answer = $reader->end_ask;
	is("$answer->{value} $answer->{status}", 'made collapsed', 'a reader that waited too');
	is($session->value(q{SELECT value, status, lease FROM wbcache.acquire('page:cold')}), '"made"|hit|', 'who comes later finds it');
	waiting(0);
	is($session->stat('stat_coalescer', 'pending_keys'), 0, 'nothing is left behind');
};

behaviour 'of 20 who want a stale value, one gets the lease as well, and all get the stale value at once' => sub {
	$session->run(q{SELECT wbcache.set('page:stale', '"old"', soft_ttl => '1 us', hard_ttl => '1 h')});
	acquire($_, 'page:stale') for @sessions;
	$_->receive for @sessions;
	is($session->value(q{SELECT value, status, count(*), count(lease) FROM test.caller WHERE key = 'page:stale' GROUP BY 1, 2}),
		'"old"|stale|20|1', 'answers');
	my ($holder, $lease) = holder('page:stale');
	is($session->ask('page:stale')->{status}, 'stale', 'a reader gets the stale value');
	$holder->run(qq{SELECT wbcache.set('page:stale', '"new"', lease => $lease)});
	is($session->ask('page:stale')->{value}, 'new', 'then the new one');
	is($session->value(q{SELECT lease IS NULL FROM wbcache.acquire('page:stale')}), 't', 'and the lease is used up');
	like($holder->error(qq{SELECT wbcache.set('page:stale', '"again"', lease => $lease)}), qr/ERROR:  WB006: /, 'it can not be used twice');
};

behaviour 'an invalidation after acquire: the lease is not valid, whatever was invalidated' => sub {
	my $other = $sessions[0];
	for my $invalidation (q{invalidate('page:inv')}, q{invalidate_tag('group:inv')}, q{invalidate_tag('page')}, q{delete('page:inv')},
		q{set('page:inv', '"of another"', soft_ttl => '1 us')}, q{clear()}, q{alter_endpoint('page')})
	{
		$session->run(q{SELECT wbcache.delete('page:inv')});
		my $lease = $session->value(q{SELECT test.acquire('page:inv')});
		$other->run("SELECT wbcache.$invalidation");
		my $error = $session->error(qq{SELECT wbcache.set('page:inv', '"outdated"', lease => $lease)});
		like($error, qr/ERROR:  WB006: the lease is not valid any more.*HINT:  Call wbcache\.acquire\(\) again/s, $invalidation);
		isnt($session->value(q{SELECT test.acquire('page:inv')}), '', 'and another is to be had');
	}
	my $lease = $session->value(q{SELECT wbcache.delete('page:inv'); SELECT test.acquire('page:inv')});
	$lease =~ s/\s//g;
	$other->run(q{SELECT wbcache.invalidate('page:other'), wbcache.invalidate_tag('group:other')});
	is($session->error(qq{SELECT wbcache.set('page:inv', '"good"', lease => $lease)}), '', 'one of another key does no harm');
};

behaviour 'an invalidation between set and its commit: the value is for those who waited before, and not published' => sub {
	my ($before, $after, $other) = @sessions[0 .. 2];
	my $lease = $session->value(q{SELECT test.acquire('page:late')});
	acquire($before, 'page:late');
	waiting(1);
	$session->run(qq{BEGIN; SELECT wbcache.set('page:late', '"outdated"', lease => $lease)});
	$other->run(q{SELECT wbcache.invalidate_tag('group:late')});
	$session->run('COMMIT');
	is(($before->receive)[0], '', 'who waited before has no lease');
	is($session->value('SELECT value FROM test.caller WHERE key = \'page:late\' AND pid = ' . $before->pid), '"outdated"', 'but the value');
	is($other->value(q{SELECT wbcache.get('page:late') IS NULL}), 't', 'nobody else has it');
	$lease = $after->value(q{SELECT test.acquire('page:late')});
	isnt($lease, '', 'who comes later has a lease');
	$after->run(qq{SELECT wbcache.set('page:late', '"good"', lease => $lease)});
	is($other->ask('page:late')->{value}, 'good', 'and makes the new value');
};

behaviour 'an invalidation while somebody waits: who comes after it does not get the value of the lease before it' => sub {
	my ($before, $after, $other) = @sessions[0 .. 2];
	my $lease = $session->value(q{SELECT test.acquire('page:wait')});
	acquire($before, 'page:wait');
	waiting(1);
	$other->run(q{SELECT wbcache.invalidate('page:wait')});
	my $second = $after->value(q{SELECT test.acquire('page:wait')});
	isnt($second, '', 'who comes after it has a lease of his own');
	isnt($second, $lease, 'another one');
	like($session->error(qq{SELECT wbcache.set('page:wait', '"outdated"', lease => $lease)}), qr/WB006/, 'the first is over');
	$after->run(qq{SELECT wbcache.set('page:wait', '"good"', lease => $second)});
	is(($before->receive)[0], '', 'who waited since before has no lease');
	is($session->value('SELECT value FROM test.caller WHERE key = \'page:wait\' AND pid = ' . $before->pid), '"good"', 'but the new value');
};

behaviour 'the transaction\'s own invalidations: before set they do no harm, after it they do' => sub {
	my $lease = $session->value(q{SELECT test.acquire('page:own')});
	$session->run(qq{BEGIN; SELECT wbcache.invalidate_tag('group:own'), wbcache.set('page:own', '"made"', lease => $lease); COMMIT});
	is($session->ask('page:own')->{value}, 'made', 'before');
	$session->run(q{SELECT wbcache.delete('page:own')});
	$lease = $session->value(q{SELECT test.acquire('page:own')});
	$session->run(qq{BEGIN; SELECT wbcache.set('page:own', '"made"', lease => $lease), wbcache.invalidate_tag('group:own'); COMMIT});
	isnt($session->value(q{SELECT test.acquire('page:own')}), '', 'after');
};

behaviour 'a lease that is not used is free after its time' => sub {
	my ($waiting, $other) = @sessions[0, 1];
	my $lease = $session->value(q{SELECT test.acquire('page:unused', '300 ms')});
	acquire($waiting, 'page:unused', '30 s');
	my ($second) = $waiting->receive;
	isnt($second, '', 'who waits for it gets the next');
	isnt($second, $lease, 'another one');
	like($session->error(qq{SELECT wbcache.set('page:unused', '"late"', lease => $lease)}), qr/ERROR:  WB006: /, 'the first is not good any more');
	$waiting->run(qq{SELECT wbcache.set('page:unused', '"made"', lease => $second)});
	is($session->ask('page:unused')->{value}, 'made', 'the second is');

	$session->value(q{SELECT test.acquire('page:unused2', '1 ms')});
	ok(await(sub { $other->value(q{SELECT lease FROM wbcache.acquire('page:unused2')}) ne '' }), 'without anybody waiting too');
};

behaviour 'so is that of a holder that was killed' => sub {
	my $victim = session($node, 'postgres');
	my $waiting = $sessions[0];
	isnt($victim->value(q{SELECT test.acquire('page:killed', '1 s')}), '', 'a lease');
	acquire($waiting, 'page:killed');
	waiting(1);
	$session->run('SELECT pg_terminate_backend(' . $victim->pid . ')');
	isnt(($waiting->receive)[0], '', 'who waited has it next');
};

behaviour 'a set that is rolled back leaves the lease as it was' => sub {
	my ($waiting, $other) = @sessions[0, 1];
	my $lease = $session->value(q{SELECT test.acquire('page:rollback')});
	acquire($waiting, 'page:rollback');
	waiting(1);
	my $set = sub { return "SELECT wbcache.set('page:rollback', '\"$_[0]\"', lease => $lease)" };
	$session->run('BEGIN; ' . $set->('one') . '; ROLLBACK');
	$session->run('BEGIN; SAVEPOINT a; ' . $set->('two') . '; ROLLBACK TO a; COMMIT');
	is($session->value('SELECT waiters FROM wbcache.stat_coalescer'), 1, 'nobody was answered');
	$other->run(q{SET wbcache.max_wait = '1ms'});
	like($other->error(q{SELECT * FROM wbcache.acquire('page:rollback')}), qr/WB003/, 'and nobody has another lease');
	$other->run(q{SET wbcache.max_wait = '50s'});
	$session->run('BEGIN; SAVEPOINT a; ' . $set->('three') . '; RELEASE a; ' . $set->('four') . '; COMMIT');
	is(($waiting->receive)[0], '', 'who waited has no lease');
	is($session->value('SELECT value FROM test.caller WHERE pid = ' . $waiting->pid . q{ AND key = 'page:rollback'}), '"three"', 'but the value that used it');
	waiting(0);
};

behaviour 'what is no lease is refused' => sub {
	my $lease = $session->value(q{SELECT test.acquire('page:a')});
	like($session->error(qq{SELECT wbcache.set('page:b', '1', lease => $lease)}), qr/ERROR:  WB006: /, 'that of another key');
	like($session->error(q{SELECT wbcache.set('page:a', '1', lease => 0)}), qr/ERROR:  WB006: /, 'zero');
	like($session->error(qq{SELECT wbcache.set('page:a', '1', lease => $lease + 1)}), qr/ERROR:  WB006: /, 'one that was not given');
	like($session->error(qq{SELECT wbcache.set('page:a', '1', tags => ARRAY['x'], lease => $lease)}),
		qr/ERROR:  22023: tags and a lease cannot be given together.*HINT:  Leave tags out/s, 'one with tags');
	is($session->error(qq{SELECT wbcache.set('page:a', '1', lease => $lease)}), '', 'the lease is still good');
	like($session->error(qq{SELECT * FROM wbcache.acquire('page:a', '$_')}), qr/ERROR:  22023: /, "a time of $_") for '0', '61 min', '-1 s';
	is($session->value(q{SELECT count(*) FROM wbcache.acquire(NULL)}), 1, 'a NULL key');
};

behaviour 'leases nobody comes back for do not fill the table of flights' => sub {
	my $fill = q{SELECT count(a.lease) FROM generate_series(1, } . $flights . q{) i, LATERAL wbcache.acquire('page:%s' || i, '%s') a};
	my $error = $session->error(sprintf($fill, 'long', '1 h'));
	like($error, qr/WB005: too many fetches are under way/, 'more than wbcache.max_flights');
	$session->run('SELECT wbcache.clear()');
	is($session->error(q{SELECT * FROM wbcache.acquire('page:long_after', '1 h')}), '', 'they are over: there is room');
	$error = $session->error(sprintf($fill, 'short', '1 s'));
	like($error, qr/WB005/, 'full again');
	my $beside = $session->ask('echo:beside');
	is($beside->{status}, 'miss', 'but not for what an upstream has') or diag(WbcacheTest::encode($beside));
	ok(await(sub { $session->error(q{SELECT * FROM wbcache.acquire('page:short_after', '1 h')}) eq '' }), 'and room again when their time is over');
};

done_testing();
