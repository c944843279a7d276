# Reads of large answers.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;
use WbcacheTest;

my $node = start_instance('main');
my $session = session($node, 'postgres');
$session->run(q{CREATE EXTENSION wbcache; SELECT wbcache.create_endpoint('large', 'large:{bytes}', soft_ttl => '1 h'),
    wbcache.create_endpoint('small', 'small:{n}', soft_ttl => '1 h');
  SELECT wbcache.set('large:' || n, to_json(repeat('x', n))) FROM unnest('{40000,100000,200000,1000000}'::int[]) n;
  SELECT wbcache.set('small:' || n, to_json(repeat('x', 2998))) FROM generate_series(1, 100) n});

# Pages that this process has been given since its start, in all.
sub pages_of
{
	my ($pid) = @_;
	my ($stat) = slurp_file("/proc/$pid/stat") =~ /\) (.*)/;
	return (split / /, $stat)[7];
}

# A new session reads so many bytes by this again and again.
sub reads_into_old_pages
{
	my ($sql, $bytes) = @_;
	my $reader = session($node, 'postgres');
	my $read = sub { return length($reader->value($sql)); };

	is($read->(), $bytes, 'bytes');
	$read->() for 1 .. 4;
	my $before = pages_of($reader->pid);
	$read->() for 1 .. 50;
	my $pages = (pages_of($reader->pid) - $before) / 50;
	cmp_ok($pages, '<', $bytes / 4096 / 4, "$pages fresh pages a read, of " . int($bytes / 4096) . ' that it returns');
	return;
}

for my $bytes (40000, 100000, 200000, 1000000)
{
	behaviour "a value of $bytes bytes is not read into fresh pages each time" => sub {
		reads_into_old_pages("SELECT wbcache.get('large:$bytes')", $bytes + 2);
	};
}

behaviour 'nor are 100 values at a time' => sub {
	reads_into_old_pages("SELECT value FROM wbcache.get_many(ARRAY(SELECT 'small:' || n FROM generate_series(1, 100) n))", 100 * 3001 - 1);
};

done_testing();
