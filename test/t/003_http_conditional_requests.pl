# What was fetched before is asked for by condition, and a 304 makes it fresh again.

use strict;
use warnings FATAL => 'all';

use Test::More;
use Time::HiRes qw(usleep);
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main');

$session->run(<<'END');
SELECT wbcache.create_endpoint('blob', 'blob:{x}', 'api', '/blob?size=100&seed={x}',
	soft_ttl => '300 ms', hard_ttl => '10 min', on_invalidate => 'expire');
SELECT wbcache.create_endpoint('markets', 'markets:{x}', 'api', '/markets/active?fixture_id={x}',
	soft_ttl => '300 ms', hard_ttl => '10 min');
SELECT wbcache.create_endpoint('short', 'short:{x}', 'api', '/blob?size=101&seed={x}',
	soft_ttl => '200 ms', hard_ttl => '200 ms');
END

# Reads a key until its refresh has come in: the answer after that. ttl is within the soft TTL by then.
sub refresh
{
	my ($key) = @_;

	$session->ask_until($key, 'stale');
	return $session->ask_until($key, 'hit');
}

sub requests
{
	return map { [ $_->{result}, defined $_->{if_none_match} ? 1 : 0 ] } $upstream->log($_[0]);
}

behaviour 'a 304 to an ETag makes the old value fresh again' => sub {
	my $first = $session->ask('blob:etag');
	my $again = refresh('blob:etag');
	is_deeply([ requests('/blob?size=100&seed=etag') ], [ [ 200, 0 ], [ 304, 1 ] ], 'status of each request, condition');
	is_deeply($again->{value}, $first->{value}, 'the value is the old one');
	ok($again->{cached_at} > $first->{cached_at} + 0.3, 'but dated anew');
	is($session->stat('stat_server', 'successes, not_modified, failures'), '1|1|0', 'counters of the server');
	is($session->stat('stat_endpoint', 'refresh_successes', q{endpoint = 'blob'}), 2, 'and of the endpoint');

	refresh('blob:etag');
	is_deeply([ requests('/blob?size=100&seed=etag') ], [ [ 200, 0 ], [ 304, 1 ], [ 304, 1 ] ],
		'and the ETag is kept for the next time');
};

behaviour 'a value that has changed replaces the old one' => sub {
	my $first = $session->ask('blob:changed');
	$upstream->behave(path => '/api/v3/blob?size=100&seed=changed', volatile => 1);
	my $again = refresh('blob:changed');
	is_deeply([ requests('/blob?size=100&seed=changed') ], [ [ 200, 0 ], [ 200, 1 ] ], 'status of each request, condition');
	isnt($again->{value}{blob}, $first->{value}{blob}, 'the value is a new one');
	$upstream->clear;
};

behaviour 'a 304 to Last-Modified does the same' => sub {
	$upstream->behave(path => '/api/v3/markets/active*', no_etag => 1);
	my $first = $session->ask('markets:nfl-kc-buf');
	my $again = refresh('markets:nfl-kc-buf');
	is_deeply([ requests('/markets/active?fixture_id=nfl-kc-buf') ], [ [ 200, 0 ], [ 304, 0 ] ],
		'status of each request; there was no ETag');
	ok(@{ $first->{value}{data} } > 0, 'there was a value');
	is_deeply($again->{value}, $first->{value}, 'it is the old one');
	ok($again->{cached_at} > $first->{cached_at} + 0.3, 'but dated anew');
	$upstream->clear;
};

behaviour 'a value past its hard TTL is still good for a condition' => sub {
	my $first = $session->ask('short:1');
	usleep(250_000);
	my $again = $session->ask('short:1');
	is($again->{status}, 'miss', 'the reader waits');
	is_deeply([ requests('/blob?size=101&seed=1') ], [ [ 200, 0 ], [ 304, 1 ] ], 'status of each request, condition');
	is_deeply($again->{value}, $first->{value}, 'and gets the value that was there');
};

behaviour 'so is one that was invalidated' => sub {
	my $first = $session->ask('blob:invalid');
	$session->run(q{SELECT wbcache.invalidate('blob:invalid')});
	my $stale = $session->ask('blob:invalid');
	is($stale->{status}, 'stale', 'it is served as stale');
	cmp_ok($stale->{ttl}, '<=', 0, 'with no time left');
	my $again = $session->ask_until('blob:invalid', 'hit');
	is_deeply([ requests('/blob?size=100&seed=invalid') ], [ [ 200, 0 ], [ 304, 1 ] ], 'status of each request, condition');
	is_deeply($again->{value}, $first->{value}, 'the value is the old one');
};

behaviour 'one that came from another URL is not' => sub {
	$session->ask('short:moved');
	$session->run(q{SELECT wbcache.alter_endpoint('short', path => '/blob?size=102&seed={x}', hard_ttl => '10 min')});
	is($session->ask('short:moved')->{status}, 'miss', 'the reader waits');
	is_deeply([ requests('/blob?size=102&seed=moved') ], [ [ 200, 0 ] ], 'status of each request, condition');
};

behaviour 'a 304 that nobody asked for is a failure' => sub {
	$upstream->behave(path => '/api/v3/blob?size=100&seed=odd', status => 304);
	my $answer = $session->ask('blob:odd');
	is($answer->{sqlstate}, 'WB001', 'SQLSTATE');
	is($answer->{message}, 'server "api" answered with HTTP status 304', 'message');
	$upstream->clear;
};

behaviour 'requests that follow one another share a connection' => sub {
	$upstream->reset;
	$session->ask("blob:row$_") for 1 .. 10;
	is_deeply([ @{ $upstream->control('counts') }{qw(total connections)} ], [ 10, 0 ], 'requests, new connections');
};

done_testing();
