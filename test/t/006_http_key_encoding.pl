# What a key holds arrives at the upstream as it is, as data: it never changes host, path or query.

use strict;
use warnings FATAL => 'all';
use utf8;

use Encode qw(encode_utf8);
use Test::More;
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main');
my $host = '127.0.0.1:' . $upstream->port;

$session->run(<<'END');
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}?q={x}&fixed=1');
SELECT wbcache.create_endpoint('two', 'two:{a}:{b}', 'api', '/echo/{a}/between/{b}-{a}');
END

# RFC 3986: unreserved characters as they are, all others encoded; a lone . or .. too.
sub encoded
{
	my ($text) = @_;
	my $bytes = encode_utf8($text);

	return '%2E' x length $bytes if $bytes =~ /^\.{1,2}$/;
	return $bytes =~ s/([^A-Za-z0-9._~-])/sprintf('%%%02X', ord $1)/ger;
}

for my $segment ('plain', 'a b', ' ', '.', '..', '...', '../secret', '../../../etc/passwd', './x', 'a/b', '/', '//', '//evil.example',
	'/../', 'a?b=c', '?', 'a#b', '#', 'a&b=c', '&fixed=2', 'a=b', 'a+b', 'a;b', 'a@b', 'user@evil.example', 'a%b', '%', '%2e%2e',
	'%2F', '%00', '%25', q{it's}, q{"quoted"}, '`', '\\', '\\..\\', '{x}', '{', '}', '$x', 'a,b', '(a)', '[a]', '<a>', '|', '^',
	'!*', '~a-b_c.d', 'é', 'ß', '日本', '🏈', "e\x{301}", "\x{202e}", "\x{feff}", "\x{a0}", 'http', '' . ('x' x 507))
{
	my $name = length $segment > 40 ? 'of ' . length($segment) . ' bytes' : encoded($segment);

	behaviour "segment $name" => sub {
		my $answer = $session->ask(encode_utf8("echo:$segment"));
		my $value = $answer->{value} or return fail('an answer') || diag(explain($answer));
		is_deeply($value->{segments}, [$segment], 'the path has one segment, which is the text');
		is_deeply($value->{query}, { q => $segment, fixed => '1' }, 'the query has the text');
		is($value->{target}, '/api/v3/echo/' . encoded($segment) . '?q=' . encoded($segment) . '&fixed=1', 'target as sent');
		is($value->{headers}{host}, $host, 'host');
	};
}

behaviour 'two segments stay apart' => sub {
	my $value = $session->ask('two:../a:b/..')->{value};
	is_deeply($value->{segments}, [ '../a', 'between', 'b/..-../a' ], 'segments');
	is_deeply($session->ask('two:..:..')->{value}{segments}, [ '..', 'between', '..-..' ], 'segments of dots');
};

behaviour 'keys that look alike are different' => sub {
	my %seen = map { $session->ask(encode_utf8("echo:$_"))->{value}{target} => 1 } ('é', "e\x{301}", 'e', 'E', 'a b', 'a%20b', 'a+b');
	is(scalar keys %seen, 7, 'targets');
};

behaviour 'a key with control characters is refused' => sub {
	for my $code ('\n', '\r', '\t', '\x01', '\x7f')
	{
		like($session->error("SELECT wbcache.get(E'echo:a${code}b')"), qr/ERROR:  22023: key contains a control character/,
			"E'$code'");
	}
	is($session->value(q{SELECT count(*) FROM wbcache.get_many(ARRAY[]::text[])}), 0, 'the session goes on');
};

done_testing();
