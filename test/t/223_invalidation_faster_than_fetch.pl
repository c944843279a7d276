# A key is invalidated every 100 ms and its fetch takes 1 s: every reader is answered all the same, and there is never more
# than one request at a time.

use strict;
use warnings FATAL => 'all';

use Test::More;
use Time::HiRes qw(time);
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main', upstream => [ '--latency' => 1 ]);
my @readers = map { session($node, 'postgres') } 1 .. 8;

$session->run(<<'END');
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '1 h');
CREATE TABLE stop (at timestamptz);
CREATE TABLE done (n int);
CREATE PROCEDURE invalidate_on() LANGUAGE plpgsql AS $$
DECLARE
  n int := 0;
BEGIN
  WHILE NOT EXISTS (SELECT FROM stop) LOOP
    PERFORM wbcache.invalidate('echo:busy');
    n := n + 1;
    COMMIT;
    PERFORM pg_sleep(0.1);
  END LOOP;
  INSERT INTO done VALUES (n);
END $$;
END
$_->run(q{SET wbcache.max_wait = '30s'}) for @readers;

my $invalidator = session($node, 'postgres');
$invalidator->send('CALL invalidate_on()');
my $started = time();
my @answers;
for my $round (1 .. 3)
{
	$_->begin_ask('echo:busy') for @readers;
	push @answers, map { $_->end_ask } @readers;
}
my $took = time() - $started;
$session->run('INSERT INTO stop VALUES (now())');
$invalidator->receive;

my %status;
$status{ $_->{status} // $_->{sqlstate} }++ for @answers;
is(scalar(grep { defined $_->{value}{n} } @answers), 24, 'answers') or diag(WbcacheTest::encode(\@answers));
is($upstream->control('counts')->{max_in_flight}, 1, 'requests at a time');
my $calls = $upstream->count('/echo/busy');
cmp_ok($calls, '<=', 3 * 3, 'requests: at most three a round, one that is too old, one that answers, and one begun behind it');
cmp_ok($session->value('SELECT n FROM done'), '>', 2 * 3, 'invalidations');
note(sprintf('24 answers in %.1f s (%s), %d requests, %d invalidations', $took,
	join(', ', map { "$status{$_} $_" } sort keys %status), $calls, $session->value('SELECT n FROM done')));

$_->close for $session, $invalidator, @readers;
done_testing();
