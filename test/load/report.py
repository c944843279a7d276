#!/usr/bin/env python3
"""The report of a load test: report.py FOLDER RATE_LIMIT CHART.

Reads what load.sh has left in the folder (samples.txt, events.txt, errors.txt, latency.txt, and pgbench's logs of reads,
read.*), prints the table, and writes the chart. The status is 1 if the hit ratio misses its goal.

A phase is some whole seconds; second n is what was sampled between n and n + 1 after the beginning. A read's duration is
from its statement to its answer. pgbench starts reads by a schedule: those that had to wait for a free client are told
apart, as late ones.
"""

import glob
import sys
from dataclasses import dataclass, field

import chart

GOAL = 95
LATE_US = 100_000
COUNTERS = ("hits", "stale", "waited", "errors", "http_reads", "invalidations")


@dataclass
class Second:
    """What happened in it: differences of counters, and sorted durations of reads in microseconds."""
    hits: float = 0
    stale: float = 0
    waited: float = 0
    errors: float = 0
    http_reads: float = 0
    invalidations: float = 0
    calls: float = 0
    late: int = 0
    durations: list = field(default_factory=list)

    @property
    def reads(self):
        return self.hits + self.stale + self.waited + self.errors


def main():
    folder, rate_limit, chart_path = sys.argv[1:]
    events = {line[0]: line[1:] for line in lines(f"{folder}/events.txt")}
    began = float(events["began"][0])
    down, up, ended = (float(events[name][0]) - began for name in ("down", "up", "ended"))
    seconds = sampled(lines(f"{folder}/samples.txt"), began, int(ended), int(events["down"][1]), down, up)
    for path in glob.glob(f"{folder}/read.[0-9]*"):
        add_reads(seconds, lines(path), began)
    for second in seconds:
        second.durations.sort()
    phases = {"cold": (0, len(seconds) // 10), "warm": (len(seconds) // 10, int(down)), "upstream down": (int(down), int(up)),
              "upstream back": (int(up), len(seconds)), "all": (0, len(seconds))}
    parts = {name: total(seconds[first:last]) for name, (first, last) in phases.items()}
    print_table(parts, phases)
    ratio = print_findings(parts, seconds, rate_limit)
    print_errors(list(lines(f"{folder}/errors.txt")), parts)
    print_latency(lines(f"{folder}/latency.txt"))
    with open(chart_path, "w", encoding="utf-8") as file:
        file.write(chart.draw(seconds, down, up, GOAL))
    sys.exit(0 if ratio > GOAL else 1)


def lines(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield line.split()


def sampled(rows, began, length, calls_at_down, down, up):
    """The seconds of the run, from counters at times that are not quite a second apart."""
    points = []
    for row in rows:
        at = float(row[0]) - began
        # the upstream's count begins anew when it comes back
        calls = int(row[8]) if at < down and row[8] != "-" else calls_at_down + (int(row[8]) if at > up and row[8] != "-" else 0)
        points.append((at, [float(value) for value in row[1:7]] + [calls]))
    seconds = []
    for n in range(length):
        before, after = value_at(points, n), value_at(points, n + 1)
        differences = [b - a for a, b in zip(before, after)]
        seconds.append(Second(**dict(zip(COUNTERS + ("calls",), differences))))
    return seconds


def value_at(points, at):
    """The counters at a time, on the line between two samples."""
    for (t0, before), (t1, after) in zip(points, points[1:]):
        if t0 <= at <= t1:
            share = (at - t0) / (t1 - t0)
            return [a + (b - a) * share for a, b in zip(before, after)]
    return points[0][1] if at < points[0][0] else points[-1][1]


def add_reads(seconds, rows, began):
    """Reads that pgbench has logged: client, number, time from the scheduled start, script, end (s, us), lateness."""
    for row in rows:
        at = int(float(row[4]) + float(row[5]) / 1e6 - began)
        if 0 <= at < len(seconds):
            seconds[at].durations.append(int(row[2]) - int(row[6]))
            seconds[at].late += int(row[6]) > LATE_US


def total(seconds):
    result = Second()
    for second in seconds:
        for name in COUNTERS + ("calls", "late", "durations"):
            setattr(result, name, getattr(result, name) + getattr(second, name))
    result.durations.sort()
    return result


def percentile(durations, share):
    """In milliseconds, of a sorted list; None of an empty one."""
    return durations[min(len(durations) - 1, int(len(durations) * share))] / 1000 if durations else None


def hit_ratio(part):
    return 100 * (part.hits + part.stale) / part.reads if part.reads else 0


def print_table(parts, phases):
    print(f"{'':14}{'seconds':>8}{'reads':>9}{'hit ratio %':>12}{'stale %':>9}{'waited %':>9}{'errors':>8}"
          f"{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'calls':>8}{'late':>7}")
    for name, part in parts.items():
        first, last = phases[name]
        reads = part.reads or 1
        p50, p95, p99 = (percentile(part.durations, share) or 0 for share in (0.5, 0.95, 0.99))
        print(f"{name:14}{last - first:8}{part.reads:9.0f}{hit_ratio(part):12.2f}{100 * part.stale / reads:9.2f}"
              f"{100 * part.waited / reads:9.2f}{part.errors:8.0f}{p50:9.2f}{p95:9.2f}{p99:9.2f}{part.calls:8.0f}{part.late:7}")


def print_findings(parts, seconds, rate_limit):
    """Returns the hit ratio of the whole run."""
    whole, cold, warm = parts["all"], parts["cold"], parts["warm"]
    ratio = hit_ratio(whole)
    limit, window = (int(text) for text in rate_limit.rstrip("s").split("/"))
    busiest = max(sum(second.calls for second in seconds[n:n + window]) for n in range(len(seconds)))
    cold_p99, warm_p99 = percentile(cold.durations, 0.99) or 0, percentile(warm.durations, 0.99) or 0
    print()
    fact("hit ratio, goal above 95 %", f"{ratio:.2f} %: {'reached' if ratio > GOAL else 'missed'}")
    fact("99th percentile, cold against warm", f"{cold_p99:.1f} ms, {warm_p99:.2f} ms")
    if whole.calls and whole.http_reads:
        fact("reads of the upstream's keys for one call", f"{whole.http_reads / whole.calls:.1f}")
        fact("upstream calls saved", f"{100 * (1 - whole.calls / whole.http_reads):.2f} %")
    fact(f"most calls within {window} s, of {limit} in a fixed window", f"{busiest:.0f}")
    fact("stale values served while the upstream was down", f"{parts['upstream down'].stale:.0f}")
    fact("invalidations", f"{whole.invalidations:.0f}")
    return ratio


def print_errors(rows, parts):
    seen = sum(int(row[1]) for row in rows)
    fact("errors that clients have seen", f"{seen}, {100 * seen / (parts['all'].reads or 1):.3f} % of the reads")
    for row in rows:
        fact(f"  {row[0]}, such as: {' '.join(row[2:])[:60]}", row[1])


def print_latency(rows):
    print()
    for row in rows:
        fact(f"odds, {row[0]}: median, 99th percentile of {row[1]}", f"{float(row[2]):.3f} ms, {float(row[3]):.3f} ms")
    print("(durations inside the server; of hits, one in 16)")


def fact(label, figure):
    print(f"  {label:<76} {figure}")


if __name__ == "__main__":
    main()
