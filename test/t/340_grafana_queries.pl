# The dashboard for Grafana: its panels stand side by side, and each of its queries, like those of the README, gives numbers
# in the real Prometheus over the real exporter.

use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;
use WbcachePrometheus;
use WbcacheTest;

my $top = dirname(__FILE__) . '/../..';
my $dashboard = $WbcacheTest::JSON->decode(slurp_file("$top/monitoring/grafana-dashboard.json"));
my @panels = map { ($_, @{ $_->{panels} || [] }) } @{ $dashboard->{panels} };
my @shown = grep { $_->{type} ne 'row' } @panels;
my @targets = map { my $panel = $_; map { { %$_, panel => $panel->{title} } } @{ $panel->{targets} } } @shown;
my %variable = map { $_->{name} => $_ } @{ $dashboard->{templating}{list} };

sub overlap
{
	my ($p, $q) = map { $_->{gridPos} } @_;

	return $p->{x} < $q->{x} + $q->{w} && $q->{x} < $p->{x} + $p->{w} && $p->{y} < $q->{y} + $q->{h} && $q->{y} < $p->{y} + $p->{h};
}

behaviour 'what Grafana imports' => sub {
	my (%ids, %titles);

	is($dashboard->{title}, 'wbcache', 'title');
	is($dashboard->{uid}, 'wbcache', 'uid');
	like($dashboard->{schemaVersion}, qr/^\d+$/, 'schema');
	cmp_ok(scalar @shown, '>=', 12, 'panels');
	for my $panel (@panels)
	{
		ok(!$ids{ $panel->{id} }++, "number of $panel->{title}");
		ok(!$titles{ $panel->{title} }++, "$panel->{title} is a title of its own");
		like($panel->{type}, qr/^(?:row|stat|state-timeline|timeseries)$/, "type of $panel->{title}");
	}
	for my $panel (@shown)
	{
		my %refs;

		cmp_ok(scalar @{ $panel->{targets} }, '>', 0, "$panel->{title} has queries");
		ok(!$refs{ $_->{refId} }++, "$panel->{title}: $_->{refId} is there once") for @{ $panel->{targets} };
	}
};

