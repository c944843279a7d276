# Reads of large values.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;
use WbcacheTest;

my $node = start_instance('main');
my $session = session($node, 'postgres');
$session->run(q{CREATE EXTENSION wbcache; SELECT wbcache.create_endpoint('large', 'large:{bytes}', soft_ttl => '1 h');
  SELECT wbcache.set('large:' || n, to_json(repeat('x', n))) FROM unnest('{40000,100000,200000,1000000}'::int[]) n});

# Pages that this process has been given since its start, in all.
sub pages_of
{
	my ($pid) = @_;
	my ($stat) = slurp_file("/proc/$pid/stat") =~ /\) (.*)/;
	return (split / /, $stat)[7];
}

for my $bytes (40000, 100000, 200000, 1000000)
{
	behaviour "$bytes bytes, read again and again, are not read into fresh pages each time" => sub {
		my $reader = session($node, 'postgres');
		my $read = sub { return length($reader->value("SELECT wbcache.get('large:$bytes')")); };
		is($read->(), $bytes + 2, 'the value');
		$read->() for 1 .. 4;
		my $before = pages_of($reader->pid);
		$read->() for 1 .. 50;
		my $pages = (pages_of($reader->pid) - $before) / 50;
		cmp_ok($pages, '<', $bytes / 4096 / 4, "$pages fresh pages a read, of " . int($bytes / 4096) . " that the value has");
	};
}

done_testing();
