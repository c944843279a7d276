# The backend of a transaction is terminated in the middle of its commit, when its invalidations are announced already: they
# count, and none stays announced. The commit is held open by a synchronous standby that isn't there.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main', init => { allows_streaming => 1 },
	conf => "synchronous_standby_names = 'nobody'\nsynchronous_commit = local");

$session->run(q{SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '10 h', tags => ARRAY['group:{x}']);
	CREATE TABLE written (key text)});

sub status { return $session->ask($_[0])->{status}; }

# Each with a key of its own.
sub terminated_in_commit
{
	my ($key, $call) = @_;

	behaviour $call => sub {
		my $writer = session($node, 'postgres');
		my $pid = $writer->pid;
		is(status($key), 'miss', 'fetched');
		hold_commit($session, $writer, "INSERT INTO written VALUES ('$key'); SELECT wbcache.$call");
		is(status($key), 'bypass', 'while it is');
		$session->run("SELECT pg_terminate_backend($pid)");
		ok(await_value($session, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid", 0), 'the backend ends');
		is($session->value("SELECT count(*) FROM written WHERE key = '$key'"), 1, 'it has committed');
		is(status($key), 'miss', 'afterwards');
		is(status($key), 'hit', 'then it is cached again');
	};
	return;
}

terminated_in_commit('echo:key', q{invalidate('echo:key')});
terminated_in_commit('echo:tag', q{invalidate_tag('group:tag')});
terminated_in_commit('echo:pattern', q{invalidate_pattern('*:pattern')});
terminated_in_commit('echo:all', 'clear()');

done_testing();
