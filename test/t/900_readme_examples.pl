# The README can be believed: its examples run as they stand, and its tables have what the code has, no more and no less.

use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheReadme;
use WbcacheTest;

my $top = dirname(__FILE__) . '/../..';
my $readme = WbcacheReadme->read("$top/README.md");
my ($key) = $readme->text =~ /header 'X-Api-Key: ([\w-]+)'/ or die "the README has no header for its examples\n";
my $upstream = WbcacheTest::Upstream->start('--api-key' => $key);

# The database and the settings of the README's server.
my $node = start_instance('main');
$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->append_conf('postgresql.conf', $_->{code}) for $readme->blocks('ini');
$node->append_conf('postgresql.conf', 'wbcache.invalidation_alert_rate = 0');	# all examples within a minute are no reason to warn
$node->restart;
my $session = session($node, 'app');

# ---------------------------------------------------------------------------
# Examples
# ---------------------------------------------------------------------------

sub run_block
{
	my ($block) = @_;

	for my $statement (WbcacheReadme::statements($block->{code}))
	{
		my $sql = $statement->{sql} =~ s{https://api\.example\.com/v3}{$upstream->base_url}er;
		my $result = $session->value($sql);

		is($result, $statement->{result}, $statement->{sql}) if defined $statement->{result};
	}
	pass('no error');
	return;
}

my @blocks = $readme->blocks('sql');
cmp_ok(scalar @blocks, '>=', 5, 'SQL examples');
for my $block (@blocks)
{
	behaviour "the example in line $block->{line} runs" => sub { run_block($block) };
}
cmp_ok($upstream->total, '>', 0, 'requests that the examples have made');

behaviour 'the queries under Troubleshooting run' => sub {
	for my $row ($readme->table('Troubleshooting'))
	{
		my ($query) = WbcacheReadme::names($row->[1]);

		like($query, qr/^(SELECT|SHOW) /, "query for: $row->[0]");
		$session->value($query);
	}
};

behaviour 'the targets of make exist' => sub {
	my ($goals) = slurp_file("$top/Makefile") =~ /^SCRIPT_GOALS := (.*)$/m;
	my %known = map { $_ => 1 } 'install', split(/ /, $goals);
	my $code = join('', map { $_->{code} } $readme->blocks('sh'), $readme->blocks('text'));
	my %named = map { $_ => 1 } $code =~ /\bmake ([a-z-]+)/g, $readme->text =~ /`make ([a-z-]+)`/g;

	ok($known{$_}, "make $_") for sort keys %named;
};

# ---------------------------------------------------------------------------
# Tables, against the catalogs
# ---------------------------------------------------------------------------

# Rows of a query as arrays.
sub rows
{
	return map { [ split /\|/, $_, -1 ] } split /\n/, $session->value($_[0]);
}

# The same names, in any order, each once?
sub same_names
{
	my ($named, $existing, $what) = @_;

	is(join("\n", sort @$named), join("\n", sort @$existing), $what);
	return;
}

# All names in backticks in a column of the table below a heading.
sub names_in
{
	my ($heading, $column) = @_;
	return map { WbcacheReadme::names($_->[ $column || 0 ]) } $readme->table($heading);
}

my $members = q{SELECT objid FROM pg_depend WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
	AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'wbcache')};

# All but those that only triggers, the wrapper and the views call.
behaviour 'the functions' => sub {
	my %function = map { $_->[0] => $_ } rows(<<"END");
SELECT proname, array_to_string(proargnames[1:pronargs], ', '), has_function_privilege('public', p.oid, 'EXECUTE')
FROM pg_proc p
WHERE p.oid IN ($members AND classid = 'pg_proc'::regclass) AND prorettype <> 'trigger'::regtype
  AND NOT EXISTS (SELECT FROM pg_foreign_data_wrapper WHERE fdwvalidator = p.oid)
  AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    WHERE r.ev_class IN ($members AND classid = 'pg_class'::regclass) AND refclassid = 'pg_proc'::regclass AND refobjid = p.oid)
