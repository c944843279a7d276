"""Self-test of what the test upstream can be told: behaviours, counts, log. Run by test_upstream.py."""

import gzip
import http.client
import json
import sys
import time
import unittest
from pathlib import Path
from urllib.parse import urlencode

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from upstream_client import ECHO, InBackground, WithUpstream, wait_until  # noqa: E402


class BehaviourTest(WithUpstream):

    def test_latency(self):
        self.behave(latency=0.15)
        started = time.monotonic()
        self.up.json(ECHO + "a")
        self.assertGreaterEqual(time.monotonic() - started, 0.15)

    def test_status(self):
        for status in (400, 404, 429, 500, 503):
            self.behave(status=status)
            response = self.up.get(ECHO + "a")
            self.assertEqual(response.status, status)
            self.assertIsNone(response.headers["ETag"])
            self.assertIsNone(response.headers["Retry-After"])
            self.assertIn("error", json.loads(response.data))

    def test_status_without_a_body(self):
        with_keep_alive = self.up.connect()
        for status in (204, 304):
            self.behave(status=status)
            response = self.up.get(ECHO + "a", with_keep_alive)
            self.assertEqual((response.status, response.data), (status, b""))
        with_keep_alive.close()

    def test_retry_after(self):
        date = "Wed, 21 Oct 2026 07:28:00 GMT"
        for fields, status, value in (({"status": 429, "retry_after": 7}, 429, "7"),
                                      ({"retry_after": "7"}, 429, "7"),
                                      ({"status": 503, "retry_after": date}, 503, date)):
            self.behave(**fields)
            response = self.up.get(ECHO + "a")
            self.assertEqual((response.status, response.headers["Retry-After"]), (status, value))

    def test_redirect(self):
        self.behave(ECHO + "a", redirect="http://127.0.0.1:1/x")
        response = self.up.get(ECHO + "a")
        self.assertEqual((response.status, response.headers["Location"]), (302, "http://127.0.0.1:1/x"))
        self.behave(ECHO + "a", redirect="/elsewhere", status=307)
        self.assertEqual(self.up.get(ECHO + "a").status, 307)

    def test_hang_stops_only_its_own_request_and_clear_ends_it(self):
        self.behave(ECHO + "slow", hang=True)
        hanging = InBackground(self.up.json, ECHO + "slow")
        wait_until(lambda: self.up.counts()["in_flight"] == 1, "the hanging request")
        self.assertEqual(self.up.json(ECHO + "quick")["n"], 1)
        self.assertEqual(self.up.counts()["in_flight"], 1)
        self.up.control("clear")
        self.assertEqual(hanging.result()["n"], 1)

    def test_reset_releases_as_well(self):
        self.behave(hang=True)
        hanging = InBackground(self.up.json, ECHO + "slow")
        wait_until(lambda: self.up.counts()["in_flight"] == 1, "the hanging request")
        self.up.control("reset")
        hanging.result()
        self.assertEqual(self.up.counts()["in_flight"], 0)

    def test_client_that_leaves_a_hanging_request_is_noticed(self):
        self.behave(hang=True)
        connection = self.up.connect()
        connection.request("GET", ECHO + "gone")
        wait_until(lambda: self.up.counts()["in_flight"] == 1, "the hanging request")
        connection.close()
        wait_until(lambda: self.up.counts()["in_flight"] == 0, "the end of the request")
        self.assertEqual(self.up.counts()["paths"][ECHO + "gone"]["by_status"], {"client_gone": 1})

    def test_reset_is_a_rst(self):
        self.behave(reset=True)
        with self.assertRaises(ConnectionResetError):
            self.up.raw(b"GET /api/v3/echo/a HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(self.up.counts()["paths"][ECHO + "a"]["by_status"], {"reset": 1})

    def test_reset_in_mid_body(self):
        for chunked in (False, True):
            self.behave(reset_mid_body=True, chunked=chunked)
            connection = self.up.connect()
            connection.request("GET", "/api/v3/blob?size=1000")
            response = connection.getresponse()
            self.assertEqual(response.status, 200)
            with self.assertRaises((ConnectionResetError, http.client.IncompleteRead)):
                while response.read(1):
                    pass
            connection.close()

    def test_truncate_ends_early_but_in_order(self):
        self.behave(truncate=True)
        with self.assertRaises(http.client.IncompleteRead) as caught:
            self.up.get("/api/v3/blob?size=1000")
        self.assertEqual(len(caught.exception.partial), 500)

    def test_close_ends_the_connection_after_the_answer(self):
        self.behave(close=True)
        answer = self.up.raw(b"GET /api/v3/echo/a HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertIn(b"\r\nConnection: close\r\n", answer)

    def test_bodies_that_are_wrong(self):
        self.behave(broken_json=True)
        with self.assertRaises(ValueError):
            json.loads(self.up.get(ECHO + "a").data)
        self.behave(invalid_utf8=True)
        with self.assertRaises(UnicodeDecodeError):
            self.up.get(ECHO + "a").data.decode()
        self.behave(nul=True)
        self.assertIn(b"\x00", self.up.get(ECHO + "a").data)
        self.behave(empty=True)
        response = self.up.get(ECHO + "a")
        self.assertEqual((response.status, response.data), (200, b""))

    def test_oversize_is_valid_json_of_that_size(self):
        for size in (17, 3_000_000):
            self.behave(oversize=size)
            body = self.up.get(ECHO + "a").data
            self.assertEqual(len(body), size)
            json.loads(body)

    def test_body_and_content_type_as_told(self):
        self.behave(body='"häagen"', content_type="text/html; charset=utf-8")
        response = self.up.get(ECHO + "a")
        self.assertEqual(response.data.decode(), '"häagen"')
        self.assertEqual(response.headers["Content-Type"], "text/html; charset=utf-8")
        self.assertIsNotNone(response.headers["ETag"])

    def test_slow_body_sends_headers_at_once(self):
        for chunked in (False, True):
            self.behave(slow_body=0.3, chunked=chunked)
            connection = self.up.connect()
            started = time.monotonic()
            connection.request("GET", "/api/v3/blob?size=1000")
            response = connection.getresponse()
            headers_after = time.monotonic() - started
            body = response.read()
            self.assertLess(headers_after, 0.3)
            self.assertGreaterEqual(time.monotonic() - started, 0.3)
            self.assertEqual(len(body), 1000)
            connection.close()

    def test_clear_hurries_a_slow_body(self):
        self.behave(slow_body=60)
        slow = InBackground(self.up.get, "/api/v3/blob?size=1000")
        wait_until(lambda: self.up.counts()["in_flight"] == 1, "the request")
        self.up.control("clear")
        self.assertEqual(len(slow.result().data), 1000)

    def test_gzip(self):
        plain = self.up.get("/api/v3/blob?size=500")
        self.behave(gzip=True)
        packed = self.up.get("/api/v3/blob?size=500")
        self.assertEqual(packed.headers["Content-Encoding"], "gzip")
        self.assertEqual(gzip.decompress(packed.data), plain.data)
        self.assertEqual(packed.data[4:8], bytes(4), "a time in the gzip header would change the ETag")
        self.assertNotEqual(packed.headers["ETag"], plain.headers["ETag"])
        self.assertEqual(self.up.get("/api/v3/blob?size=500", If_None_Match=packed.headers["ETag"]).status, 304)

    def test_chunked(self):
        self.behave(chunked=True)
        connection = self.up.connect()
        for _ in range(2):
            response = self.up.get("/api/v3/blob?size=200000", connection)
            self.assertEqual(response.headers["Transfer-Encoding"], "chunked")
            self.assertIsNone(response.headers["Content-Length"])
            self.assertEqual(len(response.data), 200000)
        connection.close()

    def test_count_wears_off(self):
        self.behave(status=500, count=2)
        self.assertEqual([self.up.get(ECHO + "a").status for _ in range(4)], [500, 500, 200, 200])

    def test_newest_match_counts(self):
        self.behave("*", status=500)
        self.behave(ECHO + "b*", status=503)
        self.behave(ECHO + "a?x=1", status=404)
        found = [self.up.get(ECHO + name).status for name in ("a", "a?x=1", "b", "bc?x=2", "c")]
        self.assertEqual(found, [500, 404, 503, 503, 500])
        active = self.behave(ECHO + "b*", latency=0)["behaviours"]
        self.assertEqual([row["path"] for row in active], ["*", ECHO + "a?x=1", ECHO + "b*"])
        self.assertEqual(self.up.get(ECHO + "b").status, 200)
        self.up.control("clear")
        self.assertEqual(self.up.get(ECHO + "c").status, 200)


class ControlTest(WithUpstream):

    def test_query_and_form_do_as_well_as_json(self):
        self.up.json("/control/behave?" + urlencode({"path": "*", "status": "503", "count": "1"}))
        self.assertEqual(self.up.get(ECHO + "a").status, 503)
        self.up.get("/control/behave", method="POST", body="path=*&status=502&count=1")
        self.assertEqual(self.up.get(ECHO + "a").status, 502)
        self.up.json("/control/behave?path=*&hang")
        self.assertEqual(self.up.json("/control/behave")["behaviours"], [{"path": "*", "hang": True}])

    def test_bad_fields_are_refused_and_change_nothing(self):
        for fields, word in (({"hangs": True}, "hangs"), ({"status": 99}, "status"), ({"latency": "x"}, "latency"),
                             ({"count": 0}, "count"), ({"hang": "maybe"}, "hang"),
                             ({"redirect": "a\r\nb"}, "redirect"),
                             ({"oversize": -1}, "oversize")):
            response = self.up.get("/control/behave", method="POST", body=json.dumps(fields))
            self.assertEqual(response.status, 400, fields)
            self.assertIn(word, json.loads(response.data)["message"])
        self.assertEqual(self.up.get("/control/behave", method="POST", body="{").status, 400)
        self.assertEqual(self.up.get("/control/behave", method="POST", body="[]").status, 400)
        self.assertEqual(self.up.get("/control/fixture?id=none&status=live").status, 400)
        self.assertEqual(self.up.get("/control/price_version?id=none").status, 400)
        self.assertEqual(self.up.get("/control/nothing").status, 404)
        self.assertEqual(self.up.json("/control/behave")["behaviours"], [])

    def test_counts_by_path_and_by_target(self):
        self.up.json(ECHO + "a")
        self.up.json(ECHO + "a?x=1")
        self.up.json(ECHO + "a?x=1")
        self.behave(status=500)
        self.up.get(ECHO + "a")
        counts = self.up.counts()
        self.assertEqual(counts["total"], 4)
        self.assertEqual(counts["paths"], {ECHO + "a": {"n": 4, "by_status": {"200": 3, "500": 1}},
                                           ECHO + "a?x=1": {"n": 2, "by_status": {"200": 2}}})
        only = self.up.json("/control/counts?path=*x=1")
        self.assertEqual(list(only["paths"]), [ECHO + "a?x=1"])
        self.up.control("reset")
        counts = self.up.counts()
        self.assertEqual((counts["total"], counts["paths"], counts["max_in_flight"]), (0, {}, 0))
        self.assertEqual(self.up.json(ECHO + "a")["n"], 1)

    def test_connections_show_keep_alive(self):
        connection = self.up.connect()
        for _ in range(5):
            self.up.get(ECHO + "a", connection)
        counts = self.up.counts()
        self.assertEqual((counts["connections"], counts["open_connections"]), (1, 1))
        connection.close()
        wait_until(lambda: self.up.counts()["open_connections"] == 0, "the end of the connection")
        self.up.get(ECHO + "a")
        self.up.get(ECHO + "a")
        self.assertEqual(self.up.counts()["connections"], 3)

    def test_log_has_times_and_results(self):
        before = time.time()
        self.behave(ECHO + "b", latency=0.1)
        self.up.get(ECHO + "a", If_None_Match='"x"')
        self.up.get(ECHO + "b?y=2")
        wait_until(lambda: all(row["finished"] for row in self.up.json("/control/log")["requests"]), "both ends")
        first, second = self.up.json("/control/log")["requests"]
        self.assertEqual((first["target"], first["result"], first["if_none_match"]), (ECHO + "a", "200", '"x"'))
        self.assertTrue(before <= first["started"] <= first["finished"] <= time.time())
        self.assertLessEqual(first["started"], second["started"])
        self.assertGreaterEqual(second["finished"] - second["started"], 0.1)
        self.assertEqual(self.up.json("/control/log?path=*b")["requests"], [second])
        self.assertEqual(self.up.json("/control/log?limit=1")["requests"], [second])
        self.assertEqual(self.up.json(f"/control/log?after={first['number']}")["requests"], [second])

    def test_two_hundred_requests_at_once(self):
        self.behave(hang=True)
        requests = [InBackground(self.up.json, f"{ECHO}crowd?{number}") for number in range(200)]
        wait_until(lambda: self.up.counts()["in_flight"] == 200, "200 requests in flight")
        self.up.control("clear")
        serials = sorted(request.result()["n"] for request in requests)
        self.assertEqual(serials, list(range(1, 201)))
        counts = self.up.counts()
        self.assertEqual((counts["max_in_flight"], counts["connections"], counts["in_flight"]), (200, 200, 0))


if __name__ == "__main__":
    unittest.main()
