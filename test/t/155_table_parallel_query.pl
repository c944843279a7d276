# A query that PostgreSQL runs in parallel may read keys that only the table tier has.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my $node = start_instance('main', conf => "parallel_setup_cost = 0\nparallel_tuple_cost = 0\nmin_parallel_table_scan_size = 0");
my $session = install($node, 'postgres', WbcacheTest::Upstream->start);

$session->run(<<'END');
SELECT wbcache.create_endpoint('page', 'page:{x}', soft_ttl => '1 h');
SELECT wbcache.set('page:' || i, '1') FROM generate_series(0, 9) i;
CREATE TABLE many AS SELECT i FROM generate_series(1, 100000) i;
ANALYZE many;
END
ok(await_value($session, q{SELECT count(*) FROM wbcache.entry}, 10), 'ten rows');
$session->close;
$node->restart;
$session = session($node, 'postgres');

my $query = q{SELECT count(value) FROM (SELECT wbcache.get('page:' || i % 10)::text AS value FROM many WHERE i <= 50 OFFSET 0) v};
like($session->value("EXPLAIN $query"), qr/Parallel Seq Scan/, 'the plan');
is($session->value($query), 50, 'values');

done_testing();
