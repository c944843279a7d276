# A short run of the stress test: no reader who can see a committed change gets an older value, and nothing that is rolled
# back invalidates. The long one is "make stress"; test/stress/stress.h says how it works.

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheTest;

my $source = abs_path(dirname(__FILE__)) . '/../stress';
my $folder = PostgreSQL::Test::Utils::tempdir();
my ($upstream, $node, $session) = start_served('main', conf => 'wbcache.loaders = 4', server => { breaker_failures => 1000000 });

sub output_of
{
	my @command = @_;
	my ($out, $err);

	IPC::Run::run(\@command, '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

my ($status, $out, $err) = output_of('make', '-s', '-C', $folder, '-f', "$source/Makefile", "PG_CONFIG=$ENV{WBC_PG_CONFIG}");
is($status, 0, 'the client is built') or die("$out$err");
$node->psql('postgres', slurp_file("$source/setup.sql"), on_error_die => 1);

($status, $out, $err) = output_of("$folder/stress", '-s', 1, '-n', 24000, '-e', $upstream->port, '-k', $upstream->key,
	$node->connstr('postgres') . ' user=' . $session->value('SELECT current_user'));
note($out);
is($status, 0, 'no violations') or diag($err);

my %count = $out =~ /(\w+)=([\d.]+)/g;
cmp_ok($count{overlaps}, '>', 1000, 'answers that were checked beside a transaction on the same key');
cmp_ok($count{$_}, '>', 100, $_) for qw(commits rollbacks savepoints hits);

$session->close;
done_testing();
