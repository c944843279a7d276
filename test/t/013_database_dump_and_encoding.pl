# Endpoints and servers are carried by pg_dump. What databases of other encodings than UTF-8 get and send.

use strict;
use warnings FATAL => 'all';
use utf8;

use Encode qw(encode_utf8);
use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheDump;
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main',
	databases => 'postgres, plain, custom, latin1, ascii',
	server => { rate_limit => '1000/s', max_connections => 4 });

$session->run(<<'END');
CREATE ROLE owner; CREATE ROLE web LOGIN; CREATE ROLE "Odd Role";
GRANT USAGE ON FOREIGN SERVER api TO owner;
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}?{x}', soft_ttl => '1 min 1 s', hard_ttl => '1 day 3 min',
	max_stale => '1 mon', error_ttl => '1500 ms', tags => ARRAY['game:{x}', 'a "quoted", tag'], on_invalidate => 'expire',
	readers => ARRAY['web', '"Odd Role"']::regrole[], writers => ARRAY['web']::regrole[]);
SELECT wbcache.alter_endpoint('echo', owner => 'owner');
SELECT wbcache.create_endpoint('given', 'given:{a}:{b}');
SELECT wbcache.set('given:1:2', '"kept in memory only"');
CREATE USER MAPPING FOR owner SERVER api OPTIONS (header 'X-Api-Key: none');
DROP USER MAPPING FOR owner SERVER api;
END

moves($node, $session, [
		'SELECT * FROM wbcache.endpoint ORDER BY name', 'SELECT srvname, srvoptions FROM pg_foreign_server',
		'SELECT usename, umoptions FROM pg_user_mappings'
	], sub {
		my ($restored, $database, $file) = @_;

		is($restored->ask('echo:moved')->{status}, 'miss', "$database: an endpoint serves");
		is($restored->value(q{SELECT wbcache.get('given:1:2') IS NULL}), 't', "$database: values stay behind");
		$restored->run('SET ROLE web');
		is($restored->value(q{SELECT status FROM wbcache.lookup('echo:moved')}), 'hit', "$database: a reader may read");
		return if $database ne 'plain';
		like(slurp_file($file), qr/X-Api-Key: ${\ $upstream->key}/, 'the header of a user mapping is dumped, as PostgreSQL does');
		unlike(slurp_file($file), qr/kept in memory only/, 'values are not');
	});

behaviour 'a LATIN1 database gets UTF-8 converted' => sub {
	$session->run(q{CREATE DATABASE latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0});
	my $latin = install($node, 'latin1', $upstream);
	$latin->run(q{SET wbcache.max_wait = '30s';
		SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '10 min')});
	is($latin->value('SHOW server_encoding'), 'LATIN1', 'encoding');

	$upstream->behave(path => '/api/v3/echo/body', body => '{"name": "Fußball é"}');
	my $answer = $latin->ask('echo:body');
	is($answer->{value}{name}, 'Fußball é', 'a body that can be converted');
	is($latin->value(q{SELECT octet_length(wbcache.get('echo:body')::text)}), length '{"name": "Fußball é"}', 'is stored converted');

	$upstream->behave(path => '/api/v3/echo/*', body => '{"name": "日本"}');
	$answer = $latin->ask('echo:far');
	is($answer->{sqlstate}, 'WB001', 'a body that can not be converted: SQLSTATE');
	like($answer->{message}, qr/^server "api" sent no usable value: character with byte sequence 0xe6 0x97 0xa5 .* no equivalent/, 'message');
	$latin->run(q{SELECT wbcache.set('echo:good', '{"good": 1}', soft_ttl => '1 us', hard_ttl => '10 min')});
	my $failures = $latin->stat('stat_server', 'failures');
	is($latin->ask('echo:good')->{status}, 'stale', 'a good old value');
	ok(await_value($latin, 'SELECT failures FROM wbcache.stat_server', $failures + 1), 'has its refresh fail');
	is($latin->ask('echo:good')->{value}{good}, 1, 'and stays');
	$upstream->behave(path => '/api/v3/echo/*', body => '{"name": "\u65e5\u672c"}');
	is($latin->value(q{SELECT wbcache.get('echo:escaped')}), '{"name": "\u65e5\u672c"}', 'escapes are kept as they are');
	$upstream->behave(path => '/api/v3/echo/*', invalid_utf8 => 1);
	like($latin->ask('echo:invalid')->{message}, qr/sent no usable value: invalid byte sequence/, 'a body that is not UTF-8');
	$upstream->behave(path => '/api/v3/echo/*', nul => 1);
	like($latin->ask('echo:nul')->{message}, qr/sent no usable value: /, 'a body with a zero byte');
	$upstream->clear;

	$answer = $latin->ask(encode_utf8('echo:é/ß'));
	is_deeply($answer->{value}{segments}, ['é/ß'], 'a key is sent as UTF-8');
	is($answer->{value}{target}, '/api/v3/echo/%C3%A9%2F%C3%9F', 'target');
};

behaviour 'a SQL_ASCII database gets the bytes' => sub {
	$session->run(q{CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0});
	my $ascii = install($node, 'ascii', $upstream);
	$ascii->run(q{SET wbcache.max_wait = '30s';
		SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '10 min')});
	my $answer = $ascii->ask(encode_utf8('echo:é日'));
	is_deeply($answer->{value}{segments}, ['é日'], 'a key is sent as it is');
	$upstream->behave(path => '/api/v3/echo/*', body => '{"name": "日本"}');
	is($ascii->ask('echo:body')->{value}{name}, '日本', 'a body');
	$upstream->clear;
};

done_testing();
