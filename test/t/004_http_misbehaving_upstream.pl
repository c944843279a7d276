# Whatever an upstream answers: the error says what it was, a good old value stays, and no secret gets out.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main',
	conf => "wbcache.max_value_size = 1MB\nlog_min_messages = debug2",
	server => { timeout => '1s', breaker_failures => 1000000 });
my $wrong_key = 'another-secret-' . int(rand(1e9));
my $closed_port = PostgreSQL::Test::Cluster::get_free_port();
my $seen = '';
my $n = 0;

$session->run(<<"END");
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '10 min');
SELECT wbcache.create_endpoint('blob', 'blob:{size}:{seed}', 'api', '/blob?size={size}&seed={seed}', soft_ttl => '10 min');
CREATE SERVER wrong_key FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url '${\ $upstream->base_url}');
CREATE USER MAPPING FOR PUBLIC SERVER wrong_key OPTIONS (header 'X-Api-Key: $wrong_key');
SELECT wbcache.create_endpoint('wrong', 'wrong:{x}', 'wrong_key', '/echo/{x}', soft_ttl => '10 min');
CREATE SERVER closed FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://127.0.0.1:$closed_port/api');
CREATE USER MAPPING FOR PUBLIC SERVER closed OPTIONS (header 'X-Api-Key: $wrong_key');
SELECT wbcache.create_endpoint('closed', 'closed:{x}', 'closed', '/echo/{x}', soft_ttl => '10 min');
END

# Asks, and keeps what was said for the search for secrets.
sub ask
{
	my $answer = $session->ask($_[0]);
	$seen .= WbcacheTest::encode($answer);
	return $answer;
}

# A cold key fails like that; a stale value is kept. Expected: sqlstate, message, detail, hint as patterns.
sub fails
{
	my ($name, $server, $pattern, %expected) = @_;

	behaviour $name => sub {
		my ($cold, $stale) = map { sprintf($pattern, $_ . ++$n) } qw(cold stale);
		my $answer = ask($cold);
		is($answer->{sqlstate}, $expected{sqlstate} || 'WB001', 'SQLSTATE');
		like($answer->{message}, $expected{message}, 'message');
		like($answer->{detail}, $expected{detail} || qr/^$/, 'detail');
		like($answer->{hint}, $expected{hint} || qr/^$/, 'hint');
		like($session->stat('stat_server', 'last_error', "server = '$server'"), $expected{message}, 'last error of the server');

		my $failures = $session->stat('stat_server', 'failures', "server = '$server'");
		$session->run("SELECT wbcache.set('$stale', '{\"good\": 1}', soft_ttl => '1 us', hard_ttl => '10 min')");
		is(ask($stale)->{status}, 'stale', 'a good old value is served');
		ok(await_value($session, "SELECT failures FROM wbcache.stat_server WHERE server = '$server'", $failures + 1),
			'its refresh fails');
		$answer = ask($stale);
		is_deeply([ @$answer{qw(status value)} ], [ 'stale', { good => 1 } ], 'it is still served');
		$seen .= $session->value('SELECT string_agg(s::text, $$ $$) FROM wbcache.stat_server s');
	};
	return;
}

# The same, with the upstream told to behave so.
sub fails_when
{
	my ($name, $behaviour, %expected) = @_;

	$upstream->behave(%$behaviour);
	fails($name, 'api', 'echo:%s', %expected);
	$upstream->clear;
	return;
}

fails_when('status 500', { status => 500 }, message => qr/^server "api" answered with HTTP status 500$/);
fails_when('status 503 with Retry-After of 0', { status => 503, retry_after => 0 },
	message => qr/^server "api" answered with HTTP status 503$/, detail => qr/^It asks to be tried again in 0 s\.$/);
fails_when('status 404', { status => 404 }, message => qr/^server "api" answered with HTTP status 404$/,
	hint => qr/^Check the key, the endpoint's path and the server's base_url\.$/);
