"""The API itself: what each path under /api/v3 answers when nothing has been told to go wrong.

Called by server.py from many threads at once; the lock guards the statuses set by hand, the price versions and the
dates of modification. Fixtures never change after the start.
"""

import hashlib
import threading
from datetime import datetime, timedelta, timezone
from email.utils import formatdate

import data
import prices
from messages import BadRequest, Response, decoded_segment, error_response, json_response

BASE = "/api/v3"
PAGE_SIZE = 100
MAX_IDS = 5                     # fixtures and sportsbooks in one request for odds, as in the real API
MAX_BLOB = 256 * 1024 * 1024


class Api:
    """fixtures: sorted by kick-off; clock: returns the aware UTC time the API believes in; api_key: None lets
    everyone in; price_every: seconds after which prices move by themselves, 0 for never."""

    def __init__(self, fixtures, clock, api_key=None, price_every=0):
        self.fixtures = {fixture.id: fixture for fixture in fixtures}
        self.clock = clock
        self.api_key = api_key
        self.price_every = price_every
        self.started = int(datetime.now(timezone.utc).timestamp())
        self.lock = threading.Lock()
        self.statuses = {}      # fixture id -> status set by hand
        self.versions = {}      # fixture id, or None for all -> (number of changes, Unix time of the last)
        self.modified = {}      # target -> (digest of the data, Unix time it was first seen)
        self.routes = {
            BASE + "/fixtures": self.list_fixtures,
            BASE + "/fixtures/active": self.list_active_fixtures,
            BASE + "/fixtures/odds": self.list_odds,
            BASE + "/markets/active": self.list_markets,
            BASE + "/blob": self.blob,
        }

    def respond(self, request):
        """The response to a request; never throws for what a client may send."""
        if request.method != "GET":
            return error_response(405, "method_not_allowed", "Only GET is served here.", [("Allow", "GET")])
        if not self.authorized(request):
            return error_response(401, "unauthorized", "The API key is missing or invalid.")
        route = self.routes.get(request.path)
        if route is None and (request.path + "/").startswith(BASE + "/echo/"):
            route = self.echo
        if route is None:
            return error_response(404, "not_found", "No such endpoint.")
        try:
            return route(request)
        except BadRequest as error:
            return error_response(400, "bad_request", str(error))

    def authorized(self, request):
        if self.api_key is None:
            return True
        return self.api_key in (request.headers.get("X-Api-Key"), request.value("key"))

    # Fixtures

    def list_fixtures(self, request):
        return self.fixture_page(request)

    def list_active_fixtures(self, request):
        return self.fixture_page(request, among=data.ACTIVE_STATUSES)

    def fixture_page(self, request, among=None):
        """A page of fixtures that fit the filters of the query; unknown parameters are ignored."""
        now = self.clock()
        wanted = fixture_filter(request)
        entries = []
        for fixture in self.fixtures.values():
            status = self.status(fixture, now)
            if (among is None or status in among) and wanted(fixture, status):
                entries.append((fixture, status))
        return page_response(request, entries, lambda entry: fixture_entry(*entry))

    def status(self, fixture, now):
        return self.statuses.get(fixture.id) or data.clock_status(fixture, now)

    def set_status(self, fixture_id, status):
        """False if there is no such fixture. Any text is taken: a feed may send a status nobody has heard of."""
        if fixture_id not in self.fixtures:
            return False
        with self.lock:
            self.statuses[fixture_id] = status
        return True

    # Odds and markets

    def list_odds(self, request):
        """Prices of up to five fixtures by up to five sportsbooks; all sportsbooks where none is named."""
        ids = request.values("fixture_id")
        if not 1 <= len(ids) <= MAX_IDS:
            raise BadRequest(f"fixture_id must be given, from 1 to {MAX_IDS} times")
        books = chosen_books(request.values("sportsbook"))
        markets = {market.lower() for market in request.values("market")}
        now = self.clock()
        fixtures = [self.fixtures[key] for key in dict.fromkeys(ids) if key in self.fixtures]

        def entry(fixture):
            status = self.status(fixture, now)
            rows = prices.odds(fixture, status, books, self.edition(fixture, now))
            if markets:
                rows = [row for row in rows if {row["market_id"], row["market"].lower()} & markets]
            return {**fixture_entry(fixture, status), "odds": rows}

        return page_response(request, fixtures, entry, note=prices.NOTE)

    def edition(self, fixture, now):
        """The prices in force: those of the opening a week before kick-off, or of the latest change since."""
        changes, since = zip(*(self.versions.get(key, (0, 0)) for key in (None, fixture.id)))
        opened = (fixture.start - timedelta(days=7)).timestamp()
        bucket = int(now.timestamp() // self.price_every) if self.price_every else 0
        name = f"{changes[0]}.{changes[1]}.{bucket}"
        return prices.Edition(name, max(opened, *since, bucket * self.price_every))

    def change_prices(self, fixture_id=None):
        """Moves the prices of one fixture, or of all; returns how often that has been done."""
        now = self.clock().timestamp()
        with self.lock:
            number = self.versions.get(fixture_id, (0, 0))[0] + 1
            self.versions[fixture_id] = (number, now)
        return number

    def list_markets(self, request):
        """Markets that take bets now, of one fixture, or of all that are active; with Last-Modified."""
        now = self.clock()
        fixture_id = request.value("fixture_id")
        chosen = [self.fixtures.get(fixture_id)] if fixture_id else self.fixtures.values()
        found = {}
        for fixture in filter(None, chosen):
            for market in prices.open_markets(fixture, self.status(fixture, now)):
                leagues = found.setdefault((market.id, market.name), {}).setdefault(fixture.league.sport, {})
                leagues[fixture.league.id] = fixture.league.name
        response = page_response(request, sorted(found.items()), market_entry)
        response.headers.append(("Last-Modified", self.modified_date(request.target, response.body)))
        return response

    def modified_date(self, target, body):
        """When the answer to this target last changed. Two changes never share a second, so the date is as good as
        an ETag, at the price of running ahead of the clock where changes come faster than that."""
        digest = hashlib.blake2b(body, digest_size=16).digest()
        with self.lock:
            known, since = self.modified.get(target, (digest, self.started))
            if known != digest:
                since = max(int(datetime.now(timezone.utc).timestamp()), since + 1)
            self.modified[target] = (digest, since)
        return formatdate(since, usegmt=True)

    # For tests that want to see their own request, or a body of a given size

    def echo(self, request):
        headers = request.headers
        document = {
            "n": request.n,
            "method": request.method,
            "target": request.target,
            "path": request.path,
            "segments": [decoded_segment(part) for part in request.path[len(BASE + "/echo/"):].split("/") if part],
            "query": by_name(request.query()),
            "protocol": request.protocol,
            "headers": {
                "host": headers.get("Host"),
                "x_api_key_present": headers.get("X-Api-Key") is not None,
                "if_none_match": headers.get("If-None-Match"),
                "if_modified_since": headers.get("If-Modified-Since"),
                "accept": headers.get("Accept"),
                "accept_encoding": headers.get("Accept-Encoding"),
                "user_agent": headers.get("User-Agent"),
            },
            "header_names": list(headers.keys()),
        }
        if request.salt is not None:
            document["volatile"] = request.salt
        return json_response(200, document)

    def blob(self, request):
        """JSON of exactly `size` bytes; another seed gives other bytes."""
        size = request.number("size", 1024, 1, MAX_BLOB)
        seed = request.value("seed", "0")
        if request.salt is not None:
            seed = f"{seed}.{request.salt}"
        if size == 1:
            body = b"%d" % (int.from_bytes(hashlib.blake2b(seed.encode()).digest(), "big") % 10)
        else:
            filler = hashlib.shake_128(seed.encode()).hexdigest(size // 2 + 1).encode()
            head, tail = (b'{"blob": "', b'"}') if size >= 16 else (b'"', b'"')
            body = head + filler[:size - len(head) - len(tail)] + tail
        return Response(200, body, [("Content-Type", "application/json")])


def page_response(request, rows, render, **more):
    """The page of the rows that the query asks for, in the API's envelope."""
    page = request.number("page", 1, 1, 10 ** 6)
    limit = request.number("limit", PAGE_SIZE, 1, PAGE_SIZE)
    first = (page - 1) * limit
    document = {
        "data": [render(row) for row in rows[first:first + limit]],
        "page": page,
        "total_pages": max(1, -(-len(rows) // limit)),
        "has_more": first + limit < len(rows),
        **more,
    }
    if request.salt is not None:
        document["volatile"] = request.salt
    return json_response(200, document)


def fixture_filter(request):
    """A function (fixture, status) -> whether the query wants it."""
    ids = set(request.values("id", "fixture_id"))
    sports = {value.lower() for value in request.values("sport")}
    leagues = {value.lower() for value in request.values("league")}
    teams = set(request.values("team_id"))
    statuses = set(request.values("status"))
    is_live = request.value("is_live")
    after, before = (point_in_time(request, name) for name in ("start_date_after", "start_date_before"))

    def wanted(fixture, status):
        league = fixture.league
        return ((not ids or fixture.id in ids)
                and (not sports or sports & {league.sport.id, league.sport.name.lower()})
                and (not leagues or leagues & {league.id, league.name.lower()})
                and (not teams or teams & {fixture.home.id, fixture.away.id})
                and (not statuses or status in statuses)
                and (is_live is None or (is_live.lower() in ("true", "1")) == (status in data.LIVE_STATUSES))
                and (after is None or fixture.start > after)
                and (before is None or fixture.start < before))

    return wanted


def point_in_time(request, name):
    text = request.value(name)
    if text is None:
        return None
    try:
        return data.parse_time(text.replace(" ", "+"))      # an unencoded + of a UTC offset
    except ValueError as error:
        raise BadRequest(f"{name} must be an ISO 8601 time, not {text!r}") from error


def fixture_entry(fixture, status):
    league, season, venue = fixture.league, fixture.season, fixture.venue
    entry = {
        "id": fixture.id,
        "game_id": fixture.game_id,
        "start_date": fixture.start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "start_date_known": fixture.start_known,
        "home_competitors": [competitor(fixture.home)],
        "away_competitors": [competitor(fixture.away)],
        "home_team_display": fixture.home.name,
        "away_team_display": fixture.away.name,
        "status": status,
        "is_live": status in data.LIVE_STATUSES,
        "has_odds": bool(prices.open_markets(fixture, status)),
        "sport": named(league.sport),
        "league": named(league),
        "tournament": None,
        "season_type": season.get("type"),
        "season_year": season.get("year"),
        "season_week": season.get("week"),
        "venue_name": venue.get("name"),
        "venue_neutral": venue.get("neutral", False),
        "result": None,
    }
    if status == "completed" and fixture.score:
        home, away = fixture.score
        entry["result"] = {"scores": {"home": {"total": home}, "away": {"total": away}}}
    return entry


def competitor(team):
    return {"id": team.id, "name": team.name, "abbreviation": team.abbreviation, "logo": None}


def named(thing):
    return {"id": thing.id, "name": thing.name}


def market_entry(item):
    (market_id, market_name), sports = item
    books = [{"id": key, "name": name} for key, name in prices.SPORTSBOOKS.items()]
    return {
        "id": market_id,
        "name": market_name,
        "sports": [{**named(sport), "leagues": [{"id": key, "name": name, "sportsbooks": books}
                                                for key, name in sorted(leagues.items())]}
                   for sport, leagues in sports.items()],
    }


def chosen_books(names):
    """Sportsbook ids for ids or names in any case. Throws BadRequest for one that doesn't exist."""
    if len(names) > MAX_IDS:
        raise BadRequest(f"sportsbook may be given at most {MAX_IDS} times")
    books = [name.lower() for name in names] or list(prices.SPORTSBOOKS)
    unknown = [book for book in books if book not in prices.SPORTSBOOKS]
    if unknown:
        raise BadRequest(f"unknown sportsbook {unknown[0]!r}; there are: {', '.join(prices.SPORTSBOOKS)}")
    return list(dict.fromkeys(books))


def by_name(pairs):
    """{name: value}; a name that comes more than once has the list of its values."""
    found = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}
