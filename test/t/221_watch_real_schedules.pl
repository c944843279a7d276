# Schedules, played at speed: every game goes unplayed, live, half, live, completed, or is cancelled or postponed, in the
# order of the clock. Each change invalidates its own game and the sidebars that show it, and no other. The real schedules
# where there are any (WBCACHE_SHARED_DATA), else the test upstream's own few games.

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheTest;

my $reader = abs_path(dirname(__FILE__)) . '/../upstream';
my $file = PostgreSQL::Test::Utils::tempdir() . '/fixtures';
my $shared = $ENV{WBCACHE_SHARED_DATA} // '';

# One line a game: id, sport, league, kick-off, minutes to half time, to its end and to the end, status in the schedule.
my $program = <<'END';
import sys
sys.path.insert(0, sys.argv[1])
import data
fixtures = data.load_schedule(sys.argv[2]) if sys.argv[2] else data.built_in_fixtures(data.parse_time("2026-01-01T12:00"))
for f in fixtures:
    half = f.league.sport.half_time or (f.league.sport.length // 2, f.league.sport.length // 2 + 15)
    print(f.id, f.league.sport.id, f.league.id, f.start.isoformat(), *half, f.league.sport.length, f.fixed_status or "", sep="\t")
END
note('no real schedules here; playing the few games of the test upstream') unless $shared;
open(my $out, '>', $file) or die "could not write $file: $!\n";
open(my $python, '-|', 'python3', '-B', '-c', $program, $reader, $shared) or die "could not run python3: $!\n";
print $out $_ while <$python>;
ok(close($python), 'the schedules are read');
close($out);

my $node = start_instance('main', conf => 'wbcache.loaders = 0');
my $session = session($node, 'postgres');

$session->run(<<"END");
CREATE EXTENSION wbcache;
CREATE TABLE fixture (id text, sport text, league text, starts timestamptz, half int, second_half int, length int, status text);
COPY fixture FROM '$file' (DELIMITER E'\\t', NULL '');
END
$session->run(<<'END');
CREATE TABLE event AS SELECT id, sport, league, 'unplayed' AS status, starts, 0 AS score FROM fixture;
ALTER TABLE event ADD PRIMARY KEY (id);
SELECT wbcache.bind_events('event', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.drop_endpoint('sidebar');

-- What happens, in the order of the clock. Some games are cancelled or postponed, in the schedule or here.
CREATE TABLE change AS
  WITH fate AS (SELECT *, CASE WHEN status IS NOT NULL THEN status WHEN n % 41 = 0 THEN 'cancelled' WHEN n % 43 = 0 THEN 'ppd' END AS fate
    FROM (SELECT *, row_number() OVER (ORDER BY starts, id) AS n FROM fixture) f)
  SELECT row_number() OVER (ORDER BY at, id) AS n, id, sport, league, at, status FROM (
    SELECT id, sport, league, starts AS at, fate AS status FROM fate WHERE fate IS NOT NULL
    UNION ALL
    SELECT id, sport, league, starts + minutes * interval '1 min', s
      FROM fate, LATERAL (VALUES (0, 'live'), (half, 'half'), (second_half, 'live'), (length, 'completed')) step (minutes, s)
      WHERE fate IS NULL) c;
ALTER TABLE change ADD PRIMARY KEY (n);

SELECT wbcache.create_endpoint('page', 'page:{id}', soft_ttl => '1 h', tags => ARRAY['game:{id}']),
       wbcache.create_endpoint('sidebar', 'sidebar:{sport_id}:{league_id}', soft_ttl => '1 h',
                               tags => ARRAY['sidebar', 'sidebar:sport:{sport_id}', 'sidebar:league:{league_id}']);
CREATE TABLE sidebar AS SELECT DISTINCT 'sidebar:' || s || ':' || l AS key
  FROM event, LATERAL (VALUES (sport, league), (sport, 'all'), ('all', league), ('all', 'all')) v (s, l);
CREATE FUNCTION shown_in(sport text, league text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
  SELECT ARRAY['sidebar:' || sport || ':' || league, 'sidebar:' || sport || ':all', 'sidebar:all:' || league, 'sidebar:all:all']
$$;
CREATE TABLE fault (n bigint, what text);
CREATE TABLE tally (changes bigint DEFAULT 0, looks bigint DEFAULT 0, superfluous bigint DEFAULT 0);
INSERT INTO tally DEFAULT VALUES;

-- What has no value any more though nothing of its own has changed; stores it again.
CREATE PROCEDURE look_at_all() LANGUAGE plpgsql AS $$
DECLARE
  gone text[];
  looked bigint;
BEGIN
  SELECT count(*), coalesce(array_agg(key) FILTER (WHERE value IS NULL), '{}') INTO looked, gone
    FROM (SELECT 'page:' || id AS key FROM event UNION ALL SELECT key FROM sidebar) k, wbcache.get(key) AS g (value);
  UPDATE tally SET looks = looks + looked, superfluous = superfluous + cardinality(gone);
  PERFORM wbcache.set(key, '1') FROM unnest(gone) key;
  COMMIT;
END $$;

-- The names under which these changes were counted are those of their games and sidebars, and no other.
CREATE PROCEDURE check_names(last bigint, first_n bigint, last_n bigint) LANGUAGE sql AS $$
  WITH game AS (SELECT DISTINCT id, sport, league FROM change WHERE n BETWEEN first_n AND last_n),
    allowed AS (
      SELECT 'game:' || id AS what FROM game
      UNION SELECT 'props:categories:' || id FROM game
      UNION SELECT 'odds:' || s || ':' || id FROM game, unnest(ARRAY['unplayed', 'live', 'half', 'completed', 'cancelled', 'suspended',
        'delayed', 'forfeited', 'invalid', 'postponed', 'ppd']) s
      UNION SELECT unnest(shown_in(sport, league)) FROM game),
    named AS (SELECT coalesce(what, kind || ' without a name') AS what FROM wbcache.invalidation_events WHERE number > last AND kind <> 'own key')
  INSERT INTO fault
    SELECT last_n, 'not named: game:' || id FROM game WHERE NOT EXISTS (SELECT FROM named WHERE what = 'game:' || id)
    UNION ALL
    SELECT last_n, 'named: ' || what FROM named WHERE what NOT IN (SELECT what FROM allowed)
$$;

CREATE PROCEDURE play() LANGUAGE plpgsql AS $$
DECLARE
  c change;
  own text[];
  gone int;
  day date;
  last bigint;
BEGIN
  FOR c IN SELECT * FROM change ORDER BY n LOOP
    own := ('page:' || c.id) || shown_in(c.sport, c.league);
    SELECT count(*) INTO gone FROM unnest(own) key WHERE wbcache.get(key) IS NULL;
    IF gone > 0 THEN
      UPDATE tally SET superfluous = superfluous + gone;
      PERFORM wbcache.set(key, '1') FROM unnest(own) key;
      COMMIT;
    END IF;
    -- An update that changes nothing of interest does nothing.
    UPDATE event SET status = status, score = score + 1 WHERE id = c.id;
    COMMIT;
    SELECT count(*) INTO gone FROM unnest(own) key WHERE wbcache.get(key) IS NULL;
    IF gone > 0 THEN
      INSERT INTO fault VALUES (c.n, gone || ' of its keys invalid by another column');
    END IF;
    IF c.n % 20 = 1 THEN
      SELECT coalesce(max(number), 0) INTO last FROM wbcache.invalidation_events;
    END IF;
    UPDATE event SET status = c.status WHERE id = c.id;
    COMMIT;
    SELECT count(*) INTO gone FROM unnest(own) key WHERE wbcache.get(key) IS NULL;
    IF gone < cardinality(own) THEN
      INSERT INTO fault VALUES (c.n, c.id || ': ' || gone || ' keys invalid');
    END IF;
    IF c.n % 20 = 0 THEN
      CALL check_names(last, c.n - 19, c.n);
    END IF;
    PERFORM wbcache.set(key, '1') FROM unnest(own) key;
    COMMIT;
    IF c.at::date IS DISTINCT FROM day THEN
      day := c.at::date;
      CALL look_at_all();
    END IF;
  END LOOP;
  UPDATE tally SET changes = (SELECT count(*) FROM change);
END $$;
CALL look_at_all();
UPDATE tally SET looks = 0, superfluous = 0;
END

$session->run('CALL play(); CALL look_at_all()');
my ($games) = $session->value('SELECT count(*) FROM event');
my ($changes, $looks, $superfluous) = split /\|/, $session->value('SELECT changes, looks, superfluous FROM tally');
note("$games games, $changes changes, $looks looks at all keys, $superfluous of them at a key that shares a stripe");

is($session->value("SELECT string_agg(n || ': ' || what, E'\\n') FROM (SELECT * FROM fault ORDER BY n LIMIT 20) f"), '',
	'each change invalidates its own game and its sidebars, and names no other');
cmp_ok($changes, '>=', $shared ? 10_000 : 50, 'changes');
is($session->value(q{SELECT count(*) FROM event WHERE status NOT IN ('completed', 'cancelled', 'ppd', 'delayed', 'half', 'suspended')}), 0,
	'all are over, or will not be played');

# A page depends on two stripes and a change commits 15 of 2^20.
cmp_ok($superfluous, '<=', 20 + 3 * $changes * 15 * 2 * $games / 2**20, 'other keys that became invalid: by a shared stripe only');
is($session->value(q{SELECT string_agg(DISTINCT reason::text, ' ' ORDER BY reason::text) FROM wbcache.invalidation_events
	WHERE what LIKE 'game:%'}) =~ s/^(?:CANCELLED )?(?:POSTPONED )?STATUS_CHANGE$/fine/r, 'fine', 'reasons');

$session->close;
done_testing();
