# health() and report() answer members of pg_monitor who have no other rights, in READ ONLY transactions, on a standby, and
# where something is missing; nobody else may call them; and check_postgres understands health_status().

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my @functions = qw(health health_status health_cache health_cache_props health_coalescer report);
my ($upstream, $node, $session) = start_served('main', init => { allows_streaming => 1 }, conf => 'wbcache.max_wait = 30s');

$session->run(<<'END');
SELECT wbcache.create_endpoint('odds', 'odds:{x}', 'api', '/echo/odds/{x}', soft_ttl => '1 h');
SELECT wbcache.create_endpoint('an_endpoint_with_a_name_that_is_as_long_as_a_name_can_be_of_63', 'long:{x}', soft_ttl => '1 h');
SELECT wbcache.set('long:1', '1');
SELECT count(wbcache.get('odds:' || i % 4)) FROM generate_series(1, 200) i;
SELECT count(wbcache.get('long:1')) FROM generate_series(1, 50);
CREATE TABLE event (id int PRIMARY KEY, sport text, league text, status text, starts timestamptz);
SELECT wbcache.bind_events('event', 'id', 'sport', 'league', 'status', 'starts');
CREATE ROLE monitor LOGIN;
CREATE ROLE web LOGIN;
GRANT pg_monitor TO monitor;
END
ok(await_value($session, q{SELECT last_result FROM wbcache.task}, 'succeeded'), 'the sidebar is refreshed');

# All of them, as this role; in a READ ONLY transaction. What fails is returned.
sub ask_all
{
	my ($asker, $role) = @_;
	my @errors = map { $asker->error("BEGIN READ ONLY; SET LOCAL ROLE $role; SELECT wbcache.$_(); COMMIT") =~ /^(.*ERROR: .*)$/m ? "$_: $1" : () }
	  @functions;

	push @errors, 'health_reasons: ' . $asker->error("BEGIN READ ONLY; SET LOCAL ROLE $role; SELECT * FROM wbcache.health_reasons; COMMIT")
	  =~ s/\n.*//sr;
	$asker->run('ROLLBACK');
	return join("\n", grep { !/: $/ } @errors);
}

behaviour 'a member of pg_monitor, in a READ ONLY transaction' => sub {
	is(ask_all($session, 'monitor'), '', 'errors');
	is($session->json('SET ROLE monitor; SELECT wbcache.health(); RESET ROLE')->{status}, 'healthy', 'status');
	is($session->value('SELECT wbcache.health_status()'), 0, 'as a number');
};

behaviour 'nobody else' => sub {
	is(() = ask_all($session, 'web') =~ /42501: permission denied/g, scalar(@functions) + 1, 'refused');
};

behaviour 'the fields of the original' => sub {
	my $cache = $session->json('SELECT wbcache.health_cache()');
	my $coalescer = $session->json('SELECT wbcache.health_coalescer()');

	is_deeply([ @$cache{qw(status hits misses stale_serves errors hit_ratio)} ], [ 'healthy', 246, 4, 0, 0, 0.984 ], 'health_cache');
	is($cache->{recent}{hits}, 246, 'lately');
	is_deeply([ @$coalescer{qw(status api_calls_made coalesced_requests max_concurrent_waiters pending_keys)} ], [ 'healthy', 4, 0, 1, 0 ],
		'health_coalescer');
	ok(exists $coalescer->{$_}, $_) for qw(hit_rate_percent avg_wait_time_ms waiters reasons);
};

