"""Fixtures: real leagues, real teams, and where their kick-offs come from.

Two sources, one shape (`Fixture`):
  load_schedule(path)    published schedules: NFL as nflverse CSV (US Eastern), soccer as openfootball JSON (local
                         time of the league's country); kick-offs are converted to UTC and otherwise left as they are
  built_in_fixtures(now) a small set of real pairings with kick-offs around `now`, in every status

Nothing here reads the clock: the callers (api.py, upstream.py) pass `now` as an aware UTC datetime. Objects are
never changed after they are built, so threads share them freely; a status set by hand lives in api.py.
"""

import csv
import json
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Optional
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

STATUSES = ("unplayed", "live", "half", "completed", "cancelled", "suspended", "delayed")
ACTIVE_STATUSES = ("unplayed", "live", "half", "suspended", "delayed")
LIVE_STATUSES = ("live", "half")


class ScheduleError(Exception):
    """A schedule that can't be read; the message names the file."""


@dataclass(frozen=True)
class Sport:
    id: str
    name: str
    # Minutes from kick-off; half_time is None where a game has no break of its own in the feed.
    length: int
    half_time: Optional[tuple] = None


@dataclass(frozen=True)
class League:
    id: str
    name: str
    sport: Sport
    prefix: str     # begins the ids of the league's fixtures and teams
    zone: str       # of the times in the schedule files


@dataclass(frozen=True)
class Team:
    id: str
    name: str
    abbreviation: Optional[str]


@dataclass(frozen=True)
class Fixture:
    id: str
    game_id: str
    league: League
    home: Team
    away: Team
    start: datetime                       # aware, UTC
    start_known: bool = True              # False: the schedule has a date only, and start is noon local time
    fixed_status: Optional[str] = None    # overrides the clock
    score: Optional[tuple] = None         # (home, away), told once the fixture is completed
    season: dict = field(default_factory=dict)
    venue: dict = field(default_factory=dict)


FOOTBALL = Sport("football", "Football", 195, (90, 103))
SOCCER = Sport("soccer", "Soccer", 115, (47, 62))
BASKETBALL = Sport("basketball", "Basketball", 150, (65, 80))
HOCKEY = Sport("ice_hockey", "Ice Hockey", 155)
BASEBALL = Sport("baseball", "Baseball", 180)

NFL = League("nfl", "NFL", FOOTBALL, "nfl", "America/New_York")
NBA = League("nba", "NBA", BASKETBALL, "nba", "America/New_York")
NHL = League("nhl", "NHL", HOCKEY, "nhl", "America/New_York")
MLB = League("mlb", "MLB", BASEBALL, "mlb", "America/New_York")

# By the name of the openfootball file.
SOCCER_LEAGUES = {
    "en.1": League("england_-_premier_league", "England - Premier League", SOCCER, "epl", "Europe/London"),
    "en.2": League("england_-_championship", "England - Championship", SOCCER, "efl", "Europe/London"),
    "es.1": League("spain_-_la_liga", "Spain - La Liga", SOCCER, "laliga", "Europe/Madrid"),
    "de.1": League("germany_-_bundesliga", "Germany - Bundesliga", SOCCER, "bundesliga", "Europe/Berlin"),
    "it.1": League("italy_-_serie_a", "Italy - Serie A", SOCCER, "seriea", "Europe/Rome"),
    "fr.1": League("france_-_ligue_1", "France - Ligue 1", SOCCER, "ligue1", "Europe/Paris"),
    "nl.1": League("netherlands_-_eredivisie", "Netherlands - Eredivisie", SOCCER, "eredivisie", "Europe/Amsterdam"),
    "pt.1": League("portugal_-_primeira_liga", "Portugal - Primeira Liga", SOCCER, "primeira", "Europe/Lisbon"),
}

NFL_TEAMS = {
    "ARI": "Arizona Cardinals", "ATL": "Atlanta Falcons", "BAL": "Baltimore Ravens", "BUF": "Buffalo Bills",
    "CAR": "Carolina Panthers", "CHI": "Chicago Bears", "CIN": "Cincinnati Bengals", "CLE": "Cleveland Browns",
    "DAL": "Dallas Cowboys", "DEN": "Denver Broncos", "DET": "Detroit Lions", "GB": "Green Bay Packers",
    "HOU": "Houston Texans", "IND": "Indianapolis Colts", "JAX": "Jacksonville Jaguars", "KC": "Kansas City Chiefs",
    "LA": "Los Angeles Rams", "LAC": "Los Angeles Chargers", "LV": "Las Vegas Raiders", "MIA": "Miami Dolphins",
    "MIN": "Minnesota Vikings", "NE": "New England Patriots", "NO": "New Orleans Saints", "NYG": "New York Giants",
    "NYJ": "New York Jets", "PHI": "Philadelphia Eagles", "PIT": "Pittsburgh Steelers", "SEA": "Seattle Seahawks",
    "SF": "San Francisco 49ers", "TB": "Tampa Bay Buccaneers", "TEN": "Tennessee Titans",
    "WAS": "Washington Commanders",
}