behaviour 'panels are inside of the grid, and do not overlap' => sub {
	for my $i (0 .. $#panels)
	{
		my $at = $panels[$i]{gridPos};
		ok($at->{x} >= 0 && $at->{w} > 0 && $at->{x} + $at->{w} <= 24 && $at->{y} >= 0 && $at->{h} > 0, "$panels[$i]{title} is in it");
		my @hidden = grep { overlap($panels[$i], $_) } @panels[ $i + 1 .. $#panels ];
		is(join(', ', map { $_->{title} } @hidden), '', "$panels[$i]{title} covers nothing");
	}
};

behaviour 'variables' => sub {
	is($variable{datasource}{type}, 'datasource', 'where to ask is chosen in Grafana');
	is($variable{datasource}{query}, 'prometheus', 'among those of Prometheus');
	is($_->{datasource}{uid}, '${datasource}', "$_->{title} asks there") for @shown;
	is($_->{datasource}{uid}, '${datasource}', "$_->{panel}, $_->{refId} asks there") for @targets;
	my %used = map { map { $_ => 1 } $_->{expr} =~ /\$(\w+)/g } @targets;
	delete $used{__rate_interval};
	is(join(' ', sort keys %used), join(' ', sort grep { $_ ne 'datasource' } keys %variable), 'those that are used');
};

my ($upstream, $node, $session) = start_served('main',
	upstream => [ '--latency' => 0.02 ],
	conf => "restart_after_crash = on\nwbcache.hot_keys = 10\nwbcache.hot_keys_interval = 1s",
	server => { rate_limit => '100000/1h' });
$session->run(<<'END');
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '1 h');
SELECT wbcache.create_endpoint('brief', 'brief:{x}', 'api', '/echo/brief/{x}', soft_ttl => '1 ms', hard_ttl => '1 h');
CREATE TABLE game (id text, sport text, league text, status text, starts timestamptz);
SELECT wbcache.bind_events('game', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.refresh_sidebar_data();
CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
SELECT count(wbcache.get('echo:hot' || x)) FROM generate_series(1, 9), generate_series(1, 3) x;
END

# A crash, after which hot keys come back: their rows are committed asynchronously. Then a run of the warmer, with a game
# that is soon.
await_value($session, q{SELECT count(*) FROM wbcache.hot_key WHERE key ~ '^echo:hot[123]$'}, 3) or die "no hot keys\n";
$session->run('CHECKPOINT');
$session->close;
my $victim = session($node, 'postgres');
kill('KILL', $victim->pid);
undef $victim;
await_query($node, q{SELECT state = 'done' FROM wbcache.stat_warmup}) or die "no hot key is brought back\n";
$session = session($node, 'postgres');
$session->run(q{INSERT INTO game VALUES ('nfl-kc-buf', 'football', 'nfl', 'unplayed', now() + interval '30 min')});
$session->run(q{SELECT wbcache.preset_optic_odds('api')});
await_value($session, 'SELECT fixtures_warmed, keys_ahead > 0 FROM wbcache.stat_warmer', '1|t') or die "nothing is warm\n";
my $prometheus = WbcachePrometheus->start($node, 'monitor');

# Of everything that is counted: hits, stale values, misses, a load, a failure, an invalidation.
my $serial = 0;

sub traffic
{
	my $n = ++$serial;

	$upstream->behave(path => "/api/v3/echo/bad$n", status => 404);
	$session->ask($_) for "echo:$n", "echo:bad$n", 'brief:1';
	$session->value(q{SELECT count(wbcache.get('echo:1')) FROM generate_series(1, 200)});
	$session->value(q{SELECT wbcache.invalidate_tag('sidebar', 'SIDEBAR_REFRESH')});
	$session->value(q{SELECT wbcache.get_sidebar()});
	return;
}

# What Grafana sends for an expression while everything is chosen.
sub chosen { return $_[0] =~ s/\$__rate_interval/1m/gr =~ s/\$(?:instance|datname|endpoint)\b/.*/gr; }

# Each query by its name, until all have given a number; fails for those that have not when the time is over.
sub gives_numbers
{
	my %query = @_;
	my %last;

	await(sub {
			traffic();
			for my $name (keys %query)
			{
				my @values = eval { $prometheus->values($query{$name}) };
				$last{$name} = $@ || (@values ? "no number: @values" : 'no series');
				delete $last{$name} if grep { /^[-+\d.e]+$/ } @values;
			}
			# an error does not go away
			return 1 if grep { !/^no / } values %last;
			return !%last;
		});
	is($last{$_}, undef, $_) for sort keys %query;
	return;
}

behaviour "the dashboard's queries give numbers" => sub {
	gives_numbers(map { ("$_->{panel}, $_->{refId}" => chosen($_->{expr})) } @targets);
};

# QUERY, in the words "panel, letter" => what it gives: some columns of a view.
sub shows
{
	my ($view, %column) = @_;
	my %expr = map { ("$_->{panel}, $_->{refId}" => chosen($_->{expr})) } @targets;

	for my $query (sort keys %column)
	{
		cmp_ok($session->stat($view, $column{$query}), '>', 0, "$view, $column{$query}");
		ok(await(sub { ($prometheus->query($expr{$query}) // '') eq $session->stat($view, $column{$query}) }), "$query shows it");
	}
	return;
}

behaviour 'the warmer and the hot keys are seen in their panels' => sub {
	shows('stat_warmer',
		'Warm after the last run, A' => 'fixtures_warmed',
		'Warm after the last run, B' => 'props_cached',
		'Keys ahead, and refreshes ahead a minute, A' => 'keys_ahead');
	shows('stat_warmup',
		'Hot keys brought back since the server start, A' => 'wanted',
		'Hot keys brought back since the server start, B' => 'back',
		'Hot keys that are noted, A' => 'hot_keys');
	is($session->value('SELECT wanted - back FROM wbcache.stat_warmup'), 0, 'all hot keys are back');
	is($prometheus->query(chosen((grep { $_->{panel} eq 'Hot keys not back' } @targets)[0]{expr})), 0, 'Hot keys not back shows it');
	my ($runs) = grep { $_->{legendFormat} =~ /: runs$/ } @targets;
	$session->run('SELECT wbcache.run_warmer()');
	ok(await(sub { ($prometheus->query(chosen($runs->{expr})) // 0) > 0 }), "$runs->{panel} shows a run");
};

behaviour "the README's queries give numbers" => sub {
	my ($code) = slurp_file("$top/README.md") =~ /^(sum\(rate\(wbcache_.*?)^```/ms or die "the README has none\n";
	my @queries = split /\n(?=\S)/, $code;

	cmp_ok(scalar @queries, '>=', 2, 'queries');
	gives_numbers(map { ($_ => $_) } @queries);
};

behaviour 'what can be chosen' => sub {
	for my $name (grep { $variable{$_}{type} eq 'query' } sort keys %variable)
	{
		my ($series, $label) = $variable{$name}{query}{query} =~ /^label_values\((.*), (\w+)\)$/;
		my $values = $prometheus->api("label/$label/values", 'match[]' => chosen($series));

		cmp_ok(scalar @$values, '>=', 1, "$name: @$values");
	}
};

$prometheus->stop;
$session->close;
done_testing();
