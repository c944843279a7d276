#!/usr/bin/env python3
"""A test upstream: a small HTTP API in the shape of OpticOdds v3, which can be told to misbehave.

The program: options, start and stop. Modules, lower ones first:
  messages.py   requests, responses, ETags
  data.py       leagues, teams, fixtures, real schedules
  prices.py     markets and made-up prices
  behaviour.py  what can be told to go wrong
  traffic.py    counts and log
  api.py        the endpoints under /api/v3
  control.py    the endpoints under /control
  server.py     the HTTP server
Needs Python 3.9 and its standard library, on Linux.
"""

import argparse
import os
import signal
import ssl
import sys
import threading
from datetime import datetime, timezone

sys.dont_write_bytecode = True      # run from a source tree, maybe as root: leave no files in it

import data  # noqa: E402
from api import Api  # noqa: E402
from behaviour import Behaviours, to_seconds  # noqa: E402
from control import Control  # noqa: E402
from messages import BadRequest  # noqa: E402
from server import Server  # noqa: E402
from traffic import Traffic  # noqa: E402

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


def main():
    options = parse_options()
    # Blocked in all threads; the main thread picks them up when it is ready to.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        server = build_server(options)
        if options.port_file:
            write_port_file(options.port_file, server.server_port)
    except (OSError, data.ScheduleError) as error:      # ssl.SSLError is an OSError
        sys.exit(f"upstream.py: {error}")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    wait_for_stop(options.parent_pid)
    server.shutdown()
    server.server_close()
    if options.port_file:
        remove_port_file(options.port_file, server.server_port)


def parse_options():
    parser = argparse.ArgumentParser(
        description="A test upstream in the shape of OpticOdds v3. Prices are made up.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0, the default, for a free one")
    parser.add_argument("--port-file", metavar="PATH", help="written once the server listens, removed at the end")
    parser.add_argument("--parent-pid", type=int, metavar="PID", help="stop when this process is gone")
    parser.add_argument("--fixtures", metavar="PATH",
                        help="real schedules: a file or folder of nflverse *.csv and openfootball *.json")
    parser.add_argument("--now", metavar="TIME",
                        help="what time the API believes it is at its start: ISO 8601, or mid-season")
    parser.add_argument("--speed", type=seconds_option, default=1.0, metavar="N",
                        help="how fast time passes for the API from there on (1)")
    parser.add_argument("--api-key", metavar="KEY", help="demand this X-Api-Key (or ?key=) outside /control")
    parser.add_argument("--latency", type=seconds_option, default=0.0, metavar="S",
                        help="seconds before each answer (0)")
    parser.add_argument("--jitter", type=seconds_option, default=0.0, metavar="S",
                        help="up to so many seconds more before each answer, by chance (0)")
    parser.add_argument("--price-every", type=seconds_option, default=0.0, metavar="S",
                        help="seconds after which prices move by themselves (0: never)")
    parser.add_argument("--tls-cert", metavar="FILE", help="serve HTTPS with this certificate")
    parser.add_argument("--tls-key", metavar="FILE", help="the certificate's key")
    options = parser.parse_args()
    if bool(options.tls_cert) != bool(options.tls_key):
        parser.error("--tls-cert and --tls-key go together")
    return options


def seconds_option(text):
    try:
        return to_seconds("it", text)
    except BadRequest as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def build_server(options):
    now = datetime.now(timezone.utc)
    fixtures = data.load_schedule(options.fixtures) if options.fixtures else data.built_in_fixtures(now)
    offset = pretended_time(options.now, fixtures, now) - now
    api = Api(fixtures, lambda: now + offset + (datetime.now(timezone.utc) - now) * options.speed, options.api_key, options.price_every)
    traffic, behaviours = Traffic(), Behaviours()
    control = Control(api, traffic, behaviours)
    tls = None
    if options.tls_cert:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.tls_cert, options.tls_key)
    return Server((options.host, options.port), api, control, traffic, behaviours, options.latency, options.jitter, tls)


def pretended_time(text, fixtures, now):
    """The time that --now stands for. Throws data.ScheduleError."""
    if text is None:
        return now
    if text == "mid-season":
        return data.mid_season(fixtures)
    try:
        return data.parse_time(text)
    except ValueError as error:
        raise data.ScheduleError(f"--now must be an ISO 8601 time or mid-season, not {text!r}") from error


def write_port_file(path, port):
    """Whoever finds the file finds the whole number in it."""
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="ascii") as file:
        file.write(f"{port}\n")
    os.replace(temporary, path)


def remove_port_file(path, port):
    """Removes the file unless another server has written its own meanwhile."""
    try:
        with open(path, encoding="ascii") as file:
            ours = file.read().strip() == str(port)
        if ours:
            os.unlink(path)
    except FileNotFoundError:
        pass


def wait_for_stop(parent_pid):
    """Returns after SIGTERM or SIGINT, or within a second after the parent's end."""
    while signal.sigtimedwait(STOP_SIGNALS, 1.0) is None:
        if parent_pid is not None and not process_runs(parent_pid):
            return


def process_runs(pid):
    """Whether the process lives; one that has ended and was not yet waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state = file.read().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return True     # no /proc here: what kill said is all there is
    return state not in (b"Z", b"X")


if __name__ == "__main__":
    main()
