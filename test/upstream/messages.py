"""Requests and responses, and the HTTP rules that need no socket: paging of the query, ETag, conditional answers."""

import gzip
import hashlib
import json
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Optional
from urllib.parse import unquote_to_bytes


class BadRequest(Exception):
    """The client asked for something that makes no sense; answered with 400 and this message."""


@dataclass
class Request:
    method: str
    target: str         # as it stood in the request line, one character per byte (latin-1)
    protocol: str
    headers: Any        # case-insensitive mapping with get() and keys()
    n: int = 0          # serial number among the requests to this path
    salt: Optional[int] = None      # set by the behaviour "volatile": differs in each request

    def __post_init__(self):
        self.path, _, self.query_text = self.target.partition("?")

    def query(self):
        """[(name, value)] in the order of the query, decoded."""
        pairs = [part.partition("=") for part in self.query_text.split("&") if part]
        return [(decoded_value(name), decoded_value(value)) for name, _, value in pairs]

    def values(self, *names):
        """All values given for any of these names; empty values don't count."""
        return [value for name, value in self.query() if name in names and value]

    def value(self, name, default=None):
        return next(iter(self.values(name)), default)

    def number(self, name, default, low, high):
        """An integer parameter. Throws BadRequest if it is none, or out of its range."""
        text = self.value(name, str(default))
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise BadRequest(f"{name} must be a whole number from {low} to {high}, not {text!r}")
        return int(text)


@dataclass
class Response:
    status: int
    body: bytes = b""
    headers: list = field(default_factory=list)

    def header(self, name):
        return next((value for key, value in self.headers if key == name), None)


def decoded_segment(text):
    """A percent-decoded path segment; bytes that are no UTF-8 are shown as \\xNN."""
    return unquote_to_bytes(text.encode("latin-1")).decode("utf-8", "backslashreplace")


def decoded_value(text):
    """A percent-decoded query value, + for a space; bytes that are no UTF-8 are shown as \\xNN."""
    return decoded_segment(text.replace("+", " "))


def json_response(status, document, headers=()):
    body = json.dumps(document, ensure_ascii=False).encode()
    return Response(status, body, [("Content-Type", "application/json"), *headers])


def error_response(status, error, message, headers=()):
    return json_response(status, {"error": error, "message": message}, headers)


def compressed(response):
    """The response with its body in gzip; the same body gives the same bytes, so that an ETag of them holds."""
    return Response(response.status, gzip.compress(response.body, mtime=0),
                    [*response.headers, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")])


def with_etag(response):
    digest = hashlib.blake2b(response.body, digest_size=12).hexdigest()
    return Response(response.status, response.body, [*response.headers, ("ETag", f'"{digest}"')])


def conditional(response, headers):
    """The response, or a 304 where the client has it already. If-None-Match outranks If-Modified-Since (RFC 9110)."""
    known_tags = headers.get("If-None-Match")
    if known_tags is not None:
        unchanged = etag_matches(response.header("ETag"), known_tags)
    else:
        unchanged = not_modified_since(response.header("Last-Modified"), headers.get("If-Modified-Since"))
    if not unchanged:
        return response
    kept = [(name, value) for name, value in response.headers if name in ("ETag", "Last-Modified", "Vary")]
    return Response(304, b"", kept)


def etag_matches(etag, known_tags):
    """Weak comparison of an ETag with the list of an If-None-Match header."""
    if etag is None:
        return False
    known = [tag.strip().removeprefix("W/") for tag in known_tags.split(",")]
    return "*" in known or etag in known


def not_modified_since(modified, since):
    """Both are HTTP dates or None; a date that can't be read counts as none."""
    if modified is None or since is None:
        return False
    try:
        return parsedate_to_datetime(modified) <= parsedate_to_datetime(since)
    except (TypeError, ValueError):
        return False
