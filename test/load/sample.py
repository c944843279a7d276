#!/usr/bin/env python3
"""Samples of a load test: sample.py SOCKET_FOLDER DATABASE COUNTS_URL, until it is ended.

Prints a line each second: Unix time, the counters of QUERY, and the upstream's own count of its requests ("-" while it
can't be reached).
"""

import json
import subprocess
import sys
import time
import urllib.request

QUERY = """SELECT extract(epoch FROM clock_timestamp()), sum(hits), sum(stale), sum(misses + collapsed + bypasses), sum(errors),
 sum(hits + stale + misses + collapsed + bypasses + errors) FILTER (WHERE endpoint <> 'sidebar'),
 (SELECT total FROM wbcache.stat_invalidation),
 coalesce((SELECT (breaker_state <> 'closed')::int FROM wbcache.stat_server), 0)
 FROM wbcache.stat_endpoint;"""


def main():
    folder, database, url = sys.argv[1:]
    psql = subprocess.Popen(["psql", "-XAtq", "-F", " ", "-h", folder, "-p", "5432", "-U", "postgres", "-d", database],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    began = time.monotonic()
    for number in range(1, 1_000_000):
        print(file=psql.stdin, end=QUERY.replace("\n", "") + "\n", flush=True)
        counters = psql.stdout.readline().strip()
        if not counters:
            sys.exit("psql has ended")
        print(counters, upstream_requests(url), flush=True)
        time.sleep(max(0, began + number - time.monotonic()))


def upstream_requests(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=0.5) as answer:
            return json.load(answer)["total"]
    except OSError:
        return "-"


if __name__ == "__main__":
    main()
