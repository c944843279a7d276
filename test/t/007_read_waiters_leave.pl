# A reader that is cancelled, ended or timed out leaves the flight; the flight and the other readers don't notice.
# A lock on the table of endpoints holds up nobody who has read before.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

# glibc fills freed memory with this, so that its use shows.
$ENV{MALLOC_PERTURB_} = 165;

my ($upstream, $node, $session) = start_served('main', server => { timeout => '60s' });

$session->run(q{SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '10 min')});

sub readers
{
	my ($n) = @_;
	return map { session($node, 'postgres') } 1 .. $n;
}

sub waiters_are
{
	my ($n, $name) = @_;
	return ok(await_value($session, 'SELECT waiters FROM wbcache.stat_coalescer', $n), $name);
}

sub all_is_quiet
{
	return ok(await_value($session, 'SELECT waiters, pending_keys FROM wbcache.stat_coalescer', '0|0'),
		'no waiters and no pending keys are left');
}

behaviour 'of four waiters three leave, each in its own way' => sub {
	my ($cancelled, $ended, $timed_out, $patient) = readers(4);

	$upstream->behave(path => '/api/v3/echo/four', hang => 1);
	$cancelled->begin_ask('echo:four');
	waiters_are(1, 'the one that starts the flight waits');
	$_->begin_ask('echo:four') for $ended, $patient;
	waiters_are(3, 'so do those that join it');
	$timed_out->run(q{SET statement_timeout = '100ms'});
	like($timed_out->begin_ask('echo:four')->end_ask->{psql}, qr/57014: canceling statement due to statement timeout/,
		'statement_timeout');

	$session->run("SELECT pg_cancel_backend(${\ $cancelled->pid })");
	like($cancelled->end_ask->{psql}, qr/57014: canceling statement due to user request/, 'pg_cancel_backend');
	waiters_are(2, 'two are left');
	$session->run("SELECT pg_terminate_backend(${\ $ended->pid })");
	waiters_are(1, 'pg_terminate_backend: one is left');

	is($session->stat('stat_coalescer', 'pending_keys'), 1, 'the flight is under way');
	is($upstream->count('/echo/four'), 1, 'requests');
	$upstream->clear;
	my $answer = $patient->end_ask;
	is($answer->{status}, 'collapsed', 'the last one gets its answer');
	is($answer->{value}{n}, 1, 'of the only request');
	is($cancelled->ask('echo:four')->{status}, 'hit', 'who was cancelled can read again');
	$timed_out->run('RESET statement_timeout');
	is($timed_out->ask('echo:four')->{value}{n}, 1, 'and who was timed out');
	is($upstream->count('/echo/four'), 1, 'requests');
	all_is_quiet();
};

behaviour 'the flight goes on when nobody waits any more' => sub {
	my @readers = readers(3);

	$upstream->behave(path => '/api/v3/echo/nobody', hang => 1);
	$_->begin_ask('echo:nobody') for @readers;
	waiters_are(3, 'all wait');
	$session->run('SELECT pg_cancel_backend(pid) FROM unnest(ARRAY[' . join(',', map { $_->pid } @readers) . ']) pid');
	like($_->end_ask->{psql}, qr/57014/, 'cancelled') for @readers;
	waiters_are(0, 'nobody waits');
	is($session->stat('stat_coalescer', 'pending_keys'), 1, 'the flight is under way');
	$upstream->clear;
	all_is_quiet();
	is($session->ask('echo:nobody')->{status}, 'hit', 'its value is there');
	is($upstream->count('/echo/nobody'), 1, 'requests');
};

behaviour 'a client that vanishes harms nobody' => sub {
	my ($checked, $unchecked, $patient) = readers(3);

	$checked->run(q{SET client_connection_check_interval = '50ms'});
	$upstream->behave(path => '/api/v3/echo/vanish', hang => 1);
	$_->begin_ask('echo:vanish') for $checked, $unchecked, $patient;
	waiters_are(3, 'all wait');
	$_->kill for $checked, $unchecked;
	waiters_are(2, 'the server notices it, where it is told to look');
	$upstream->clear;
	is($patient->end_ask->{value}{n}, 1, 'the last one gets its answer');
	ok(await_value($session, "SELECT count(*) FROM pg_stat_activity WHERE pid = ${\ $unchecked->pid }", 0),
		'and else when the answer comes');
	all_is_quiet();
};

behaviour 'a reader of many keys leaves all its flights' => sub {
	my ($many, $patient) = readers(2);

	$upstream->behave(path => '/api/v3/echo/many*', hang => 1);
	$upstream->behave(path => '/api/v3/echo/many2', latency => 0);
	$many->send(q{SELECT count(value) FROM wbcache.get_many(ARRAY['echo:many1', 'echo:many2', 'echo:many3', 'echo:many4'])});
	ok(await(sub { $upstream->control('counts')->{in_flight} == 3 }), 'three are on their way');
	$patient->begin_ask('echo:many3');
	ok(await_value($session, 'SELECT waiters > 3 FROM wbcache.stat_coalescer', 't'), 'another one wants one of these');
	$session->run("SELECT pg_cancel_backend(${\ $many->pid })");
	like(($many->receive)[1], qr/57014/, 'the first one is cancelled');
	waiters_are(1, 'and has left all of them');
	$upstream->clear;
	is($patient->end_ask->{value}{n}, 1, 'the other one gets its answer');
	all_is_quiet();
};

