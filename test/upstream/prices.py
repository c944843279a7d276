"""Markets and made-up prices.

No price here was ever offered by anybody. A price is a function of fixture, market, sportsbook and edition, so that
the same question gets the same answer until the edition changes. The caller (api.py) decides what an edition is, and
passes the time of its beginning, which becomes the `timestamp` of every price in it.
"""

import hashlib
from dataclasses import dataclass
from typing import Optional

import data

NOTE = "made-up prices for tests"
MARGIN = 1.045      # sum of the implied probabilities of a market's outcomes

SPORTSBOOKS = {"draftkings": "DraftKings", "fanduel": "FanDuel", "betmgm": "BetMGM", "caesars": "Caesars",
               "pinnacle": "Pinnacle"}


@dataclass(frozen=True)
class Market:
    id: str
    name: str
    kind: str                    # a key of OUTCOMES
    line: float = 0.0            # the middle of the range of lines
    role: Optional[str] = None   # player markets: whose; they close at kick-off


@dataclass(frozen=True)
class Edition:
    """Prices as they stand between two changes."""
    name: str
    since: float    # Unix time


@dataclass(frozen=True)
class Outcome:
    selection: str
    name: str
    probability: float
    line: Optional[str] = None
    points: Optional[float] = None
    team: Optional[data.Team] = None


MARKETS = {
    "football": (
        Market("moneyline", "Moneyline", "two_way"),
        Market("point_spread", "Point Spread", "spread", 3.5),
        Market("total_points", "Total Points", "total", 44.5),
        Market("player_passing_yards", "Player Passing Yards", "player_total", 244.5, "quarterback"),
        Market("player_rushing_yards", "Player Rushing Yards", "player_total", 62.5, "running back"),
        Market("player_receiving_yards", "Player Receiving Yards", "player_total", 57.5, "wide receiver"),
        Market("anytime_touchdown_scorer", "Anytime Touchdown Scorer", "player_yes", role="running back"),
    ),
    "soccer": (
        Market("moneyline_3-way", "Moneyline 3-Way", "three_way"),
        Market("asian_handicap", "Asian Handicap", "spread", 0.5),
        Market("total_goals", "Total Goals", "total", 2.5),
        Market("both_teams_to_score", "Both Teams To Score", "yes_no"),
        Market("player_shots_on_target", "Player Shots On Target", "player_total", 1.5, "striker"),
        Market("anytime_goal_scorer", "Anytime Goal Scorer", "player_yes", role="striker"),
    ),
    "basketball": (
        Market("moneyline", "Moneyline", "two_way"),
        Market("point_spread", "Point Spread", "spread", 4.5),
        Market("total_points", "Total Points", "total", 224.5),
        Market("player_points", "Player Points", "player_total", 24.5, "point guard"),
        Market("player_rebounds", "Player Rebounds", "player_total", 9.5, "center"),
        Market("player_assists", "Player Assists", "player_total", 7.5, "point guard"),
    ),
    "ice_hockey": (
        Market("moneyline", "Moneyline", "two_way"),
        Market("puck_line", "Puck Line", "spread", 1.5),
        Market("total_goals", "Total Goals", "total", 6.5),
        Market("player_shots_on_goal", "Player Shots On Goal", "player_total", 2.5, "left wing"),
    ),
    "baseball": (
        Market("moneyline", "Moneyline", "two_way"),
        Market("run_line", "Run Line", "spread", 1.5),
        Market("total_runs", "Total Runs", "total", 8.5),
        Market("player_strikeouts", "Player Strikeouts", "player_total", 5.5, "starting pitcher"),
    ),
}


