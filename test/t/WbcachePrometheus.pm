# The real exporter and the real Prometheus on an instance, with the project's query file.
#
#	my $prometheus = WbcachePrometheus->start($node, 'monitor');
#	$prometheus->query('up');

package WbcachePrometheus;

use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use HTTP::Tiny;
use PostgreSQL::Test::Utils;
use WbcacheProgram;
use WbcacheTest;

# start NODE, ROLE: the role is the exporter's, a member of pg_monitor; database postgres.
sub start
{
	my ($class, $node, $role) = @_;
	my $queries = dirname(__FILE__) . '/../../monitoring/wbcache_exporter.yml';
	my $folder = PostgreSQL::Test::Utils::tempdir();
	my $self = bless {}, $class;

	$self->{exporter} = WbcacheProgram->start('prometheus-postgres-exporter', '/', sub {
			("--web.listen-address=$_[0]", "--extend.query-path=$queries", '--disable-default-metrics', '--disable-settings-metrics')
		}, DATA_SOURCE_NAME => sprintf('host=%s port=%s user=%s dbname=postgres sslmode=disable', $node->host, $node->port, $role));
	append_to_file("$folder/prometheus.yml", <<"END");
global:
  scrape_interval: 500ms
scrape_configs:
  - job_name: wbcache
    static_configs:
      - targets: ['${\ $self->{exporter}->address }']
END
	$self->{prometheus} = WbcacheProgram->start('prometheus', '/-/ready', sub {
			("--web.listen-address=$_[0]", "--config.file=$folder/prometheus.yml", "--storage.tsdb.path=$folder/data")
		});
	return $self;
}

sub exporter { return $_[0]->{exporter}; }

# What Prometheus' API has under data. Dies with its words if it finds something wrong.
sub api
{
	my ($self, $path, %fields) = @_;
	my $answer = $WbcacheTest::JSON->decode($self->{prometheus}->get("/api/v1/$path?" . HTTP::Tiny->new->www_form_urlencode(\%fields)));

	return $answer->{data};
}

# The values of all series that a query gives.
sub values
{
	my ($self, $promql) = @_;
	return map { $_->{value}[1] } @{ $self->api('query', query => $promql)->{result} };
}

# The value of the first series, or undef.
sub query
{
	my ($self, $promql) = @_;
	return ($self->values($promql))[0];
}

sub stop
{
	my ($self) = @_;

	$self->{$_}->stop for qw(prometheus exporter);
	return;
}

1;
