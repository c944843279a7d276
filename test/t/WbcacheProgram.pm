# A server program that a test runs on loopback: started on a free port, asked over HTTP, ended with the test.
#
#	my $prometheus = WbcacheProgram->start('prometheus', '/-/ready', sub { ("--web.listen-address=$_[0]", ...) });
#	$prometheus->get('/api/v1/query?query=up');

package WbcacheProgram;

use strict;
use warnings FATAL => 'all';

use Carp qw(croak);
use HTTP::Tiny;
use POSIX qw(:sys_wait_h);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use WbcacheTest;
use parent -norequire, 'WbcacheTest::Process';

# start NAME, PATH, ARGUMENTS, VARIABLE => VALUE...: it runs when the path can be had. ARGUMENTS returns those of the
# program, given the address to listen at.
sub start
{
	my ($class, $name, $path, $arguments, %environment) = @_;
	my $self = bless {
		name => $name,
		owner => $$,
		address => '127.0.0.1:' . PostgreSQL::Test::Cluster::get_free_port(),
		http => HTTP::Tiny->new(timeout => $WbcacheTest::LIMIT, no_proxy => ['127.0.0.1'])
	}, $class;
	my $log = "$PostgreSQL::Test::Utils::log_path/$name.log";

	$self->{pid} = fork() // croak("could not fork: $!");
	if ($self->{pid} == 0)
	{
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', $log);
		open(STDERR, '>&', \*STDOUT);
		local @ENV{ keys %environment } = values %environment;
		# it doesn't outlive a test that is killed
		exec('setpriv', '--pdeathsig', 'KILL', $name, $arguments->($self->{address})) or POSIX::_exit(127);
	}
	WbcacheTest::await(sub { !$self->is_running || $self->{http}->get("http://$self->{address}$path")->{success} });
	croak("$name did not start; see $log:\n" . slurp_file($log)) unless $self->is_running;
	return $self;
}

sub is_running
{
	my ($self) = @_;

	local $?;
	return defined $self->{pid} && waitpid($self->{pid}, WNOHANG) == 0;
}

sub address { return $_[0]->{address}; }

# The body of an answer.
sub get
{
	my ($self, $path) = @_;
	my $response = $self->{http}->get("http://$self->{address}$path");

	croak("$self->{name}: $path: $response->{status} $response->{content}") unless $response->{success};
	return $response->{content};
}

1;