fails_when('status 204', { status => 204 }, message => qr/^server "api" answered with HTTP status 204$/);
fails('status 401, for a wrong key', 'wrong_key', 'wrong:%s', message => qr/^server "wrong_key" answered with HTTP status 401$/,
	hint => qr/^Check the header options of the server's user mapping\.$/);
fails('nobody listens', 'closed', 'closed:%s', message => qr/^server "closed" can't be reached$/,
	detail => qr/^http:\/\/127\.0\.0\.1:$closed_port: .*connect/i, hint => qr/base_url and the network/);
fails_when('reset', { reset => 1 }, message => qr/^server "api" can't be reached$/,
	detail => qr/^http:\/\/127\.0\.0\.1:${\ $upstream->port}: ./, hint => qr/base_url and the network/);
fails_when('reset in the middle of the body', { reset_mid_body => 1 }, message => qr/^server "api" can't be reached$/,
	detail => qr/^http:\/\/127\.0\.0\.1:/, hint => qr/base_url and the network/);
fails_when('the end in the middle of the body', { truncate => 1 }, message => qr/^server "api" can't be reached$/,
	detail => qr/^http:\/\/127\.0\.0\.1:/, hint => qr/base_url and the network/);
fails_when('too large a body', { oversize => 1048577 }, sqlstate => '54000',
	message => qr/^server "api" sent a body that is too large$/, detail => qr/^The limit is 1048576 bytes\.$/,
	hint => qr/wbcache\.max_value_size/);
fails_when('too large a body of unknown length', { oversize => 1048577, chunked => 1 }, sqlstate => '54000',
	message => qr/^server "api" sent a body that is too large$/, detail => qr/1048576/, hint => qr/max_value_size/);
fails_when('too large a body, small while compressed', { oversize => 4_000_000, gzip => 1 }, sqlstate => '54000',
	message => qr/^server "api" sent a body that is too large$/, detail => qr/1048576/, hint => qr/max_value_size/);
fails_when('broken JSON', { broken_json => 1 },
	message => qr/^server "api" sent no usable value: the body is not valid JSON$/);
fails_when('JSON with something behind it', { body => '{"a": 1} x' },
	message => qr/^server "api" sent no usable value: the body is not valid JSON$/);
fails_when('nesting without end', { body => '[' x 200_000 },
	message => qr/^server "api" sent no usable value: stack depth limit exceeded$/);
fails_when('invalid UTF-8', { invalid_utf8 => 1 },
	message => qr/^server "api" sent no usable value: the body is not valid in the database's encoding$/);
fails_when('a zero byte', { nul => 1 }, message => qr/^server "api" sent no usable value: the body contains a zero byte$/);
fails_when('an empty body', { empty => 1 }, message => qr/^server "api" sent no usable value: the body is empty$/);
fails_when('no answer in time', { hang => 1 }, message => qr/^server "api" did not answer in time$/,
	detail => qr/^http:\/\/127\.0\.0\.1:${\ $upstream->port}: /, hint => qr/timeout option \(now 1000 ms\)/);
fails_when('a body that takes too long', { slow_body => 30 }, message => qr/^server "api" did not answer in time$/,
	detail => qr/^http:\/\/127\.0\.0\.1:/, hint => qr/timeout option/);

behaviour 'a redirect is not followed, and the secret stays here' => sub {
	my $other = WbcacheTest::Upstream->start;
	my $target = $other->base_url . '/echo/elsewhere?token=not-to-be-shown';

	for my $status (301, 302, 303, 307, 308)
	{
		for my $follow ('false', 'true')
		{
			$session->run("ALTER SERVER api OPTIONS (ADD follow_redirects '$follow')");
			$upstream->behave(path => "/api/v3/echo/away$status", status => $status, redirect => $target);
			my $answer = ask("echo:away$status");
			is($answer->{sqlstate}, 'WB001', "$status with follow_redirects $follow: SQLSTATE");
			is($answer->{message}, qq(server "api" redirects (HTTP status $status), which is not followed), 'message');
			like($answer->{detail}, qr/a redirect to http:\/\/127\.0\.0\.1:${\ $other->port} that is not followed$/, 'detail');
			$session->run("ALTER SERVER api OPTIONS (DROP follow_redirects)");
			$session->run(qq(SELECT wbcache.delete('echo:away$status')));
		}
	}
	is($other->total, 0, 'requests that the other server has seen');
	unlike($seen, qr/not-to-be-shown/, 'the query of the target is not shown');

	$upstream->behave(path => '/api/v3/echo/file', redirect => 'file:///etc/passwd');
	$session->run("ALTER SERVER api OPTIONS (ADD follow_redirects 'true')");
	is(ask('echo:file')->{sqlstate}, 'WB001', 'a redirect to a file');
	$upstream->behave(path => '/api/v3/echo/loop', redirect => '/api/v3/echo/loop');
	my $answer = ask('echo:loop');
	is($answer->{sqlstate}, 'WB001', 'a redirect to itself');
	like($answer->{detail}, qr/more than 5 redirects/, 'detail');
	is($upstream->count('/echo/loop'), 6, 'requests');
	$upstream->behave(path => '/api/v3/echo/near', redirect => '/api/v3/echo/here');
	is(ask('echo:near')->{value}{target}, '/api/v3/echo/here', 'one within the server is followed, if that is allowed');
	$session->run("ALTER SERVER api OPTIONS (DROP follow_redirects)");
	$upstream->clear;
};

behaviour 'an unusual answer may be a good one' => sub {
	my $plain = ask('blob:3000:1')->{value};
	$upstream->behave(path => '/api/v3/blob*', gzip => 1);
	is_deeply(ask('blob:3000:1')->{value}, $plain, 'a value');
	is(length ask('blob:3000:2')->{value}{blob}, 3000 - 12, 'compressed');
	$upstream->behave(path => '/api/v3/blob*', chunked => 1);
	is(length ask('blob:3000:3')->{value}{blob}, 3000 - 12, 'of unknown length');
	$upstream->behave(path => '/api/v3/blob*', slow_body => 0.3);
	is(length ask('blob:3000:4')->{value}{blob}, 3000 - 12, 'slow, but in time');
	$upstream->behave(path => '/api/v3/blob*', close => 1);
	is(length ask('blob:3000:5')->{value}{blob}, 3000 - 12, 'with the end of the connection');
	$upstream->behave(path => '/api/v3/blob*', content_type => 'text/html; charset=iso-8859-1');
	is(length ask('blob:3000:6')->{value}{blob}, 3000 - 12, 'called something else');
	$upstream->clear;
	is(length ask('blob:1048576:1')->{value}{blob}, 1048576 - 12, 'of the largest size allowed');
	is(ask('blob:1048577:1')->{sqlstate}, '54000', 'and not of one byte more');
	$upstream->behave(path => '/api/v3/echo/*', body => ' null ');
	is($session->value(q{SELECT wbcache.get('echo:null') IS NULL, wbcache.get('echo:null')}), 'f| null ',
		'a JSON null is a value, and kept to the letter');
	$upstream->clear;
};

behaviour 'a host is found by its name' => sub {
	$session->run("ALTER SERVER closed OPTIONS (SET base_url 'http://localhost:${\ $upstream->port}/api/v3')");
	$session->run("ALTER USER MAPPING FOR PUBLIC SERVER closed OPTIONS (SET header 'X-Api-Key: ${\ $upstream->key}')");
	my $answer = ask('closed:named');
	is($answer->{status}, 'miss', 'status') or diag(explain($answer));
	like($answer->{value}{headers}{host}, qr/^localhost:/, 'host');
};

behaviour 'https: the certificate must be one that somebody vouches for, and of that host' => sub {
	my $folder = PostgreSQL::Test::Utils::tempdir();
	my ($cert, $key) = ("$folder/cert.pem", "$folder/key.pem");
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
			'-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', $key, '-out', $cert ],
		'>', \$out, '2>', \$err)
	  or die $err;
	my $secure = WbcacheTest::Upstream->start('--tls-cert' => $cert, '--tls-key' => $key);
	$session->run(<<"END");
CREATE SERVER secure FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'https://127.0.0.1:${\ $secure->port}/api/v3');
CREATE USER MAPPING FOR PUBLIC SERVER secure OPTIONS (header 'X-Api-Key: ${\ $secure->key}');
SELECT wbcache.create_endpoint('secure', 'secure:{x}', 'secure', '/echo/{x}', error_ttl => '0 s');
END
	my $answer = ask('secure:1');
	is($answer->{message}, 'server "secure" can\'t be reached', 'a certificate that nobody vouches for: message');
	like($answer->{detail}, qr/^https:\/\/127\.0\.0\.1:\d+: .*certificate/i, 'detail');
	$session->run("ALTER SERVER secure OPTIONS (ADD ca_file '$cert')");
	is(ask('secure:1')->{value}{n}, 1, 'with ca_file it is trusted, and this is the first request that got through');
	$session->run("ALTER SERVER secure OPTIONS (SET base_url 'https://localhost:${\ $secure->port}/api/v3')");
	like(ask('secure:2')->{detail}, qr/^https:\/\/localhost:\d+: .*(certificate|host)/i, 'but not under another name');
	$session->run("ALTER SERVER secure OPTIONS (SET base_url 'http://127.0.0.1:${\ $secure->port}/api/v3')");
	is(ask('secure:3')->{sqlstate}, 'WB001', 'nor without TLS');
};