def fraction(*parts):
    """A number in [0, 1) that depends on the parts and on nothing else."""
    digest = hashlib.blake2b("|".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2 ** 64


def american(probability):
    """The American price of an implied probability: -110 stakes 110 to win 100, +150 stakes 100 to win 150."""
    probability = min(max(probability, 0.02), 0.98)
    if probability >= 0.5:
        return -round(100 * probability / (1 - probability))
    return round(100 * (1 - probability) / probability)


def open_markets(fixture, status):
    """The markets that take bets in this status: all before the game, no player markets during it, none after."""
    markets = MARKETS[fixture.league.sport.id]
    if status in ("unplayed", "delayed"):
        return markets
    if status in data.LIVE_STATUSES:
        return tuple(market for market in markets if market.role is None)
    return ()


def odds(fixture, status, books, edition):
    """The price list of a fixture: a list of JSON objects, one per open market, sportsbook and outcome."""
    return [odds_entry(fixture, market, book, outcome, edition)
            for market in open_markets(fixture, status)
            for book in books
            for outcome in outcomes(fixture, market, book, edition)]


def odds_entry(fixture, market, book, outcome, edition):
    normalized = data.slug(outcome.selection).replace("-", "_")
    suffix = "" if outcome.points is None else f"_{outcome.points:g}"
    side = f"_{outcome.line}" if outcome.line else ""
    return {
        "id": f"{fixture.id}:{book}:{market.id}:{normalized}{side}{suffix}",
        "sportsbook": SPORTSBOOKS[book],
        "market": market.name,
        "name": outcome.name,
        "is_main": True,
        "selection": outcome.selection,
        "normalized_selection": normalized,
        "market_id": market.id,
        "selection_line": outcome.line,
        "player_id": None,
        "team_id": outcome.team.id if outcome.team else None,
        "price": american(outcome.probability * MARGIN),
        "timestamp": edition.since,
        "grouping_key": "default" if outcome.points is None else f"default:{abs(outcome.points):g}",
        "points": outcome.points,
    }


def outcomes(fixture, market, book, edition):
    """The outcomes of a market; the probabilities of those that exclude each other add up to 1."""
    lean = 0.3 + 0.4 * fraction(fixture.id, market.id)
    drift = 0.06 * (fraction(fixture.id, market.id, book, edition.name) - 0.5)
    return OUTCOMES[market.kind](fixture, market, lean + drift)


def two_way(fixture, market, chance):
    home, away = fixture.home, fixture.away
    return [Outcome(home.name, home.name, chance, team=home), Outcome(away.name, away.name, 1 - chance, team=away)]


def three_way(fixture, market, chance):
    home, away = fixture.home, fixture.away
    return [Outcome(home.name, home.name, chance * 0.74, team=home), Outcome("Draw", "Draw", 0.26),
            Outcome(away.name, away.name, (1 - chance) * 0.74, team=away)]


def spread(fixture, market, chance):
    home, away = fixture.home, fixture.away
    favourite = -1 if fraction(fixture.id, market.id) >= 0.5 else 1
    points = favourite * market_line(fixture, market)
    even = 0.5 + (chance - 0.5) / 5
    return [Outcome(home.name, f"{home.name} {points:+g}", even, points=points, team=home),
            Outcome(away.name, f"{away.name} {-points:+g}", 1 - even, points=-points, team=away)]


def total(fixture, market, chance):
    return over_under("", market_line(fixture, market), chance)


def yes_no(fixture, market, chance):
    return [Outcome("Yes", "Yes", chance), Outcome("No", "No", 1 - chance)]


def player_total(fixture, market, chance):
    line = market_line(fixture, market)
    return [outcome for team in (fixture.home, fixture.away)
            for outcome in over_under(f"{team.name} {market.role}", line, chance, team)]


def player_yes(fixture, market, chance):
    names = [(team, f"{team.name} {market.role}") for team in (fixture.home, fixture.away)]
    return [Outcome(name, name, chance, team=team) for team, name in names]


def over_under(who, line, chance, team=None):
    even = 0.5 + (chance - 0.5) / 5
    prefix = f"{who} " if who else ""
    return [Outcome(who, f"{prefix}Over {line:g}", even, "over", line, team),
            Outcome(who, f"{prefix}Under {line:g}", 1 - even, "under", line, team)]


def market_line(fixture, market):
    """A line ending in .5, up to a fifth above or below the market's middle."""
    steps = int(market.line / 5)
    return market.line + round((2 * fraction(fixture.id, market.id, "line") - 1) * steps)


OUTCOMES = {"two_way": two_way, "three_way": three_way, "spread": spread, "total": total, "yes_no": yes_no,
            "player_total": player_total, "player_yes": player_yes}
