# What the TAP files share: an instance with the library preloaded, a test upstream, sessions, and waiting for conditions.
#
#	my $upstream = WbcacheTest::Upstream->start('--latency' => 0.3);
#	my $node = start_instance('main');
#	my $session = install($node, 'postgres', $upstream);
#	$session->run(q{SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}')});
#	behaviour 'a miss is fetched' => sub {
#		is($session->ask('echo:1')->{status}, 'miss', 'first read');
#		is($upstream->count('/echo/1'), 1, 'requests');
#	};
#	done_testing();
#
# Sessions and upstreams end with the program; instances are PostgreSQL::Test::Cluster's. Those of start_instance are shut
# down at the end, and the program fails if one doesn't stop, or a process has crashed.

package WbcacheTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(await await_query await_value behaviour hold_commit install log_count log_since log_size session start_instance start_served);

our $JSON = JSON::PP->new->utf8->canonical->allow_nonref;

# Seconds that a condition may take to come true.
our $LIMIT = $ENV{PG_TEST_TIMEOUT_DEFAULT} || 60;

# Those of start_instance.
my @instances;

# behaviour NAME => sub {...}: a subtest that fails, instead of ending the file, when something in it dies.
sub behaviour
{
	my ($name, $code) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return subtest $name => sub {
		eval { $code->(); 1 } or fail("died: $@");
		done_testing();
	};
}

# Asks again until the condition is true, and returns its value; false when the time is over.
sub await
{
	my ($condition) = @_;
	my $deadline = time() + $LIMIT;
	my $value;

	until ($value = $condition->())
	{
		return 0 if time() > $deadline;
		usleep(10_000);
	}
	return $value;
}

