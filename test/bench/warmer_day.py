#!/usr/bin/env python3
"""For warmer.sh: the NFL Sunday and the soccer Saturday with most games, laid on one day.

warmer_day.py UPSTREAM_FOLDER SCHEDULES OUT: copies these games from the real schedules into files of the same kind in
the folder OUT, the soccer games with the Sunday's date, and prints a line a game: id, sport, league, kick-off, and
minutes to half time, to its end, and to the end of the game.
"""

import collections
import csv
import json
import sys
from datetime import date
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import data  # noqa: E402


def busiest(days, weekday):
    chosen = collections.Counter(day for day in days if date.fromisoformat(day).weekday() == weekday)
    return max(chosen, key=lambda day: (chosen[day], day))


def copy_nfl(source, out):
    rows = [row for file in sorted(source.rglob("*.csv")) for row in csv.DictReader(open(file, encoding="utf-8"))]
    sunday = busiest([row["gameday"] for row in rows], 6)
    with open(out / "nfl.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row for row in rows if row["gameday"] == sunday)
    return sunday


def copy_soccer(source, out, day):
    leagues = {file.name: json.load(open(file, encoding="utf-8")) for file in sorted(source.rglob("*.json"))}
    saturday = busiest([match["date"] for league in leagues.values() for match in league["matches"] if match.get("time")], 5)
    for name, league in leagues.items():
        matches = [{**match, "date": day} for match in league["matches"]
                   if match["date"] == saturday and match.get("time") and not match.get("status")]
        (out / name).write_text(json.dumps({**league, "matches": matches}), encoding="utf-8")
    return saturday


def main():
    source, out = Path(sys.argv[2]), Path(sys.argv[3])
    sunday = copy_nfl(source, out)
    saturday = copy_soccer(source, out, sunday)
    print(f"NFL of {sunday}, soccer of {saturday}", file=sys.stderr)
    for f in data.load_schedule(out):
        half = f.league.sport.half_time or (f.league.sport.length // 2, f.league.sport.length // 2 + 15)
        print(f.id, f.league.sport.id, f.league.id, f.start.isoformat(), *half, f.league.sport.length, sep="\t")


if __name__ == "__main__":
    main()