behaviour 'a reader that gives up inside a transaction can go on' => sub {
	$upstream->behave(path => '/api/v3/echo/inside', hang => 1);
	my ($reader) = readers(1);
	is($reader->value(<<'END'), "WB003\n2", 'the error is caught, and the transaction committed');
SET wbcache.max_wait = '50ms';
CREATE TABLE test.inside (x int);
BEGIN;
INSERT INTO test.inside VALUES (1);
SELECT test.ask('echo:inside') ->> 'sqlstate';
INSERT INTO test.inside VALUES (2);
COMMIT;
SELECT count(*) FROM test.inside;
END
	$upstream->clear;
	all_is_quiet();
};

behaviour 'reads are counted as errors when they end so' => sub {
	my ($errors) = $session->stat('stat_endpoint', 'errors', q{endpoint = 'echo'});
	my ($reader) = readers(1);
	$upstream->behave(path => '/api/v3/echo/counted', hang => 1);
	$reader->run(q{SET statement_timeout = '50ms'});
	$reader->begin_ask('echo:counted')->end_ask;
	is($session->stat('stat_endpoint', 'errors', q{endpoint = 'echo'}), $errors + 1, 'errors');
	$upstream->clear;
	all_is_quiet();
};

behaviour 'a lock on the table of endpoints holds up no session that has read before' => sub {
	my ($locker, $new, $hasty) = readers(3);

	$session->ask('echo:hot');
	$locker->run('BEGIN; LOCK TABLE wbcache.endpoint IN ACCESS EXCLUSIVE MODE');
	my $answer = $session->ask('echo:hot');
	is($answer->{status}, 'hit', 'a hot key');
	cmp_ok($answer->{took}, '<', 1000, 'at once');
	is($session->ask('echo:cold')->{status}, 'miss', 'a cold key');

	$new->run(q{SET wbcache.max_wait = '400ms'});
	$answer = $new->ask('echo:hot');
	is($answer->{sqlstate}, '55P03', 'a session that has not: SQLSTATE');
	cmp_ok($answer->{took}, '>=', 390, 'it waits up to max_wait');
	cmp_ok($answer->{took}, '<', 2000, 'and not much longer');
	is($new->value('SHOW lock_timeout'), '0', 'its own lock_timeout is as it was');
	$hasty->run(q{SET lock_timeout = '50ms'});
	$answer = $hasty->ask('echo:hot');
	is($answer->{sqlstate}, '55P03', 'with a shorter lock_timeout: SQLSTATE');
	cmp_ok($answer->{took}, '<', 390, 'it waits for that time only') or diag(explain($answer));
	is($hasty->value('SHOW lock_timeout'), '50ms', 'which is as it was');

	$new->run('RESET wbcache.max_wait');
	$new->begin_ask('echo:hot');
	ok(await_value($session, q{SELECT count(*) FROM pg_locks WHERE relation = 'wbcache.endpoint'::regclass AND NOT granted}, 1),
		'the new session waits for the lock');
	$locker->run('COMMIT');
	is($new->end_ask->{status}, 'hit', 'and is served when it is given up');
};

behaviour 'a change of endpoints that is not committed yet holds up nobody' => sub {
	my ($writer, $new) = readers(2);

	$writer->run(q{BEGIN; SELECT wbcache.create_endpoint('other', 'other:{x}', 'api', '/echo/other/{x}');
		SELECT wbcache.alter_endpoint('echo', soft_ttl => '1 min')});
	is($session->ask('echo:hot')->{status}, 'hit', 'a hot key');
	is($new->ask('echo:hot')->{status}, 'hit', 'for a new session too');
	is($session->ask('echo:cold2')->{status}, 'miss', 'a cold key');
	is($session->ask('other:1')->{sqlstate}, '42704', 'nobody sees the new endpoint');
	$writer->run('COMMIT');
	is($session->ask('other:1')->{status}, 'miss', 'before it is committed');
	is($session->ask('echo:hot')->{status}, 'miss', 'and with that the altered one has lost its values');
};

behaviour 'endpoints may change in the middle of get_many' => sub {
	my ($reader, $writer) = readers(2);

	$session->ask('echo:hot');
	$session->run(q{SELECT wbcache.create_endpoint('changing', 'changing:{x}')});
	$reader->send(q{SELECT count(value), count(*), count(error) FROM generate_series(1, 20) turn, wbcache.get_many(
		ARRAY['echo:middle' || turn] || array_fill('echo:hot'::text, ARRAY[20000]))});
	$writer->run(q{SELECT wbcache.alter_endpoint('changing', soft_ttl => '1 min')}) for 1 .. 50;
	my ($out, $err) = $reader->receive;
	is($out, '400020|400020|0', 'values, rows, errors') or diag($err);
};

done_testing();