SEASON_TYPES = {"REG": "Regular Season", "WC": "Wild Card", "DIV": "Divisional Round",
                "CON": "Conference Championship", "SB": "Super Bowl"}

# The feed has no "postponed": such a fixture is delayed until it gets a new date.
SCHEDULE_STATUSES = {"postponed": "delayed", "cancelled": "cancelled"}

# League, home, away, minutes from `now` to the kick-off, status that overrides the clock.
# No clock status changes in the first 20 minutes, so that answers stay the same for the length of a test.
BUILT_IN = (
    (NFL, ("KC", "Kansas City Chiefs"), ("BUF", "Buffalo Bills"), 90, None),
    (NFL, ("PHI", "Philadelphia Eagles"), ("DAL", "Dallas Cowboys"), 270, None),
    (NFL, ("GB", "Green Bay Packers"), ("CHI", "Chicago Bears"), 1530, None),
    (NFL, ("SF", "San Francisco 49ers"), ("SEA", "Seattle Seahawks"), -25, None),
    (NFL, ("BAL", "Baltimore Ravens"), ("PIT", "Pittsburgh Steelers"), -95, "half"),
    (NFL, ("MIA", "Miami Dolphins"), ("NYJ", "New York Jets"), -1500, None),
    (NBA, ("BOS", "Boston Celtics"), ("NYK", "New York Knicks"), 120, None),
    (NBA, ("LAL", "Los Angeles Lakers"), ("GSW", "Golden State Warriors"), 330, None),
    (NBA, ("DEN", "Denver Nuggets"), ("OKC", "Oklahoma City Thunder"), -20, None),
    (NBA, ("MIL", "Milwaukee Bucks"), ("CHI", "Chicago Bulls"), -400, None),
    (NHL, ("TOR", "Toronto Maple Leafs"), ("MTL", "Montréal Canadiens"), 60, None),
    (NHL, ("NYR", "New York Rangers"), ("BOS", "Boston Bruins"), -30, None),
    (NHL, ("EDM", "Edmonton Oilers"), ("CGY", "Calgary Flames"), 45, "delayed"),
    (MLB, ("NYY", "New York Yankees"), ("BOS", "Boston Red Sox"), 200, None),
    (MLB, ("LAD", "Los Angeles Dodgers"), ("SF", "San Francisco Giants"), -60, None),
    (MLB, ("CHC", "Chicago Cubs"), ("STL", "St. Louis Cardinals"), -40, "suspended"),
    (SOCCER_LEAGUES["en.1"], ("LIV", "Liverpool FC"), ("ARS", "Arsenal FC"), 75, None),
    (SOCCER_LEAGUES["en.1"], ("MUN", "Manchester United FC"), ("CHE", "Chelsea FC"), -15, None),
    (SOCCER_LEAGUES["en.1"], ("TOT", "Tottenham Hotspur FC"), ("EVE", "Everton FC"), -180, None),
    (SOCCER_LEAGUES["es.1"], ("RMA", "Real Madrid CF"), ("FCB", "FC Barcelona"), 1440, None),
    (SOCCER_LEAGUES["es.1"], ("ATM", "Club Atlético de Madrid"), ("SEV", "Sevilla FC"), -50, "half"),
    (SOCCER_LEAGUES["de.1"], ("FCB", "FC Bayern München"), ("BVB", "Borussia Dortmund"), 2880, None),
    (SOCCER_LEAGUES["it.1"], ("INT", "FC Internazionale Milano"), ("JUV", "Juventus FC"), 180, "cancelled"),
    (SOCCER_LEAGUES["fr.1"], ("PSG", "Paris Saint-Germain FC"), ("OM", "Olympique de Marseille"), 4320, None),
)


def slug(text):
    """Lowercase ASCII letters and digits joined by hyphens; accents are dropped."""
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


