"""What may be told to go wrong: the fields of POST /control/behave, and what each does to an answer.

A `Behaviour` says how requests to a path are treated until it is cleared or used up. Those that need the connection
(waiting, resetting, cutting short, dripping) are carried out by server.py; `shape` does those that change the answer.
`Behaviours` holds the active ones under its lock, and a `Gate` that lets waiting requests go when they are cleared.
"""

import dataclasses
import itertools
import re
import select
import socket
import threading
from dataclasses import dataclass

from messages import BadRequest, Response, compressed, conditional, error_response, with_etag

MAX_OVERSIZE = 256 * 1024 * 1024
BROKEN_BODIES = {
    "empty": b"",
    "broken_json": b'{"data": [{"id": 1}, {"id":',
    "invalid_utf8": b'{"data": "\xc3\x28 \xff\xfe"}',
    "nul": b'{"data": "a\x00b"}',
}


@dataclass
class Behaviour:
    """A number or text that is None changes nothing."""
    path: str = "*"                 # path, or path?query; * stands for any run of characters
    count: int = None               # requests left
    latency: float = None           # seconds before the answer, instead of --latency
    hang: bool = False              # no answer until cleared, or until the client leaves
    reset: bool = False             # TCP RST instead of an answer
    reset_mid_body: bool = False    # RST after headers and half of the body
    truncate: bool = False          # the connection is closed properly, but after half of the body
    close: bool = False             # the connection is closed after the answer
    slow_body: float = None         # seconds over which the body drips
    status: int = None
    retry_after: str = None         # seconds or an HTTP date; the status is 429 unless one is given
    redirect: str = None            # Location; the status is 302 unless one is given
    body: str = None                # sent as it is
    empty: bool = False
    broken_json: bool = False
    invalid_utf8: bool = False
    nul: bool = False
    oversize: int = None            # bytes of valid JSON
    content_type: str = None
    gzip: bool = False              # asked for or not
    chunked: bool = False           # no Content-Length
    volatile: bool = False          # body and ETag differ each time
    frozen: bool = False            # body and ETag stay as they are at the first request
    no_etag: bool = False

    def __post_init__(self):
        self.kept = {}              # frozen: target -> the first response

    def describe(self):
        """The fields that differ from their defaults, for people."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)
                if item.name == "path" or getattr(self, item.name) != item.default}

    def matches(self, path, target):
        pattern = ".*".join(re.escape(part) for part in self.path.split("*"))
        return bool(re.fullmatch(pattern, path, re.DOTALL) or re.fullmatch(pattern, target, re.DOTALL))

    def shape(self, request, respond):
        """The response to send; `respond` is the API's own answer to a request."""
        response = self.canned() or self.altered(request, respond)
        if self.content_type is not None:
            kept = [pair for pair in response.headers if pair[0] != "Content-Type"]
            response = Response(response.status, response.body, [("Content-Type", self.content_type), *kept])
        if self.gzip and response.body:
            response = compressed(response)
        if response.status != 200:
            return response
        return conditional(response if self.no_etag else with_etag(response), request.headers)

    def canned(self):
        """The response of the behaviours that need no API behind them, or None."""
        status = self.status or (302 if self.redirect else 429 if self.retry_after else 200)
        if status == 200:
            return None
        headers = [("Retry-After", self.retry_after)] if self.retry_after else []
        headers += [("Location", self.redirect)] if self.redirect else []
        response = error_response(status, "told_to", f"The test upstream was told to answer {status}.", headers)
        if status in (204, 304):
            return Response(status, b"", headers)
        replaced = self.replaced_body()
        return response if replaced is None else Response(status, replaced, response.headers)

    def altered(self, request, respond):
        replaced = self.replaced_body()
        if replaced is not None:
            return Response(200, replaced, [("Content-Type", "application/json")])
        if self.frozen:
            return self.kept.setdefault(request.target, respond(request))
        return respond(request)

    def replaced_body(self):
        """The bytes that stand in for the body, or None."""
        if self.body is not None:
            return self.body.encode()
        if self.oversize is not None:
            return b'{"oversize": "' + b"x" * max(0, self.oversize - 16) + b'"}'
        return next((body for name, body in BROKEN_BODIES.items() if getattr(self, name)), None)


