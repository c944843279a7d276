"""What the self-tests share: an upstream to start and ask, threads with results, waiting for a condition."""

import http.client
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEADLINE = 10       # seconds, for anything that is waited for
ECHO = "/api/v3/echo/"


def wait_until(condition, what):
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {DEADLINE} s for {what}")
        time.sleep(0.005)


class Upstream:
    """A running upstream with its port file in a folder of its own."""

    def __init__(self, *options, tls=None):
        self.folder = tempfile.mkdtemp()
        self.port_file = Path(self.folder, "port")
        self.tls = tls
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "upstream.py"), "--port-file", str(self.port_file), *options],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: self.port_file.exists() or self.process.poll() is not None, "the port file")
            self.port = int(self.port_file.read_text())
        except BaseException:
            self.stop()
            raise

    def stop(self):
        """Stops it; returns what it printed, and its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            printed, _ = self.process.communicate(timeout=DEADLINE)
        finally:
            self.process.kill()
            shutil.rmtree(self.folder, ignore_errors=True)
        return printed.decode(), self.process.returncode

    def connect(self):
        if self.tls:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=DEADLINE, context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)

    def get(self, target, connection=None, method="GET", body=None, **headers):
        """The response, with its body as .data; header names with _ for -."""
        own = connection is None
        connection = connection or self.connect()
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, target, body=body, headers=names)
            response = connection.getresponse()
            response.data = response.read()
            return response
        finally:
            if own:
                connection.close()

    def json(self, target, **headers):
        response = self.get(target, **headers)
        if response.status != 200:
            raise AssertionError(f"{target}: {response.status} {response.data}")
        return json.loads(response.data)

    def control(self, name, **fields):
        response = self.get("/control/" + name, method="POST", body=json.dumps(fields))
        if response.status != 200:
            raise AssertionError(f"{name}: {response.status} {response.data}")
        return json.loads(response.data)

    def counts(self):
        return self.json("/control/counts")

    def raw(self, request):
        """Sends bytes as they are, and returns all that comes until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65536), b""))


class InBackground(threading.Thread):
    """Runs a function; result() waits for it."""

    def __init__(self, function, *arguments):
        super().__init__(daemon=True)
        self.function, self.arguments = function, arguments
        self.outcome = self.error = None
        self.start()

    def run(self):
        try:
            self.outcome = self.function(*self.arguments)
        except Exception as error:
            self.error = error

    def result(self):
        self.join(DEADLINE)
        if self.is_alive():
            raise AssertionError("still running")
        if self.error:
            raise self.error
        return self.outcome


class WithUpstream(unittest.TestCase):
    """One upstream for all tests of a class; each test starts from a reset."""

    options = ()

    @classmethod
    def setUpClass(cls):
        cls.up = Upstream(*cls.options)

    @classmethod
    def tearDownClass(cls):
        printed, code = cls.up.stop()
        assert (printed, code) == ("", 0), f"exit code {code}, printed: {printed}"

    def setUp(self):
        self.up.control("reset")

    def behave(self, path="*", **fields):
        return self.up.control("behave", path=path, **fields)
