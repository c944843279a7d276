# pg_dump carries the sidebar: in a database that was restored it works without a further call, and is refreshed there.

use strict;
use warnings FATAL => 'all';

use Test::More;
use WbcacheDump;
use WbcacheTest;

my $node = start_instance('main', databases => 'postgres, plain, custom');
my $session = session($node, 'postgres');

$session->run(<<'END');
CREATE EXTENSION wbcache;
CREATE ROLE app LOGIN; CREATE ROLE web LOGIN;
GRANT EXECUTE ON FUNCTION wbcache.bind_events, wbcache.alter_endpoint TO app;
CREATE SCHEMA app AUTHORIZATION app;
SET SESSION AUTHORIZATION app;
CREATE TABLE app.event (id int PRIMARY KEY, sport text, league text, status text, starts timestamp);
INSERT INTO app.event VALUES (1, 'nfl', 'nfl', 'live', '2000-01-01'), (2, 'soccer', 'epl', 'unplayed', '9999-01-01'), (3, 'soccer', NULL, 'final', NULL);
SELECT wbcache.bind_events('app.event', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.alter_endpoint('sidebar', readers => '{web}');
RESET SESSION AUTHORIZATION;
INSERT INTO wbcache.sport_weight VALUES ('soccer', 7);
END
ok(await_value($session, 'SELECT wbcache.sidebar_state()', 'current'), 'the task refreshes as a role that is no superuser');

moves($node, $session, [
		'SELECT * FROM wbcache.sidebar_data ORDER BY sport_id, league_id', 'SELECT * FROM wbcache.sidebar_now ORDER BY sport_id, league_id',
		'SELECT * FROM wbcache.sport_weight', 'SELECT name, function, owner FROM wbcache.task',
		q{SELECT relname, relkind, relowner::regrole FROM pg_class WHERE relname ~ 'sidebar_(data|now)' ORDER BY relname}
	], sub {
		my ($restored, $database) = @_;

		$restored->run('SET ROLE web');
		is($restored->value(q{SELECT wbcache.get_sidebar() #>> '{sports,0,live_games}'}), 1, "$database: a reader reads");
		$restored->run('RESET ROLE');
		like($restored->value(q{SELECT wbcache.run_task('sidebar_refresh')}), qr{^(?:refreshed|none): }, "$database: the task runs");
		is($restored->value("SELECT wbcache.sidebar_state()"), "current", "$database: it refreshes");
		is($restored->value(q{SELECT wbcache.get_sidebar() ->> 'source'}), 'sidebar_data', "$database: and it is read");
		$restored->run(q{UPDATE app.event SET status = 'live' WHERE id = 2});
		is($restored->value(q{SELECT wbcache.get_sidebar('soccer') #>> '{sports,0,live_games}'}), 1, "$database: a change is shown");
		is($session->value(q{SELECT wbcache.get_sidebar('soccer') #>> '{sports,0,live_games}'}), 0, "$database: and only there");
	});

$session->close;
done_testing();
