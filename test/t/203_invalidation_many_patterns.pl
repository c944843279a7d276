# More patterns being committed at once than there is room for: then everything is invalid, and afterwards all is as before.
# Patterns of another database don't matter. Commits are held open by a synchronous standby that isn't there.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my $node = start_instance('main', init => { allows_streaming => 1 }, databases => 'postgres, other', conf => "synchronous_standby_names = 'nobody'\nsynchronous_commit = local");
my $upstream = WbcacheTest::Upstream->start;
my $session = install($node, 'postgres', $upstream);
$session->run('CREATE DATABASE other');
my $other = install($node, 'other', $upstream);

$_->run(q{SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '10 h'); CREATE TABLE written (n int)}) for $session, $other;

# Holds the commits of n transactions with 16 patterns each open.
sub hold
{
	my ($n, $database) = @_;
	my @holders = map { session($node, $database) } 1 .. $n;

	$holders[$_]->run("BEGIN; SET LOCAL synchronous_commit = on; INSERT INTO written VALUES ($_);
		SELECT count(wbcache.invalidate_pattern('no:such:$_:' || i)) FROM generate_series(1, 16) i") for 0 .. $#holders;
	$_->send('COMMIT') for @holders;
	ok(await_value($session, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'}, $n), "$n commits are held open");
	return @holders;
}

sub release
{
	my @holders = @_;
	$session->run(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'});
	like(($_->receive)[1], qr/canceling wait for synchronous replication/, 'committed') for @holders;
	return;
}

sub status { return $_[0]->ask($_[1])->{status}; }

behaviour 'as many as there is room for: what does not match is served' => sub {
	is(status($session, 'echo:1'), 'miss', 'fetched');
	my @holders = hold(16, 'postgres');
	is(status($session, 'echo:1'), 'hit', 'while they are committed');
	release(@holders);
	is(status($session, 'echo:1'), 'hit', 'afterwards');
};

behaviour 'more: everything is invalid' => sub {
	is(status($other, 'echo:1'), 'miss', 'fetched');
	my @holders = hold(18, 'postgres');
	is(status($session, 'echo:1'), 'bypass', 'while they are committed');
	is(status($other, 'echo:1'), 'bypass', 'in other databases too');
	release(@holders);
	is(status($session, 'echo:1'), 'miss', 'afterwards');
	is(status($session, 'echo:1'), 'hit', 'and all works again');
	$session->run(q{SELECT wbcache.invalidate_pattern('echo:*')});
	is(status($session, 'echo:1'), 'miss', 'patterns too');
};

behaviour 'patterns of another database' => sub {
	is(status($other, 'echo:1'), 'miss', 'fetched');
	$session->run(q{SELECT wbcache.invalidate_pattern('*')});
	is(status($other, 'echo:1'), 'hit', 'the other one keeps its values');
	is(status($session, 'echo:1'), 'miss', 'this one does not');
};

done_testing();
