# Each counter is declared once: the columns of the views, metrics(), the README and the exporter's queries say the same.

use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheMetrics;
use WbcacheReadme;
use WbcacheTest;

my $top = dirname(__FILE__) . '/../..';
my ($upstream, $node, $session) = start_served('main', server => { rate_limit => '1000/1h' });

# Something of everything, so that each metric has a value.
$session->run(<<'END');
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}');
CREATE TABLE game (id text, sport text, league text, status text, starts timestamptz);
SELECT wbcache.bind_events('game', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.refresh_sidebar_data();
END
is($session->ask('echo:1')->{status}, 'miss', 'a read');

my %described = map { $_->{metric} => $_ } @{ $session->json('SELECT json_agg(d) FROM wbcache.metric_descriptions() d') };
cmp_ok(scalar keys %described, '>', 40, 'metrics');

sub same
{
	my ($is, $expected, $name) = @_;
	my $text = sub { my ($hash) = @_; join("\n", map { "$_: " . ($hash->{$_} // '') } sort keys %$hash) };

	is($text->($is), $text->($expected), $name);
	return;
}

sub column_of_descriptions { my ($column) = @_; return { map { $_ => $described{$_}{$column} } keys %described }; }

behaviour 'each has a text of its own, and a name in the style of Prometheus' => sub {
	my %seen;

	for my $metric (sort keys %described)
	{
		my ($type, $text, $view) = @{ $described{$metric} }{qw(type description view)};

		like($text, qr/^\S.{10,}[^.\s]$/, "$metric is described");
		ok(!$seen{"$view $text"}++, "$metric has a text of its own");
		is($metric =~ /_total$/ ? 1 : 0, $type eq 'counter' ? 1 : 0, "$metric: _total stands for a counter");
	}
};

behaviour 'the columns of the views' => sub {
	my $comments = $session->json(<<'END');
SELECT json_object_agg(metric, coalesce(col_description(('wbcache.' || view)::regclass, attnum), 'no such column'))
FROM wbcache.metric_descriptions() LEFT JOIN pg_attribute ON attrelid = ('wbcache.' || view)::regclass AND attname = attribute
WHERE attribute IS NOT NULL
END

	same($comments, { map { $_ => $described{$_}{description} } grep { defined $described{$_}{attribute} } keys %described }, 'comments');
};

behaviour 'what is counted, and no other number of that kind, is in the views' => sub {
	# Columns of numbers that are derived from others, or from tables.
	my %derived = map { $_ => 1 } qw(stat_coalescer.total_requests stat_invalidation.total stat_worker.pid stat_latency.count
		stat_sidebar.refreshes stat_sidebar.failures stat_sidebar.alerts stat_sidebar.hits stat_sidebar.misses);
	my %own = map { ("$_->{view}.$_->{attribute}" => 1) } grep { defined $_->{attribute} } values %described;
	my $columns = $session->json(<<'END');
SELECT json_agg(relname || '.' || attname) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
WHERE relnamespace = 'wbcache'::regnamespace AND relname LIKE 'stat\_%' AND relname <> 'stat_window' AND attnum > 0
  AND atttypid IN ('int8'::regtype, 'int4'::regtype)
END

	same({ map { $_ => 1 } grep { !$derived{$_} } @$columns }, \%own, 'columns');
};

behaviour 'metrics()' => sub {
	my $metrics = WbcacheMetrics::parse($session->value('SELECT wbcache.metrics()'), qr/./);

	same($metrics->{help}, column_of_descriptions('description'), 'help');
	same($metrics->{type}, column_of_descriptions('type'), 'types');
};

behaviour 'the README' => sub {
	my $readme = WbcacheReadme->read("$top/README.md");
	my (%type, %text);

	for ($readme->table('Metrics'))
	{
		my ($metric) = WbcacheReadme::names($_->[0]);
		($type{$metric}, $text{$metric}) = @$_[ 1, 2 ];
	}
	same(\%type, column_of_descriptions('type'), 'types');
	same(\%text, column_of_descriptions('description'), 'texts');
};

behaviour "the exporter's queries" => sub {
	my ($group, $column, %type, %text);

	for (split /\n/, slurp_file("$top/monitoring/wbcache_exporter.yml"))
	{
		$group = $1 if /^(\w+):/;
		$column = "${group}_$1" if /^    - (\w+):/;
		$type{$column} = lc $1 if /^        usage: (\w+)/ && $1 ne 'LABEL';
		$text{$column} = $1 if /^        description: "(.*)"/ && $type{$column};
	}
	same(\%type, column_of_descriptions('type'), 'types');
	same(\%text, column_of_descriptions('description'), 'texts');
};

$session->close;
done_testing();