# await_query NODE, QUERY: until the query returns true in a new connection; the server may be about to start.
sub await_query
{
	my ($node, $query) = @_;

	# A psql that is turned away at once breaks the pipe, of which IPC::Run dies.
	return await(sub { (eval { ($node->psql('postgres', $query))[1] } // '') eq 't' });
}

# await_value SESSION, SQL, EXPECTED: until the query returns that; tells what it returned last, if it doesn't.
sub await_value
{
	my ($session, $sql, $expected) = @_;
	my $last = '';

	return 1 if await(sub { ($last = $session->value($sql)) eq $expected });
	diag("still \"$last\", not \"$expected\": $sql");
	return 0;
}

# hold_commit SESSION, WRITER, STATEMENTS: the writer is in the middle of the commit of these, which must write something:
# it waits for a synchronous standby that isn't there.
sub hold_commit
{
	my ($session, $writer, $statements) = @_;

	$writer->run("BEGIN; SET LOCAL synchronous_commit = on; $statements");
	$writer->send('COMMIT');
	return ok(await_value($session, 'SELECT wait_event FROM pg_stat_activity WHERE pid = ' . $writer->pid, 'SyncRep'), 'the commit is held open');
}

# An instance, UTF-8 and locale C, with the library preloaded, and without hot keys: what is fetched after a restart, and
# written once a minute, must not depend on how long a test takes. Options: conf (lines), databases (that have a fetcher;
# default postgres), init (parameters of Cluster's init), and start => 0.
sub start_instance
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $databases = $options{databases} || 'postgres';

	$node->init(extra => [ '--locale=C', '--encoding=UTF8' ], %{ $options{init} || {} });
	$node->append_conf('postgresql.conf', <<"END");
shared_preload_libraries = 'wbcache'
max_worker_processes = 32
wbcache.databases = '$databases'
wbcache.hot_keys = 0
max_connections = 40
log_statement = none
autovacuum = off
END
	$node->append_conf('postgresql.conf', $options{conf}) if $options{conf};
	push @instances, $node;
	$node->start unless defined $options{start} && !$options{start};
	return $node;
}

# What the log of an instance says of crashes. Signal 9 is the tests' own.
sub crashes
{
	my ($node) = @_;
	my $log = -e $node->logfile ? slurp_file($node->logfile) : '';

	return $log =~ /^.*(?:was terminated by signal (?!9\b)|PANIC:|TRAP:).*$/mg;
}

# Cluster's END comes after this one, and stops at once what still runs: that is left to it where the program has failed.
END
{
	my $status = $?;
	my $failed = 0;

	for my $node (@instances)
	{
		my @problems = $status == 0 && !$node->stop('fast', fail_ok => 1) ? ('does not stop') : ();

		push @problems, crashes($node);
		diag(join("\n", 'instance "' . $node->name . '":', @problems)) if @problems;
		$failed = 1 if @problems;
	}
	$? = $status || $failed;
}

# Everything at once: (upstream, instance, session). Options: upstream (its arguments), server (options of the foreign
# server), and those of start_instance.
sub start_served
{
	my ($name, %options) = @_;
	my $upstream = WbcacheTest::Upstream->start(@{ $options{upstream} || [] });
	my $node = start_instance($name, %options);

	return ($upstream, $node, install($node, 'postgres', $upstream, %{ $options{server} || {} }));
}

# Creates the extension, and the foreign server "api" with these options, in a database. Returns a session in it.
sub install
{
	my ($node, $database, $upstream, %options) = @_;
	my $session = session($node, $database);
	my ($base_url, $key) = ($upstream->base_url, $upstream->key);
	my $more = join('', map { ", $_ '$options{$_}'" } sort keys %options);

	$session->run(<<"END");
CREATE EXTENSION wbcache;
CREATE SERVER api FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url '$base_url'$more);
CREATE USER MAPPING FOR PUBLIC SERVER api OPTIONS (header 'X-Api-Key: $key');
CREATE SCHEMA test;
END
	# A lookup that returns errors as an answer; took is in milliseconds, the other times in seconds.
	$session->run(<<'END');
CREATE FUNCTION test.ask(key text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
  started timestamptz := clock_timestamp();
  answer record;
  ended timestamptz;
  state text; message text; detail text; hint text;
BEGIN
  SELECT * INTO answer FROM wbcache.lookup(key);
  ended := clock_timestamp();
  RETURN json_build_object('status', answer.status, 'value', answer.value, 'detail', answer.detail,
    'age', extract(epoch FROM answer.age), 'ttl', extract(epoch FROM answer.ttl),
    'cached_at', extract(epoch FROM started - answer.age), 'took', extract(epoch FROM ended - started) * 1000);
EXCEPTION WHEN OTHERS THEN
  ended := clock_timestamp();
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
    hint = PG_EXCEPTION_HINT;
  RETURN json_build_object('sqlstate', state, 'message', message, 'detail', detail, 'hint', hint,
    'took', extract(epoch FROM ended - started) * 1000);
END $$;
END
	return $session;
}

sub session
{
	return WbcacheTest::Session->connect(@_);
}

# Any data as text.
sub encode
{
	my ($data) = @_;
	return $JSON->encode($data);
}

# log_size NODE, log_since NODE, SIZE: what the server has logged since it had that size.
sub log_size
{
	my ($node) = @_;
	return (-s $node->logfile) || 0;
}

sub log_since
{
	my ($node, $size) = @_;
	return slurp_file($node->logfile, $size);
}

# How often the log has something since.
sub log_count
{
	my ($node, $pattern, $size) = @_;
	my @found = log_since($node, $size || 0) =~ /$pattern/g;
	return scalar @found;
}

# ---------------------------------------------------------------------------
# One psql, kept open
# ---------------------------------------------------------------------------

package WbcacheTest::Session;

use Carp qw(croak);
use IPC::Run;

# connect NODE, DATABASE
sub connect
{
	my ($class, $node, $database) = @_;
	my $self = bless { in => '', out => '', err => '', n => 0 }, $class;

	local $ENV{PGCLIENTENCODING} = 'UTF8';
	$self->{timeout} = IPC::Run::timeout($LIMIT);
	$self->{psql} = IPC::Run::start(
		[ $node->installed_command('psql'), '-XAtq', '-v', 'VERBOSITY=verbose', '-f', '-',
			'-d', $node->connstr($database) ],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err}, $self->{timeout});
	$self->{pid} = $self->value('SELECT pg_backend_pid()');
	return $self;
}

# The process that serves this session.
sub pid
{
	return $_[0]->{pid};
}

# Sends commands without waiting for their results.
sub send
{
	my ($self, $sql) = @_;

	$self->{n}++;
	$self->{in} .= "$sql\n;\n\\echo end of $self->{n}\n\\warn end of $self->{n}\n";
	$self->{timeout}->start($LIMIT);
	$self->{psql}->pump_nb while length $self->{in};
	return $self;
}

# (output, errors) of what was sent last.
sub receive
{
	my ($self) = @_;
	my $end = "end of $self->{n}\n";
	my ($out, $err);

	$self->{psql}->pump until $self->{out} =~ /\Q$end\E/ && $self->{err} =~ /\Q$end\E/;
	$self->{timeout}->reset;
	($out, $err) = @$self{qw(out err)};
	@$self{qw(out err)} = ('', '');
	s/\n?\Q$end\E// for $out, $err;
	return ($out, $err);
}

# Output of commands none of which may fail.
sub value
{
	my ($self, $sql) = @_;
	my ($out, $err) = $self->send($sql)->receive;

	croak("$err\nin: $sql") if $err =~ /(?:ERROR|FATAL|PANIC): /;
	return $out;
}

sub run
{
	my ($self, $sql) = @_;
	$self->value($sql);
	return;
}

# What psql says of commands that fail; "" if they don't.
sub error
{
	my ($self, $sql) = @_;
	return ($self->send($sql)->receive)[1];
}

# A value of type json, decoded.
sub json
{
	my ($self, $sql) = @_;
	return $JSON->decode($self->value($sql));
}

# A lookup: {status, value, detail, age, ttl, cached_at, took} or {sqlstate, message, detail, hint, took}.
sub ask
{
	my ($self, $key) = @_;
	return $self->json('SELECT test.ask(' . quote($key) . ')');
}

# The same in two parts, so that several sessions can ask at once.
sub begin_ask
{
	my ($self, $key) = @_;
	return $self->send('SELECT test.ask(' . quote($key) . ')');
}

sub end_ask
{
	my ($self) = @_;
	my ($out, $err) = $self->receive;
	return $out eq '' ? { psql => $err } : $JSON->decode($out);
}

# Asks until the status, or the SQLSTATE, is this one; returns the answer. Dies when the time is over.
sub ask_until
{
	my ($self, $key, $status) = @_;
	my $answer;

	WbcacheTest::await(sub {
		$answer = $self->ask($key);
		return ($answer->{status} || $answer->{sqlstate}) eq $status;
	}) or croak("\"$key\" is not \"$status\" in the end, but " . WbcacheTest::encode($answer));
	return $answer;
}

# One column of a statistics view, of one row.
sub stat
{
	my ($self, $view, $column, $condition) = @_;
	return $self->value("SELECT $column FROM wbcache.$view WHERE " . ($condition || 'true'));
}

sub quote
{
	my ($text) = @_;
	$text =~ s/'/''/g;
	return "'$text'";
}

# Kills psql, so that the server isn't told.
sub kill
{
	my ($self) = @_;
	$self->{psql}->signal('KILL');
	return;
}

sub close
{
	my ($self) = @_;
	my $psql = delete $self->{psql} or return;

	local ($?, $@);
	eval { $self->{in} .= "\\q\n"; $psql->finish; 1 } or $psql->kill_kill;
	return;
}

sub DESTROY
{
	my ($self) = @_;
	$self->close;
	return;
}

# ---------------------------------------------------------------------------
# Processes that end with the test that has started them: pid, and the test's own as owner
# ---------------------------------------------------------------------------

package WbcacheTest::Process;

use POSIX qw(:sys_wait_h);

sub stop
{
	my ($self) = @_;
	my $pid = delete $self->{pid} or return;

	local $?;
	kill('TERM', $pid);
	WbcacheTest::await(sub { waitpid($pid, WNOHANG) != 0 }) or kill('KILL', $pid);
	return;
}

sub DESTROY
{
	my ($self) = @_;
	$self->stop if $self->{owner} == $$;
	return;
}

# ---------------------------------------------------------------------------
# The test upstream
# ---------------------------------------------------------------------------

package WbcacheTest::Upstream;

use Carp qw(croak);
use File::Basename qw(dirname);
use HTTP::Tiny;
use PostgreSQL::Test::Utils;
use POSIX ();
use parent -norequire, 'WbcacheTest::Process';

my $serial = 0;

# start ARGUMENT...: those of test/upstream/upstream.py, besides the port and the key.
sub start
{
	my ($class, @arguments) = @_;
	my $program = dirname(__FILE__) . '/../upstream/upstream.py';
	my $self = bless {
		key => 'a-secret-' . int(rand(1e9)),
		owner => $$,
		http => HTTP::Tiny->new(timeout => $LIMIT, no_proxy => ['127.0.0.1'])
	}, $class;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/port';
	my $log = "$PostgreSQL::Test::Utils::log_path/upstream_" . ++$serial . '.log';
	my $parent = $$;

	$self->{pid} = fork() // croak("could not fork: $!");
	if ($self->{pid} == 0)
	{
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', $log);
		open(STDERR, '>&', \*STDOUT);
		exec('python3', '-B', $program, '--port-file', $file, '--parent-pid', $parent, '--api-key', $self->{key},
			@arguments)
		  or POSIX::_exit(127);
	}
	WbcacheTest::await(sub { -s $file }) or croak("the test upstream did not start; see $log");
	$self->{port} = slurp_file($file);
	$self->{port} =~ s/\s//g;
	return $self;
}

sub port { return $_[0]->{port}; }

sub key { return $_[0]->{key}; }

sub base_url { return "http://127.0.0.1:$_[0]->{port}/api/v3"; }

# control NAME, FIELD => VALUE...: the decoded answer. See test/upstream/README.md.
sub control
{
	my ($self, $name, %fields) = @_;
	my $url = "http://127.0.0.1:$self->{port}/control/$name";
	my $query = $self->{http}->www_form_urlencode(\%fields);
	my $response = length $query < 8000 ? $self->{http}->get("$url?$query") : $self->{http}->post($url,
		{ content => $JSON->encode(\%fields), headers => { 'Content-Type' => 'application/json' } });

	croak("/control/$name: $response->{status} $response->{content}") unless $response->{success};
	return $JSON->decode($response->{content});
}

sub behave { my ($self, %fields) = @_; return $self->control('behave', %fields); }

sub clear { return $_[0]->control('clear'); }

sub reset { return $_[0]->control('reset'); }

sub total { return $_[0]->control('counts')->{total}; }

# Requests for a path below the base URL, with or without its query.
sub count
{
	my ($self, $path) = @_;
	return ($self->control('counts')->{paths}{"/api/v3$path"} || { n => 0 })->{n};
}

# The log of a path below the base URL; * stands for anything.
sub log
{
	my ($self, $path) = @_;
	return @{ $self->control('log', path => "/api/v3$path", limit => 20000)->{requests} };
}

1;