behaviour 'no secret is shown anywhere' => sub {
	$session->run("SET client_min_messages = debug1");
	$seen .= $session->error('SELECT wbcache.get($$echo:secret$$); SELECT wbcache.get($$wrong:secret$$)');
	$session->run('CREATE ROLE monitor LOGIN; GRANT pg_monitor TO monitor; CREATE ROLE nobody LOGIN');
	for my $role ('monitor', 'nobody')
	{
		$seen .= join(' ', $session->send(<<"END")->receive);
SET ROLE $role;
SELECT s::text FROM wbcache.stat_server s;
SELECT s::text FROM wbcache.stat_endpoint s;
SELECT s::text FROM wbcache.stat_worker s;
SELECT s::text FROM pg_stat_activity s;
SELECT s::text FROM pg_foreign_server s;
SELECT s::text FROM pg_user_mappings s;
RESET ROLE;
END
	}
	like($seen, qr/base_url=http/, 'what the roles see was looked at');
	for my $text ($seen, log_since($node, 0))
	{
		unlike($text, qr/\Q${\ $upstream->key}\E/, 'the right key');
		unlike($text, qr/\Q$wrong_key\E/, 'the wrong key');
	}
};

behaviour 'the fetcher has survived all of this' => sub {
	is($session->stat('stat_worker', 'starts', q{kind = 'fetcher'}), 1, 'starts');
	is($session->value('SELECT waiters, pending_keys FROM wbcache.stat_coalescer'), '0|0', 'waiters, pending keys');
};

done_testing();