def parse_time(text):
    """The aware datetime of an ISO 8601 text, UTC unless it says otherwise. Throws ValueError."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def clock_status(fixture, now):
    """The status of a fixture at `now`, as the schedule and the clock have it."""
    if fixture.fixed_status:
        return fixture.fixed_status
    minutes = (now - fixture.start).total_seconds() / 60
    sport = fixture.league.sport
    if minutes < 0:
        return "unplayed"
    if minutes >= sport.length:
        return "completed"
    if sport.half_time and sport.half_time[0] <= minutes < sport.half_time[1]:
        return "half"
    return "live"


def built_in_fixtures(now):
    """The built-in set, sorted by kick-off; `now` is rounded down to the minute."""
    now = now.replace(second=0, microsecond=0)
    fixtures = []
    for league, home, away, minutes, status in BUILT_IN:
        fixtures.append(Fixture(
            id=f"{league.prefix}-{slug(home[0])}-{slug(away[0])}",
            game_id=f"{league.prefix}_{home[0]}_{away[0]}",
            league=league, home=named_team(league, *home), away=named_team(league, *away),
            start=now + timedelta(minutes=minutes), fixed_status=status,
            season={"type": "Regular Season", "year": str(now.year), "week": None}))
    return sorted(fixtures, key=lambda f: (f.start, f.id))


def named_team(league, abbreviation, name):
    return Team(f"{league.prefix}-{slug(abbreviation)}", name, abbreviation)


def load_schedule(path):
    """Fixtures of one schedule file, or of all those under a folder, sorted by kick-off.

    Files of another kind in a folder are passed over. Raises ScheduleError when nothing usable is found, or when a
    schedule has a row that makes no sense.
    """
    path = Path(path)
    if not path.exists():
        raise ScheduleError(f"no such file or folder: {path}")
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    fixtures = [fixture for file in files for fixture in load_file(file)]
    if not fixtures:
        raise ScheduleError(f"no schedule found in {path}: expected nflverse *.csv or openfootball *.json")
    return sorted(with_unique_ids(fixtures), key=lambda f: (f.start, f.id))


def load_file(file):
    """Fixtures of one file; an empty list if it is no schedule."""
    loader = {".csv": load_nfl, ".json": load_soccer}.get(file.suffix)
    if loader is None or not file.is_file():
        return []
    try:
        return loader(file)
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise ScheduleError(f"can't read {file}: {type(error).__name__}: {error}") from error


def load_nfl(file):
    with open(file, encoding="utf-8", newline="") as source:
        rows = csv.DictReader(source)
        if not {"game_id", "gameday", "gametime", "home_team", "away_team"} <= set(rows.fieldnames or ()):
            return []
        return [nfl_fixture(row) for row in rows]


def nfl_fixture(row):
    start, known = kick_off(row["gameday"], row["gametime"], NFL.zone)
    played = row.get("home_score") and row.get("away_score")
    return Fixture(
        id="nfl-" + slug(row["game_id"]), game_id=row["game_id"], league=NFL,
        home=nfl_team(row["home_team"], row["season"]), away=nfl_team(row["away_team"], row["season"]),
        start=start, start_known=known,
        score=(int(row["home_score"]), int(row["away_score"])) if played else None,
        season={"type": SEASON_TYPES.get(row["game_type"], row["game_type"]), "year": row["season"],
                "week": row["week"]},
        venue={"name": row.get("stadium") or None, "neutral": row.get("location") == "Neutral"})


def nfl_team(code, season):
    name = NFL_TEAMS.get(code, code)
    if code == "WAS" and int(season) in (2020, 2021):
        name = "Washington Football Team"
    return Team("nfl-" + slug(code), name, code)


def load_soccer(file):
    with open(file, encoding="utf-8") as source:
        document = json.load(source)
    if not isinstance(document, dict) or "matches" not in document:
        return []
    name = document.get("name", file.stem)
    year = re.search(r"\d{4}([/-]\d{2,4})?", name)
    season = year.group().replace("/", "-") if year else None
    league = SOCCER_LEAGUES.get(file.stem) or League(
        slug(name).replace("-", "_"), name, SOCCER, slug(file.stem), "UTC")
    return [soccer_fixture(match, league, season) for match in document["matches"]]


def soccer_fixture(match, league, season):
    home, away = soccer_team(match["team1"], league), soccer_team(match["team2"], league)
    start, known = kick_off(match["date"], match.get("time"), league.zone)
    goals = (match.get("score") or {}).get("ft")
    identity = f"{league.prefix}-{slug(season or match['date'])}-{slug(home.name)}-{slug(away.name)}"
    return Fixture(
        id=identity, game_id=identity, league=league, home=home, away=away, start=start, start_known=known,
        fixed_status=SCHEDULE_STATUSES.get(match.get("status")),
        score=tuple(goals) if goals else None,
        season={"type": "Regular Season", "year": season, "week": match.get("round")})


def soccer_team(name, league):
    return Team(f"{league.prefix}-{slug(name)}", name, None)


def kick_off(day, time, zone):
    """(UTC datetime, whether the time of day is known) of a local date and a local HH:MM."""
    try:
        place = ZoneInfo(zone)
    except ZoneInfoNotFoundError as error:
        raise ScheduleError(f"no time zone data for {zone}: install the package tzdata") from error
    local = datetime.strptime(f"{day} {time or '12:00'}", "%Y-%m-%d %H:%M").replace(tzinfo=place)
    return local.astimezone(timezone.utc), bool(time)


def with_unique_ids(fixtures):
    """The fixtures, with -2, -3, … appended to an id that was met before (teams that play more than twice)."""
    seen = {}
    for fixture in fixtures:
        seen[fixture.id] = seen.get(fixture.id, 0) + 1
        if seen[fixture.id] > 1:
            fixture = Fixture(**{**vars(fixture), "id": f"{fixture.id}-{seen[fixture.id]}"})
        yield fixture


def mid_season(fixtures):
    """One hour before the middle kick-off: a time with games behind and games ahead."""
    return fixtures[len(fixtures) // 2].start - timedelta(hours=1)
