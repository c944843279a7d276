# wbcache.invalidation_alert_rate: one warning in the log, at most once a minute, and never for what was not committed.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my $node = start_instance('main', conf => "wbcache.invalidation_alert_rate = 5\nwbcache.loaders = 1");
my $upstream = WbcacheTest::Upstream->start;
my $session = install($node, 'postgres', $upstream);

$session->run(q{SELECT wbcache.create_endpoint('turn', 'turn:{id}', soft_ttl => '1 h'); SELECT wbcache.stat_reset()});

sub warnings_after
{
	my ($size) = @_;
	my @warnings = log_since($node, $size) =~ /WARNING: .*database "postgres" invalidates cached values at a high rate/g;
	return scalar @warnings;
}

# The loader writes the table tier once a second, and looks at the rate in the same loop.
sub loader_has_looked
{
	for my $turn (1 .. 3)
	{
		my $key = 'turn:' . $session->value(q{SELECT extract(epoch FROM clock_timestamp())});
		$session->run("SELECT wbcache.set('$key', '1')");
		ok(await_value($session, "SELECT count(*) FROM wbcache.entry WHERE key = '$key'", 1), "turn $turn");
	}
	return;
}

behaviour 'as many as are allowed, and more that were rolled back' => sub {
	my $size = log_size($node);
	$session->run(q{SELECT count(wbcache.invalidate_tag('tag' || i)) FROM generate_series(1, 4) i});
	$session->run(q{BEGIN; SELECT count(wbcache.invalidate_tag('tag' || i)) FROM generate_series(1, 500) i; ROLLBACK});
	loader_has_looked();
	is(warnings_after($size), 0, 'no warning');
	# one more was the new endpoint's
	is($session->stat('stat_invalidation', 'total, per_minute, threshold, alert'), '4|5|5|f', 'and no alert');
};

behaviour 'more than are allowed' => sub {
	my $size = log_size($node);
	$session->run(q{SELECT wbcache.invalidate_tag('one more')});
	ok(await(sub { warnings_after($size) }), 'a warning');
	like(log_since($node, $size), qr/There were 6 invalidations within a minute; wbcache.invalidation_alert_rate is 5\./, 'detail');
	is($session->stat('stat_invalidation', 'alert'), 't', 'and an alert');
	$session->run(q{SELECT count(wbcache.invalidate_tag('tag' || i)) FROM generate_series(1, 500) i});
	loader_has_looked();
	is(warnings_after($size), 1, 'not another one within the minute');
};

behaviour 'another database has a rate of its own, and 0 turns it off' => sub {
	$session->run('CREATE DATABASE other');
	my $other = install($node, 'other', $upstream);
	is($other->stat('stat_invalidation', 'total, per_minute, alert'), '0|0|f', 'nothing there');
	$node->append_conf('postgresql.conf', 'wbcache.invalidation_alert_rate = 0');
	$node->reload;
	ok(await_value($session, 'SELECT threshold, alert FROM wbcache.stat_invalidation', '0|f'), 'no alert');
};

done_testing();
