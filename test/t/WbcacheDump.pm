# What pg_dump carries from one database to another, in both of its ways.
#
#	moves($node, $session, [ 'SELECT * FROM wbcache.task' ], sub {
#		my ($restored, $database, $file) = @_;
#		is($restored->ask('echo:1')->{status}, 'miss', "$database: it serves");
#	});

package WbcacheDump;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheTest;

our @EXPORT = qw(moves);

# Dumps the database postgres, restores it into a new one, and compares what the queries return.
sub move
{
	my ($node, $session, $queries, $code, $database, $dump, $restore, $file) = @_;
	my ($program, @options) = @$restore;

	command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), @$dump, '-f', $file ], "$database: pg_dump");
	$session->run("CREATE DATABASE $database");
	command_ok([ $program, '-d', $node->connstr($database), @options, $file ], "$database: restore");
	my $restored = WbcacheTest::session($node, $database);
	$restored->run(q{SET wbcache.max_wait = '30s'});
	is($restored->value($_), $session->value($_), "$database: $_") for @$queries;
	$code->($restored, $database, $file);
	$restored->close;
	return;
}

# moves NODE, SESSION, QUERIES, CODE: the session's database, postgres, moves into the databases "plain" and "custom". The
# queries return the same there. Then CODE gets a session in it, its name, and the file of the dump.
sub moves
{
	my @what = @_;
	my $folder = PostgreSQL::Test::Utils::tempdir();

	behaviour 'pg_dump and psql' => sub {
		move(@what, 'plain', [], [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f' ], "$folder/plain.sql");
	};
	behaviour 'pg_dump and pg_restore with two jobs' => sub {
		move(@what, 'custom', ['-Fc'], [ 'pg_restore', '--exit-on-error', '-j', '2' ], "$folder/custom");
	};
	return;
}

1;
