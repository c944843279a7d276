# Where ALTER DEFAULT PRIVILEGES has taken functions and types from PUBLIC, what is open to all is open all the same.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheTest;

my $node = start_instance('main');
my $session = session($node, 'postgres');

$session->run(<<'END');
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM PUBLIC;
CREATE EXTENSION wbcache;
CREATE ROLE app;
CREATE TABLE event (id int, sport text, league text, status text, starts timestamptz);
INSERT INTO event VALUES (1, 'nfl', 'nfl', 'unplayed', now());
SELECT wbcache.bind_events('event', 'id', 'sport', 'league', 'status', 'starts');
GRANT SELECT, UPDATE ON event TO app;
SELECT wbcache.create_endpoint('page', 'page:{x}', tags => '{"game:{x}"}', readers => '{app}', writers => '{app}');
SET ROLE app;
END

behaviour 'a role without further rights' => sub {
	is($session->error(q{SELECT wbcache.set('page:1', '"kept"')}), '', 'writes');
	is($session->value(q{SELECT status FROM wbcache.lookup('page:1')}), 'hit', 'reads');
	is($session->error(q{UPDATE event SET status = 'live'}), '', 'changes a bound table');
	is($session->value(q{SELECT wbcache.get('page:1') IS NULL}), 't', 'which invalidates');
	is($session->error(q{CREATE TEMP TABLE seen (status wbcache.cache_status)}), '', 'uses a type');
	is($session->error(q{SELECT wbcache.invalidate('page:1', 'MANUAL')}), '', 'invalidates');
	like($session->error('SELECT wbcache.clear()'), qr/42501/, 'and may no more than that');
};

done_testing();