def behaviour_from(fields):
    """A Behaviour from the fields of a control request: JSON values, or their text in a query.

    Throws BadRequest, naming the field.
    """
    known = {item.name: item.type for item in dataclasses.fields(Behaviour)}
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise BadRequest(f"unknown field {unknown[0]!r}; there are: {', '.join(known)}")
    values = {name: CONVERTERS[known[name]](name, value) for name, value in fields.items() if value is not None}
    behaviour = Behaviour(**values)
    check_ranges(behaviour)
    return behaviour


def check_ranges(behaviour):
    if behaviour.status is not None and not 200 <= behaviour.status <= 599:
        raise BadRequest("status must be from 200 to 599")
    if behaviour.count is not None and behaviour.count < 1:
        raise BadRequest("count must be at least 1")
    if (behaviour.oversize or 0) > MAX_OVERSIZE:
        raise BadRequest(f"oversize must be at most {MAX_OVERSIZE}")
    for name in ("retry_after", "redirect", "content_type"):
        if re.search(r"[\r\n]", getattr(behaviour, name) or ""):
            raise BadRequest(f"{name} must be one line")


def to_flag(name, value):
    text = str(value).lower()
    if text not in ("true", "1", "yes", "on", "false", "0", "no", "off", ""):
        raise BadRequest(f"{name} must be true or false, not {value!r}")
    return text in ("true", "1", "yes", "on", "")      # ?hang alone means yes


def to_whole(name, value):
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,9}", str(value)):
        raise BadRequest(f"{name} must be a whole number, not {value!r}")
    return int(value)


def to_seconds(name, value):
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,6}(\.[0-9]*)?", str(value)):
        raise BadRequest(f"{name} must be a number of seconds, not {value!r}")
    return float(value)


def to_text(name, value):
    return str(value)


CONVERTERS = {bool: to_flag, int: to_whole, float: to_seconds, str: to_text}
NORMAL = Behaviour()


class Gate:
    """Closed at first. Requests wait at it; opening it lets all of them go, at once and for good."""

    def __init__(self):
        self.reader, self.writer = socket.socketpair()

    def open(self):
        self.writer.close()     # end of file on the reader wakes everyone who polls it

    def wait(self, connection, seconds):
        """Waits for the gate, or `seconds` (None: without end). False if the client left meanwhile."""
        poller = select.poll()
        poller.register(self.reader, select.POLLIN)
        poller.register(connection, select.POLLRDHUP)
        ready = poller.poll(None if seconds is None else seconds * 1000)
        return connection.fileno() not in dict(ready)


class Behaviours:
    """The active behaviours. The newest that matches a request is the one that counts."""

    def __init__(self):
        self.lock = threading.Lock()
        self.active = []        # oldest first
        self.gate = Gate()
        self.salts = itertools.count(1)

    def add(self, behaviour):
        """Makes a behaviour the newest, in place of an earlier one for the same path."""
        with self.lock:
            self.active = [other for other in self.active if other.path != behaviour.path] + [behaviour]

    def take(self, path, target):
        """(behaviour, gate to wait at) for a request; one use of a counted behaviour is gone."""
        with self.lock:
            for behaviour in reversed(self.active):
                if behaviour.matches(path, target):
                    self.use(behaviour)
                    return behaviour, self.gate
            return NORMAL, self.gate

    def use(self, behaviour):
        """The lock is held."""
        if behaviour.count is not None:
            behaviour.count -= 1
            if behaviour.count == 0:
                self.active.remove(behaviour)

    def clear(self):
        """Drops all behaviours, and lets go the requests that wait because of one."""
        with self.lock:
            self.active = []
            gate, self.gate = self.gate, Gate()
        gate.open()

    def describe(self):
        with self.lock:
            return [behaviour.describe() for behaviour in self.active]
