# The server log: a failed fetch or load is a line with its key, endpoint, server and cause, but not a thousand lines; so is a
# breaker that opens; a success only where somebody wants it. Nothing secret is in it.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main',
	server => { breaker_failures => 3, breaker_cooldown => '1ms', timeout => '60s' },
	conf => 'wbcache.loaders = 1');
my $secret = $upstream->key;

$session->run(<<'END');
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', error_ttl => '0 s');
SELECT wbcache.create_endpoint('other', 'other:{x}', 'api', '/other/{x}', error_ttl => '0 s');
CREATE FUNCTION test.fail(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
  IF parts[2] = 'good' THEN
    RETURN '1';
  END IF;
  RAISE EXCEPTION 'no data for %', parts[2] USING DETAIL = 'The table is empty.';
END $$;
SELECT wbcache.create_endpoint('loaded', 'loaded:{x}', loader => 'test.fail(text[])', error_ttl => '0 s');
END

# What the log says since then, when it has come to say that.
sub log_with
{
	my ($since, $pattern) = @_;
	my $log;

	await(sub { ($log = log_since($node, $since)) =~ $pattern }) or diag("no $pattern in:\n$log");
	return $log;
}

behaviour 'a failed fetch' => sub {
	my $since = log_size($node);

	$upstream->behave(path => '/api/v3/echo/*', status => 404);
	is($session->ask('echo:k1')->{sqlstate}, 'WB001', 'it fails');
	my $log = log_with($since, qr/LOG:  refresh of "echo:k1" failed/);
	like($log, qr/LOG:  refresh of "echo:k1" failed: server "api" answered with HTTP status 404\n.*DETAIL:  Endpoint "echo", server "api"\.\n/, 'key, cause, endpoint, server');
};

behaviour 'a hundred failures are one line, and those of other endpoints lines of their own' => sub {
	my $since = log_size($node);

	$session->ask("echo:many$_") for 1 .. 100;
	$upstream->behave(path => '/api/v3/other/*', status => 403);
	$session->ask("other:k$_") for 1 .. 10;
	my $log = log_with($since, qr/refresh of "other:k\d+" failed/);
	cmp_ok(() = $log =~ /refresh of "echo:/g, '<=', 5, 'lines about one endpoint');
	my $others = () = $log =~ /refresh of "other:/g;
	ok($others >= 1 && $others <= 5, 'lines about the other');
};

behaviour 'the next line says how many were passed over' => sub {
	my $since = log_size($node);
	my $log = '';

	ok(await(sub {
			$session->ask('echo:late');
			($log = log_since($node, $since)) =~ /refresh of "echo:late" failed/;
		}), 'there is one');
	like($log, qr/refresh of "echo:late" failed: .*\n.*DETAIL:  Endpoint "echo", server "api"\. \d+ more failures of this endpoint were not logged since the last line\.\n/, 'their number');
};

behaviour 'a failed load' => sub {
	my $since = log_size($node);

	is($session->ask('loaded:bad')->{sqlstate}, 'P0001', 'it fails');
	my $log = log_with($since, qr/refresh of "loaded:bad" failed/);
	like($log, qr/LOG:  refresh of "loaded:bad" failed: no data for bad\n.*DETAIL:  Endpoint "loaded", loader\. The table is empty\.\n/, 'key, cause, endpoint');
};

behaviour 'a breaker that opens, and closes' => sub {
	my $since = log_size($node);

	$upstream->behave(path => '/api/v3/echo/*', status => 500);
	$session->ask('echo:trip') for 1 .. 3;
	my $log = log_with($since, qr/is open/);
	like($log, qr/LOG:  circuit breaker of server "api" is open\n.*DETAIL:  3 requests in a row have failed, the last one with: server "api" answered with HTTP status 500.*\n.*CONTEXT:  fetch of "echo:trip" of endpoint "echo"\n/,
		'server, cause, key, endpoint');
	$upstream->clear;
	$session->ask_until('echo:trip', 'miss');
	log_with($since, qr/LOG:  circuit breaker of server "api" is closed again\n/);
	ok(log_count($node, qr/is closed again/, $since), 'closed');
};

behaviour 'success at DEBUG1 only' => sub {
	my $since = log_size($node);

	is($session->ask('echo:good')->{status}, 'miss', 'a fetch');
	is($session->ask('loaded:good')->{status}, 'miss', 'a load');
	$node->append_conf('postgresql.conf', 'log_min_messages = debug1');
	$node->reload;
	ok(await(sub { log_count($node, qr/parameter "log_min_messages" changed/, $since) }), 'reloaded');
	my $n = 0;
	ok(await(sub { $session->ask('echo:better' . $n++); log_count($node, qr/refresh of "echo:better\d+" succeeded/, $since) }), 'a fetch');
	ok(await(sub { $session->run(q{SELECT wbcache.invalidate('loaded:good')}); $session->ask('loaded:good'); log_count($node, qr/refresh of "loaded:good" succeeded/, $since) }), 'a load');
	my $log = log_since($node, $since);
	like($log, qr/DEBUG:  refresh of "echo:better\d+" succeeded after [\d.]+ ms\n.*DETAIL:  Endpoint "echo", server "api"\.\n/, 'key, time, endpoint, server');
	unlike($log, qr/refresh of "echo:good"/, 'none before');
};

behaviour 'nothing secret is in the log' => sub {
	my $since = log_size($node);

	# at the most talkative level, with failures that describe what was asked for, and what came
	$node->append_conf('postgresql.conf', 'log_min_messages = debug5');
	$node->reload;
	ok(await(sub { log_count($node, qr/parameter "log_min_messages" changed/, $since) }), 'reloaded');
	$session->run(q{SELECT wbcache.create_endpoint('moved', 'moved:{x}', 'api', '/moved/{x}?of={x}', error_ttl => '0 s')});
	$session->run(q{SELECT wbcache.create_endpoint('garbled', 'garbled:{x}', 'api', '/garbled/{x}', error_ttl => '0 s')});
	$upstream->behave(path => '/api/v3/moved/*', redirect => 'http://127.0.0.1:1/elsewhere?token=hidden-in-url');
	$upstream->behave(path => '/api/v3/garbled/*', body => '{"hidden-in-body"');
	is($session->ask('moved:k1')->{sqlstate}, 'WB001', 'a redirect');
	is($session->ask('garbled:k1')->{sqlstate}, 'WB001', 'no JSON');
	log_with($since, qr/refresh of "moved:k1" failed: .*redirects/);
	log_with($since, qr/refresh of "garbled:k1" failed/);
	my $log = log_since($node, 0);
	unlike($log, qr/\Q$secret\E/, 'not the header of the user mapping');
	unlike($log, qr/hidden-in-url/, 'not what a URL may hold');
	unlike($log, qr/hidden-in-body/, 'not what came');
};

$session->close;
done_testing();
