#!/usr/bin/env python3
"""Self-test of the test upstream: the real program on a free port, asked over real sockets.

Run: python3 test_upstream.py [-v] [-k pattern], which takes test_behaviour.py along.
"""

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
from datetime import datetime, timedelta, timezone
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import data  # noqa: E402
from upstream_client import DEADLINE, ECHO, HERE, Upstream, WithUpstream, wait_until  # noqa: E402

REAL_SCHEDULES = (HERE / "../../../shared/data").resolve()


class EndpointTest(WithUpstream):

    def test_fixtures_come_in_pages(self):
        everything = self.up.json("/api/v3/fixtures")
        self.assertEqual((everything["page"], everything["has_more"]), (1, False))
        total = len(everything["data"])
        for size in (5, total // 2):
            met = []
            for number in range(1, -(-total // size) + 1):
                page = self.up.json(f"/api/v3/fixtures?limit={size}&page={number}")
                self.assertEqual(page["page"], number)
                self.assertEqual(page["has_more"], number * size < total)
                met += page["data"]
            self.assertEqual(met, everything["data"])
        beyond = self.up.json("/api/v3/fixtures?page=99")
        self.assertEqual((beyond["data"], beyond["has_more"]), ([], False))

    def test_fixtures_have_the_shape_of_the_feed(self):
        rows = self.up.json("/api/v3/fixtures?id=nfl-kc-buf")["data"]
        self.assertEqual(len(rows), 1)
        row = rows[0]
        self.assertEqual(row["sport"], {"id": "football", "name": "Football"})
        self.assertEqual(row["league"], {"id": "nfl", "name": "NFL"})
        self.assertEqual(row["home_competitors"][0]["name"], "Kansas City Chiefs")
        self.assertEqual(row["status"], "unplayed")
        start = datetime.fromisoformat(row["start_date"].replace("Z", "+00:00"))
        ahead = start - datetime.now(timezone.utc)
        self.assertTrue(timedelta(minutes=85) < ahead <= timedelta(minutes=90), ahead)

    def test_every_status_of_the_feed_occurs(self):
        rows = self.up.json("/api/v3/fixtures")["data"]
        self.assertEqual({row["status"] for row in rows}, set(data.STATUSES))
        self.assertTrue(all(row["is_live"] == (row["status"] in ("live", "half")) for row in rows))

    def test_active_leaves_out_what_is_over(self):
        everything = self.up.json("/api/v3/fixtures")["data"]
        active = self.up.json("/api/v3/fixtures/active")["data"]
        self.assertEqual(active, [row for row in everything if row["status"] not in ("completed", "cancelled")])

    def test_fixture_filters(self):
        def chosen(query):
            return {row["id"] for row in self.up.json("/api/v3/fixtures?" + query)["data"]}
        rows = self.up.json("/api/v3/fixtures")["data"]
        self.assertEqual(chosen("league=NFL"), {row["id"] for row in rows if row["league"]["id"] == "nfl"})
        self.assertEqual(chosen("sport=soccer&status=half"), {"laliga-atm-sev"})
        self.assertEqual(chosen("is_live=true"), {row["id"] for row in rows if row["is_live"]})
        self.assertEqual(chosen("team_id=nba-bos"), {"nba-bos-nyk"})
        middle = rows[len(rows) // 2]["start_date"]
        self.assertEqual(chosen(f"start_date_after={middle}"),
                         {row["id"] for row in rows if row["start_date"] > middle})
        self.assertEqual(chosen(f"start_date_before={middle}"),
                         {row["id"] for row in rows if row["start_date"] < middle})
        self.assertEqual(chosen("id=no-such-fixture"), set())

    def test_odds_are_deterministic_and_say_they_are_made_up(self):
        target = "/api/v3/fixtures/odds?fixture_id=nfl-kc-buf&sportsbook=DraftKings"
        first = self.up.json(target)
        self.assertEqual(first["note"], "made-up prices for tests")
        self.assertEqual(self.up.json(target), first)
        odds = first["data"][0]["odds"]
        self.assertEqual({row["sportsbook"] for row in odds}, {"DraftKings"})
        self.assertIn("moneyline", {row["market_id"] for row in odds})
        self.assertTrue(all(isinstance(row["price"], int) and abs(row["price"]) >= 100 for row in odds))
        self.assertEqual(len({row["id"] for row in odds}), len(odds))
        other = self.up.json(target.replace("DraftKings", "fanduel"))["data"][0]["odds"]
        self.assertNotEqual([row["price"] for row in other], [row["price"] for row in odds])

    def test_odds_by_market_and_of_several_fixtures(self):
        found = self.up.json("/api/v3/fixtures/odds?fixture_id=nfl-kc-buf&fixture_id=nba-bos-nyk&market=Moneyline")
        self.assertEqual([row["id"] for row in found["data"]], ["nfl-kc-buf", "nba-bos-nyk"])
        for row in found["data"]:
            self.assertEqual({entry["market_id"] for entry in row["odds"]}, {"moneyline"})

    def test_price_version_moves_prices(self):
        def prices(fixture):
            rows = self.up.json(f"/api/v3/fixtures/odds?fixture_id={fixture}")["data"][0]["odds"]
            return [(row["price"], row["timestamp"]) for row in rows]
        before = prices("nfl-kc-buf"), prices("nfl-phi-dal")
        self.up.control("price_version", id="nfl-kc-buf")
        self.assertNotEqual(prices("nfl-kc-buf"), before[0])
        self.assertEqual(prices("nfl-phi-dal"), before[1])
        self.up.control("price_version")
        self.assertNotEqual(prices("nfl-phi-dal"), before[1])

    def test_fixture_status_by_hand(self):
        target = "/api/v3/fixtures?id=nfl-phi-dal"
        self.assertEqual(self.up.json(target)["data"][0]["status"], "unplayed")
        for status in ("live", "completed", "forfeited"):
            self.up.control("fixture", id="nfl-phi-dal", status=status)
            self.assertEqual(self.up.json(target)["data"][0]["status"], status)
        odds = self.up.json("/api/v3/fixtures/odds?fixture_id=nfl-phi-dal")["data"][0]["odds"]
        self.assertEqual(odds, [])
        self.up.control("fixture", id="nfl-phi-dal", status="")
        self.assertEqual(self.up.json(target)["data"][0]["status"], "unplayed")

    def test_markets_close_with_the_status(self):
        def markets():
            rows = self.up.json("/api/v3/markets/active?fixture_id=nfl-gb-chi")["data"]
            return {row["id"] for row in rows}
        self.addCleanup(self.up.control, "fixture", id="nfl-gb-chi", status="")
        self.assertIn("player_passing_yards", markets())
        self.up.control("fixture", id="nfl-gb-chi", status="live")
        self.assertEqual(markets(), {"moneyline", "point_spread", "total_points"})
        self.up.control("fixture", id="nfl-gb-chi", status="completed")
        self.assertEqual(markets(), set())
        self.assertGreater(len(self.up.json("/api/v3/markets/active")["data"]), 10)

    def test_bad_requests_are_told_why(self):
        for target, word in (("/api/v3/fixtures?page=0", "page"), ("/api/v3/fixtures?limit=x", "limit"),
                             ("/api/v3/fixtures?start_date_after=soon", "start_date_after"),
                             ("/api/v3/fixtures/odds", "fixture_id"),
                             ("/api/v3/fixtures/odds?fixture_id=a&sportsbook=b", "sportsbook"),
                             ("/api/v3/blob?size=0", "size")):
            response = self.up.get(target)
            self.assertEqual(response.status, 400, target)
            self.assertIn(word, json.loads(response.data)["message"])
        self.assertEqual(self.up.get("/api/v3/nothing").status, 404)
        self.assertEqual(self.up.get("/").status, 404)
        self.assertEqual(self.up.get("/api/v3/fixtures", method="POST", body="{}").status, 405)

    def test_echo_shows_the_target_byte_by_byte(self):
        target = b"/api/v3/echo//a%2Fb/../%20x/c%C3%A9/caf\xc3\xa9\x85?q=1%2B1+2&q=%22&n=%0A&%ff"
        answer = self.up.raw(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        document = json.loads(answer.partition(b"\r\n\r\n")[2])
        self.assertEqual(document["target"].encode("latin-1"), target)
        self.assertEqual(document["segments"], ["a/b", "..", " x", "cé", "café\\x85"])
        self.assertEqual(document["query"], {"q": ["1+1 2", '"'], "n": "\n", "\\xff": ""})

    def test_echo_shows_headers_but_no_secret(self):
        answer = self.up.get(ECHO + "h", X_Api_Key="very-secret", Accept_Encoding="gzip", If_None_Match='"x"')
        self.assertNotIn(b"very-secret", answer.data)
        document = json.loads(answer.data)
        self.assertEqual(document["protocol"], "HTTP/1.1")
        headers = document["headers"]
        self.assertEqual((headers["x_api_key_present"], headers["accept_encoding"], headers["if_none_match"]),
                         (True, "gzip", '"x"'))
        self.assertEqual(headers["host"], f"127.0.0.1:{self.up.port}")
        self.assertIs(self.up.json(ECHO + "h")["headers"]["x_api_key_present"], False)

    def test_echo_numbers_the_requests_to_a_path(self):
        self.assertEqual([self.up.json(ECHO + "n?x=" + x)["n"] for x in "abc"], [1, 2, 3])
        self.assertEqual(self.up.json(ECHO + "other")["n"], 1)

    def test_blob_is_json_of_exactly_that_size(self):
        for size in (1, 2, 3, 15, 16, 17, 1024, 1_000_000):
            body = self.up.get(f"/api/v3/blob?size={size}&seed=a").data
            self.assertEqual(len(body), size)
            json.loads(body)
        self.assertEqual(body, self.up.get("/api/v3/blob?size=1000000&seed=a").data)
        self.assertNotEqual(body, self.up.get("/api/v3/blob?size=1000000&seed=b").data)


class ConditionalTest(WithUpstream):

    def test_etag_gives_304_while_nothing_changes(self):
        for target in ("/api/v3/fixtures", "/api/v3/fixtures/active", "/api/v3/fixtures/odds?fixture_id=nfl-kc-buf",
                       "/api/v3/markets/active", "/api/v3/blob?size=100"):
            first = self.up.get(target)
            etag = first.headers["ETag"]
            again = self.up.get(target, If_None_Match=f'"other", W/{etag}')
            self.assertEqual((again.status, again.data, again.headers["ETag"]), (304, b"", etag), target)
            self.assertEqual(self.up.get(target, If_None_Match='"other"').status, 200)
        counts = self.up.counts()["paths"]["/api/v3/blob?size=100"]
        self.assertEqual(counts, {"n": 3, "by_status": {"200": 2, "304": 1}})

    def test_echo_is_never_304_since_its_number_changes(self):
        etag = self.up.get(ECHO + "e").headers["ETag"]
        self.assertEqual(self.up.get(ECHO + "e", If_None_Match=etag).status, 200)

    def test_last_modified_of_markets(self):
        target = "/api/v3/markets/active?fixture_id=nfl-gb-chi"
        self.addCleanup(self.up.control, "fixture", id="nfl-gb-chi", status="")
        first = self.up.get(target)
        date = first.headers["Last-Modified"]
        self.assertEqual(self.up.get(target, If_Modified_Since=date).status, 304)
        self.assertEqual(self.up.get(target, If_Modified_Since=date, If_None_Match='"other"').status, 200)
        self.up.control("fixture", id="nfl-gb-chi", status="live")
        changed = self.up.get(target, If_Modified_Since=date)
        self.assertEqual(changed.status, 200)
        self.assertNotEqual(changed.headers["Last-Modified"], date)

    def test_no_etag_leaves_last_modified_alone(self):
        self.behave(no_etag=True)
        first = self.up.get("/api/v3/markets/active")
        self.assertIsNone(first.headers["ETag"])
        again = self.up.get("/api/v3/markets/active", If_Modified_Since=first.headers["Last-Modified"])
        self.assertEqual(again.status, 304)

    def test_volatile_changes_body_and_etag_each_time(self):
        self.behave(volatile=True)
        for target in ("/api/v3/fixtures", "/api/v3/markets/active", "/api/v3/blob?size=50", ECHO + "v"):
            first = self.up.get(target)
            again = self.up.get(target, If_None_Match=first.headers["ETag"])
            self.assertEqual(again.status, 200)
            self.assertNotEqual(again.data, first.data)
            json.loads(again.data)

    def test_frozen_keeps_an_echo_as_it_was(self):
        self.behave(ECHO + "f", frozen=True)
        first = self.up.get(ECHO + "f")
        self.assertEqual(self.up.get(ECHO + "f").data, first.data)
        self.assertEqual(self.up.get(ECHO + "f", If_None_Match=first.headers["ETag"]).status, 304)
        self.up.control("clear")
        self.assertEqual(self.up.json(ECHO + "f")["n"], 4)


class ProgramTest(unittest.TestCase):

    def start(self, *options, **more):
        up = Upstream(*options, **more)
        self.addCleanup(up.stop)
        return up

    def test_stops_cleanly_with_requests_hanging(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            up = self.start()
            up.control("behave", path="*", hang=True)
            connection = up.connect()
            connection.request("GET", ECHO + "a")
            wait_until(lambda: up.counts()["in_flight"] == 1, "the hanging request")
            up.process.send_signal(number)
            self.assertEqual(up.process.wait(DEADLINE), 0)
            self.assertFalse(up.port_file.exists())
            connection.close()

    def test_stops_when_its_parent_is_gone(self):
        with subprocess.Popen(["sleep", "60"]) as parent:
            up = self.start("--parent-pid", str(parent.pid))
            up.json(ECHO + "a")
            parent.kill()       # not waited for yet: a zombie counts as gone
            self.assertEqual(up.process.wait(DEADLINE), 0)

    def test_api_key(self):
        up = self.start("--api-key", "k1")
        for headers, status in (({}, 401), ({"X_Api_Key": "k2"}, 401), ({"X_Api_Key": "k1"}, 200)):
            response = up.get("/api/v3/fixtures", **headers)
            self.assertEqual(response.status, status)
            json.loads(response.data)
        self.assertEqual(up.get("/api/v3/fixtures?key=k1").status, 200)
        self.assertEqual(up.counts()["paths"]["/api/v3/fixtures"]["by_status"], {"401": 2, "200": 2})

    def test_latency_option(self):
        up = self.start("--latency", "0.1")
        started = time.monotonic()
        up.json(ECHO + "a")
        self.assertGreaterEqual(time.monotonic() - started, 0.1)
        up.control("behave", path="*", latency=0)

    def test_jitter_option(self):
        up = self.start("--latency", "0.02", "--jitter", "0.2")
        taken = []
        for n in range(20):
            started = time.monotonic()
            up.json(f"{ECHO}{n}")
            taken.append(time.monotonic() - started)
        self.assertGreaterEqual(min(taken), 0.02)
        self.assertGreater(max(taken) - min(taken), 0.05)

    def test_prices_that_move_by_themselves(self):
        up = self.start("--price-every", "0.1")
        target = "/api/v3/fixtures/odds?fixture_id=nfl-kc-buf"
        first = up.get(target).data
        wait_until(lambda: up.get(target).data != first, "another price")

    def test_time_that_passes_faster(self):
        up = self.start("--speed", "3600")      # an hour a second: nfl-kc-buf starts within two
        target = "/api/v3/fixtures?id=nfl-kc-buf&status=live"
        self.assertEqual(up.json(target)["data"], [])
        wait_until(lambda: up.json(target)["data"], "the kick-off")

    def test_tls(self):
        if shutil.which("openssl") is None:
            self.skipTest("no openssl program to make a certificate with")
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                        "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                       check=True, capture_output=True, timeout=DEADLINE)
        up = self.start("--tls-cert", cert, "--tls-key", key, tls=ssl.create_default_context(cafile=cert))
        self.assertEqual(up.json(ECHO + "a")["n"], 1)
        up.raw(b"no handshake at all\r\n\r\n")
        up.control("behave", path="*", reset=True)
        with self.assertRaises(OSError):
            up.get(ECHO + "a")
        self.assertEqual(up.stop(), ("", 0))

    def test_bad_options_end_with_a_message(self):
        cases = ((("--fixtures", "/no/such/folder"), "no such file"),
                 (("--fixtures", str(HERE)), "no schedule found"),
                 (("--tls-cert", "x"), "go together"),
                 (("--tls-cert", "/no/cert", "--tls-key", "/no/key"), "No such file"),
                 (("--now", "soon"), "--now"),
                 (("--latency", "-1"), "latency"),
                 (("--port-file", "/no/such/folder/port"), "No such file"),
                 (("--host", "192.0.2.1"), "assign"))
        running = [subprocess.Popen([sys.executable, str(HERE / "upstream.py"), *options], stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, text=True) for options, _ in cases]
        for process in running:
            self.addCleanup(process.kill)
        for (options, word), process in zip(cases, running):
            printed, _ = process.communicate(timeout=DEADLINE)
            self.assertNotEqual(process.returncode, 0, options)
            self.assertIn(word, printed)
            self.assertNotIn("Traceback", printed)


class ScheduleTest(unittest.TestCase):

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, name, text):
        (self.folder / name).write_text(text, encoding="utf-8")
        return self.folder / name

    def test_nfl_kick_offs_are_us_eastern(self):
        file = self.write("nfl.csv", "game_id,season,game_type,week,gameday,gametime,away_team,home_team,away_score,"
                          "home_score,location\n2020_01_HOU_KC,2020,REG,1,2020-09-10,20:20,HOU,KC,20,34,Home\n"
                          "2020_16_MIN_NO,2020,REG,16,2020-12-25,16:30,MIN,NO,,,Neutral\n")
        summer, winter = data.load_schedule(file)
        self.assertEqual(summer.start, datetime(2020, 9, 11, 0, 20, tzinfo=timezone.utc))
        self.assertEqual(winter.start, datetime(2020, 12, 25, 21, 30, tzinfo=timezone.utc))
        self.assertEqual((summer.id, summer.home.name, summer.score), ("nfl-2020-01-hou-kc", "Kansas City Chiefs",
                                                                       (34, 20)))
        self.assertEqual((winter.score, winter.venue["neutral"]), (None, True))

    def test_soccer_kick_offs_are_local(self):
        matches = [{"round": "1", "date": "2025-08-22", "time": "20:30", "team1": "FC Bayern München",
                    "team2": "RB Leipzig", "score": {"ft": [6, 0]}},
                   {"date": "2026-01-10", "time": "15:30", "team1": "A", "team2": "B", "score": {}},
                   {"date": "2026-02-01", "team1": "C", "team2": "D", "status": "postponed"}]
        self.write("de.1.json", json.dumps({"name": "Deutsche Bundesliga 2025/26", "matches": matches}))
        self.write("other.json", "{}")
        self.write("README.md", "no schedule")
        first, second, third = data.load_schedule(self.folder)
        self.assertEqual(first.start, datetime(2025, 8, 22, 18, 30, tzinfo=timezone.utc))
        self.assertEqual(second.start, datetime(2026, 1, 10, 14, 30, tzinfo=timezone.utc))
        self.assertEqual(first.id, "bundesliga-2025-26-fc-bayern-munchen-rb-leipzig")
        self.assertEqual((third.start_known, third.fixed_status), (False, "delayed"))

    def test_a_row_that_makes_no_sense_names_the_file(self):
        bad = {"name": "X 2025/26", "matches": [{"date": "2025-02-30", "team1": "A", "team2": "B"}]}
        self.write("en.1.json", json.dumps(bad))
        with self.assertRaisesRegex(data.ScheduleError, "en.1.json"):
            data.load_schedule(self.folder)

    def test_status_follows_the_clock(self):
        start = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
        home, away = data.Team("h", "H", None), data.Team("a", "A", None)
        fixture = data.Fixture("f", "f", data.NFL, home, away, start)
        found = [data.clock_status(fixture, start + timedelta(minutes=minutes)) for minutes in (-1, 0, 95, 110, 195)]
        self.assertEqual(found, ["unplayed", "live", "half", "live", "completed"])

    def test_real_schedules(self):
        if not REAL_SCHEDULES.is_dir():
            self.skipTest(f"no real schedules in {REAL_SCHEDULES}")
        up = Upstream("--fixtures", str(REAL_SCHEDULES), "--now", "2021-09-09T23:00:00Z")
        try:
            row = up.json("/api/v3/fixtures?id=nfl-2021-01-dal-tb")["data"][0]
            self.assertEqual((row["start_date"], row["status"]), ("2021-09-10T00:20:00Z", "unplayed"))
            played = up.json("/api/v3/fixtures?id=nfl-2020-01-hou-kc")["data"][0]
            self.assertEqual(played["result"], {"scores": {"home": {"total": 34}, "away": {"total": 20}}})
            soccer = up.json("/api/v3/fixtures?id=epl-2025-26-liverpool-fc-afc-bournemouth")["data"][0]
            self.assertEqual((soccer["start_date"], soccer["result"]), ("2025-08-15T19:00:00Z", None))
            page = up.json("/api/v3/fixtures/active")
            self.assertEqual((len(page["data"]), page["has_more"]), (100, True))
        finally:
            up.stop()


if __name__ == "__main__":
    unittest.main(module=None, argv=[sys.argv[0], "discover", "-s", str(HERE), *sys.argv[1:]])