END

	same_names([ map { s/\(.*//r } names_in('Functions') ], [ keys %function ], 'names');
	for ($readme->table('Functions'))
	{
		my ($name, $named, $more) = $_->[0] =~ /^`(\w+)\((.*?)(, …)?\)`$/ or die "not a function: $_->[0]\n";
		my (undef, $existing, $open_to_all) = @{ $function{$name} || die "no function $name\n" };

		$existing = substr($existing, 0, length($named)) if $more;
		is($named, $existing, "arguments of $name");
		is($_->[1] eq 'granted' ? 'f' : 't', $open_to_all, "is $name open to all?");
	}
};

behaviour 'the views and their columns' => sub {
	my (@named, $view);

	for ($readme->table('Views'))
	{
		($view) = WbcacheReadme::names($_->[0]) if $_->[0];
		push @named, map { "$view.$_" } WbcacheReadme::names($_->[1]);
	}
	same_names(\@named, [ map { $_->[0] } rows(<<"END") ], 'names');
SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.oid IN ($members AND classid = 'pg_class'::regclass) AND c.relkind = 'v'
END
};

behaviour 'the properties of endpoints' => sub {
	my %default = map { (WbcacheReadme::names($_->[0]))[0] => $_->[1] } $readme->table('Endpoint properties');

	same_names([ keys %default ], [ map { $_->[0] } rows(<<'END') ], 'names');
SELECT attname FROM pg_attribute WHERE attrelid = 'wbcache.endpoint'::regclass AND attnum > 0 AND NOT attisdropped
END
	$session->run(q{SELECT wbcache.create_endpoint('defaults', 'defaults:{x}')});
	for my $name (qw(soft_ttl error_ttl on_invalidate null_is_value statement_timeout lock_timeout))
	{
		my $type = $name =~ /ttl|timeout/ ? 'interval' : $name eq 'null_is_value' ? 'boolean' : 'text';
		my $default = $default{$name} =~ s/`//gr;

		is($session->value("SELECT $name = $type '$default' FROM wbcache.endpoint WHERE name = 'defaults'"), 't',
			"default of $name");
	}
};

behaviour 'the statuses of lookup' => sub {
	same_names([ names_in('Lookup statuses') ],
		[ map { $_->[0] } rows('SELECT unnest(enum_range(NULL::wbcache.cache_status))') ], 'labels');
};

# The validator lists what there is; the wrapper's comment has the defaults.
behaviour 'the options of servers and user mappings' => sub {
	my $heading = 'Options of servers and user mappings';
	my ($server) = $session->error(<<'END') =~ /Valid options in this context are: (.*)\./;
CREATE SERVER nope FOREIGN DATA WRAPPER wbcache_http OPTIONS (nope '1')
END
	my ($mapping) = $session->error(<<'END') =~ /Valid options in this context are: (.*)\./;
CREATE USER MAPPING FOR CURRENT_USER SERVER optic_odds OPTIONS (nope '1')
END
	my $comment = $session->value(<<'END');
SELECT obj_description(oid, 'pg_foreign_data_wrapper') FROM pg_foreign_data_wrapper WHERE fdwname = 'wbcache_http'
END

	same_names([ names_in($heading) ], [ split(/, /, $server), $mapping =~ /\bheader\w*/g ], 'names');
	for ($readme->table($heading))
	{
		my ($name) = WbcacheReadme::names($_->[0]);

		like($comment, qr/\b\Q$name ($_->[1]\E/, "default of $name") unless $name eq 'header';
	}
};

# A size in kB or a time in ms, whatever unit it is written with.
sub plain_number
{
	my ($written) = @_;
	my %factor = ('' => 1, kB => 1, MB => 1024, GB => 1024 * 1024, ms => 1, s => 1000, min => 60_000);
	my ($number, $unit) = $written =~ /^(\d+)(\D*)$/;

	return defined $number ? $number * $factor{$unit} : $written;
}

behaviour 'the settings' => sub {
	my %setting = map { $_->[0] => $_ } rows(<<'END');
SELECT name, boot_val, min_val, max_val, context FROM pg_settings WHERE name LIKE 'wbcache.%'
END

	same_names([ names_in('Settings') ], [ keys %setting ], 'names');
	for ($readme->table('Settings'))
	{
		my ($name) = WbcacheReadme::names($_->[0]);
		my ($default, $range, $context) = @$_[ 1 .. 3 ];
		my ($min, $max) = $range =~ /^(\d\w*) to (\w+)$/;

		is(plain_number($default), $setting{$name}[1], "default of $name");
		is(plain_number($min), $setting{$name}[2], "lowest $name") if defined $min;
		is(plain_number($max), $setting{$name}[3], "highest $name") if defined $max;
		is($context, $setting{$name}[4], "context of $name");
	}
};

# ---------------------------------------------------------------------------
# Tables, against the sources
# ---------------------------------------------------------------------------

my $source = join('', map { slurp_file($_) } glob("$top/src/*.[ch]"));

# What a macro of the sources stands for.
sub macro
{
	my ($name) = @_;

	$source =~ /^#define $name[ \t]+(\S.*?)\s*$/m or die "no macro $name\n";
	return $1;
}

# All SQLSTATEs that an error of ours is given, by the names of PostgreSQL's own list and by our header.
behaviour 'the errors' => sub {
	my $sharedir = `pg_config --sharedir` =~ s/\s+$//r;
	my %state = reverse slurp_file("$sharedir/errcodes.txt") =~ /^(\w{5})\s+\w\s+(ERRCODE_\w+)/gm;
	my %used = map { $_ => 1 } $source =~ /(?:\berrcode\(|\bwbc_error_set\([^,()]+,\s*)((?:WBC_)?ERRCODE_\w+)/g;

	my %own = $source =~ /#define (WBC_ERRCODE_\w+)\s+MAKE_SQLSTATE\((.*?)\)/g;

	$state{$_} = $own{$_} =~ s/\W//gr for keys %own;
	# thrown by the core at our behest
	$used{ERRCODE_READ_ONLY_SQL_TRANSACTION} = 1 if $source =~ /\bPreventCommandIfReadOnly\(/;
	same_names([ names_in('Errors') ], [ map { $state{$_} // $_ } keys %used ], 'SQLSTATEs');
};

behaviour 'the wait events' => sub {
	my @events = $source =~ /\bwbc_compat_wait_event\("(\w+)"\)/g;
	my @locks = $source =~ /\.name = "(\w+)",\s*\.nlocks = [^0]/g;
	my @tranches = $source =~ /\bLWLockRegisterTranche\([^,]+, "(\w+)"\)/g;

	same_names([ grep { $_ ne 'Extension' } names_in('Wait events', 1) ], [ @events, @locks, @tranches ], 'names');
};

behaviour 'the limits' => sub {
	my %limit = map { $_->[0] => $_->[1] =~ s/(?<=\d),(?=\d)//gr } $readme->table('Guarantees and limits');

	is(macro('STRIPES'), '(1 << 20)', 'stripes as the README has them');
	for ([ 'key, pattern, tag of an endpoint',
			macro('WBC_KEY_MAX') . ' bytes; ' . macro('WBC_SEGMENTS_MAX') . ' segments' ],
		[ 'tags of a value', macro('WBC_TAGS_MAX') ],
		[ 'path', macro('PATH_MAX_LEN') . ' bytes' ],
		[ 'databases, servers in use, endpoints with counters',
			join(', ', macro('WBC_DATABASES_MAX'), macro('WBC_UPSTREAMS_MAX'), macro('WBC_METRICS_ENDPOINTS') - 1) ],
		[ 'processes of wbcache', macro('WBC_WORKERS_MAX') ],
		[ 'invalidations in a transaction', macro('WBC_PENDING_STRIPES_MAX') ],
		[ 'stripes', 1 << 20 ])
	{
		my ($what, $value) = @$_;

		like($limit{$what} // '', qr/^\Q$value\E\b/, $what);
	}
};

done_testing();
