#!/usr/bin/env python3
"""For warmer.sh: what an upstream has seen.

warmer_log.py collect PORT FILE SECONDS: copies the upstream's log into FILE for that long, a line a request: time, target.
warmer_log.py report FILE SCALE: requests, most of them in 15 s of the game's clock, and per key and TTL.
"""

import collections
import json
import sys
import time
import urllib.request


def collect(port, path, seconds):
    # Often, and only what is new: a large answer would keep the upstream from answering others in time.
    end, number = time.time() + seconds, 0
    with open(path, "w", encoding="utf-8") as out:
        while True:
            last = time.time() > end
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/control/log?limit=20000&after={number}") as answer:
                entries = json.load(answer)["requests"]
            for entry in entries:
                number = entry["number"]
                print(entry["started"], entry["target"], sep="\t", file=out)
            if last:
                return
            time.sleep(min(1, max(0.1, end - time.time())))


def report(path, scale):
    window, keys, times = 15 / scale, collections.defaultdict(list), []
    for line in open(path, encoding="utf-8"):
        started, target = line.rstrip("\n").split("\t")
        keys[target].append(float(started))
        times.append(float(started))
    times.sort()
    most, first = 0, 0
    for i, now in enumerate(times):
        while times[first] <= now - window:
            first += 1
        most = max(most, i - first + 1)
    # A key has one request for each TTL from its first to its last, and the first itself. Those asked for in two spells have more room than this says.
    ratios = []
    for target, moments in keys.items():
        ttl = (600 if "/markets/" in target else 120) / scale
        ratios.append((len(moments), (max(moments) - min(moments)) / ttl + 1))
    total = sum(n for n, _ in ratios) / max(1, sum(room for _, room in ratios))
    worst = max((n / room for n, room in ratios if n >= 10), default=0)
    print(f"{len(times)} requests for {len(keys)} keys; at most {most} in 15 s of the game's clock; per key and TTL {total:.3f}, the most of one key (of 10 and more requests) {worst:.3f}")


if __name__ == "__main__":
    if sys.argv[1] == "collect":
        collect(sys.argv[2], sys.argv[3], float(sys.argv[4]))
    else:
        report(sys.argv[2], float(sys.argv[3]))
