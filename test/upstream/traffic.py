"""Counts and log of the requests that came in; those to /control are not among them.

One lock guards everything here, the entries included; it is held for a few assignments at a time. A request goes
through begin (it came in), settle (its answer is decided: counted by status before the last byte is sent, so that
whoever has the answer finds it counted) and finish (sent, or given up).
"""

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Optional

LOG_LENGTH = 20000


@dataclass
class Entry:
    """One request. `result` is the status, or what happened instead: reset, cut, client_gone."""
    number: int
    n: int
    method: str
    target: str
    path: str
    connection: int
    if_none_match: Optional[str]
    epoch: int
    started: float
    finished: Optional[float] = None
    result: Optional[str] = None


class Traffic:
    def __init__(self):
        self.lock = threading.Lock()
        self.epoch = 0              # number of resets; entries of an earlier one are not counted any more
        self.in_flight = 0
        self.open_connections = 0
        self.connection_serial = 0
        self.clear()

    def clear(self):
        """The lock is held, or nobody else knows the object yet. Requests under way stay in flight."""
        self.total = 0
        self.max_in_flight = self.in_flight
        self.connections = 0
        self.paths = {}             # path, and path?query -> {"n": …, "by_status": {…}}
        self.log = deque(maxlen=LOG_LENGTH)

    def reset(self):
        with self.lock:
            self.epoch += 1
            self.clear()

    def connected(self):
        """Counts a connection at its first request; returns its number."""
        with self.lock:
            self.connections += 1
            self.open_connections += 1
            self.connection_serial += 1
            return self.connection_serial

    def disconnected(self):
        with self.lock:
            self.open_connections -= 1

    def begin(self, request, connection):
        """Counts a request, and gives it its serial number."""
        with self.lock:
            self.total += 1
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
            for key in {request.path, request.target}:
                self.paths.setdefault(key, {"n": 0, "by_status": {}})["n"] += 1
            request.n = self.paths[request.path]["n"]
            entry = Entry(self.total, request.n, request.method, request.target, request.path, connection,
                          request.headers.get("If-None-Match"), self.epoch, time.time())
            self.log.append(entry)
            return entry

    def settle(self, entry, result):
        """Counts the request as answered; the first result stands."""
        with self.lock:
            if entry.result is not None:
                return
            entry.result = str(result)
            self.in_flight -= 1
            if entry.epoch == self.epoch:
                for key in {entry.path, entry.target}:
                    by_status = self.paths[key]["by_status"]
                    by_status[entry.result] = by_status.get(entry.result, 0) + 1

    def finish(self, entry):
        self.settle(entry, "client_gone")
        with self.lock:
            entry.finished = time.time()

    def counts(self, wanted):
        """The counts as JSON; `wanted` chooses the paths."""
        with self.lock:
            return {
                "total": self.total,
                "in_flight": self.in_flight,
                "max_in_flight": self.max_in_flight,
                "connections": self.connections,
                "open_connections": self.open_connections,
                "paths": {key: {"n": row["n"], "by_status": dict(row["by_status"])}
                          for key, row in self.paths.items() if wanted(key)},
            }

    def recent(self, wanted, limit, after):
        """The newest `limit` requests with numbers above `after` whose path or target is wanted, oldest first."""
        chosen = []
        with self.lock:
            for entry in reversed(self.log):
                if len(chosen) >= limit or entry.number <= after:
                    break
                if wanted(entry.path) or wanted(entry.target):
                    chosen.append(vars(entry).copy())
        for row in chosen:
            del row["epoch"]
        return chosen[::-1]