behaviour 'one screen' => sub {
	my $report = $session->value('SELECT wbcache.report()');
	my @lines = split /\n/, $report;

	note($report);
	cmp_ok(scalar @lines, '<=', 40, 'lines');
	is((grep { length > 100 } @lines), 0, 'lines of more than 100 columns');
	like($lines[0], qr/^wbcache of "postgres" at .*: healthy$/, 'health');
	like($report, qr/^all endpoints +[\d.]+ +98\.4 +0\.0 +1\.6 +0\.0  \#{24}\.$/m, 'reads');
	like($report, qr/^odds +api +4 +[\d.]+ +[\d.]+ +[\d.]+$/m, 'the slowest');
	like($report, qr/^api +closed +0 +4 +0  -$/m, 'servers');
	like($report, qr/^$_ /m, $_) for qw(memory coalescer invalidations sidebar tasks workers);
	like($report, qr/^sidebar +current, refreshed \d+ s ago/m, 'sidebar');
	unlike($report, qr/[^\x20-\x7e\n]/, 'plain characters');
};

behaviour 'a bar' => sub {
	my %bar = ('10, 10, 0, 0, 10' => '##########', '10, 0, 0, 0, 10' => '..........', '10, 5, 2, 1, 10' => '#####==..!',
		'10, 0, 0, 1, 1000' => '.........!', '10, 1000, 0, 1, 1001' => '#########!', '10, 0, 0, 10, 10' => '!!!!!!!!!!');
	is($session->value("SELECT wbcache.report_bar($_)"), $bar{$_}, $_) for sort keys %bar;
};

behaviour 'where the sidebar, its log and all endpoints are gone' => sub {
	$session->run(q{SELECT wbcache.unbind_events('event'); DELETE FROM wbcache.sidebar_refresh_log; SELECT wbcache.stat_reset();
		BEGIN; DELETE FROM wbcache.endpoint; DELETE FROM wbcache.task});
	is($session->error("SELECT wbcache.$_()"), '', $_) for @functions;
	is($session->json('SELECT wbcache.health()')->{status}, 'healthy', 'status');
	$session->run('ROLLBACK; DROP SERVER api CASCADE; DELETE FROM wbcache.endpoint');
	is($session->error("SELECT wbcache.$_()"), '', "$_ without a server") for @functions;
};

behaviour 'a standby' => sub {
	my $standby = PostgreSQL::Test::Cluster->new('standby');

	$session->run(q{SELECT wbcache.bind_events('event', 'id', 'sport', 'league', 'status', 'starts')});
	$node->backup('backup');
	$standby->init_from_backup($node, 'backup', has_streaming => 1);
	$standby->start;
	my $reader = session($standby, 'postgres');
	is($reader->value('SELECT pg_is_in_recovery()'), 't', 'in recovery');
	is(ask_all($reader, 'monitor'), '', 'errors');
	$reader->run(q{SET wbcache.health_sidebar_age = '1ms'});
	ok(await_value($reader, 'SELECT wbcache.health_status()', 0), 'healthy: it can not refresh the sidebar, and need not');
	$reader->close;
	$standby->stop;
};

# check_postgres is a Perl program of a Debian package; here the package's program is used, where it can be found.
SKIP: {
	my ($check) = grep { -x } map { "$_/check_postgres" } split /:/, $ENV{PATH};
	skip 'no check_postgres here', 1 unless $check;

	behaviour 'check_postgres' => sub {
		my $run = sub {
			my ($out, $err);
			IPC::Run::run([ $^X, $check, '--action=custom_query', '--host=' . $node->host, '--port=' . $node->port, '--dbname=postgres',
					'--dbuser=monitor', '--valtype=integer', '--warning=1', '--critical=2', '--query=SELECT wbcache.health_status() AS result' ],
				'>', \$out, '2>', \$err);
			return ($? >> 8) . " $out$err";
		};
		like($run->(), qr/^0 POSTGRES_CUSTOM_QUERY OK/, 'healthy');
		$session->run(q{SELECT count(wbcache.invalidate_tag('x' || i)) FROM generate_series(1, 101) i});
		like($run->(), qr/^1 POSTGRES_CUSTOM_QUERY WARNING/, 'a warning');
		$node->append_conf('postgresql.conf', q{wbcache.databases = ''});
		$node->reload;
		ok(await_value($session, 'SELECT wbcache.health_status()', 2), 'not served');
		like($run->(), qr/^2 POSTGRES_CUSTOM_QUERY CRITICAL/, 'degraded');
	};
}

$session->close;
done_testing();
