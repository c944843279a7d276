"""The HTTP server: one thread a connection, HTTP/1.1 with keep-alive, headers and body in one write.

A request that hangs holds its own thread and no lock, so it stops nobody else. Threads are daemons: they end with
the process.
"""

import http.client
import random
import re
import socket
import socketserver
import struct
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from behaviour import Gate
from messages import Request, error_response

MAX_REQUEST_BODY = 1024 * 1024
CUT_PAUSE = 0.05        # seconds for the client to read what came before the end; a RST discards the rest
DRIPS = 20
CHUNK = 64 * 1024


class Server(ThreadingHTTPServer):
    """Listens from the moment it is built; address (host, port), port 0 for a free one."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 4096

    def __init__(self, address, api, control, traffic, behaviours, latency=0.0, jitter=0.0, tls=None):
        self.api = api
        self.control = control
        self.traffic = traffic
        self.behaviours = behaviours
        self.latency = latency
        self.jitter = jitter
        self.tls = tls                  # ssl.SSLContext or None
        self.no_gate = Gate()           # never opened: --latency is always waited for in full
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Handler)

    def server_bind(self):
        # Not HTTPServer's, which asks the resolver for the host's name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def get_request(self):
        connection, address = super().get_request()
        if self.tls:
            # The handshake comes with the first read, in the connection's own thread.
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):      # clients may leave; ssl.SSLError is one of these
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "wbcache-test-upstream"
    sys_version = ""
    disable_nagle_algorithm = True
    connection_number = None
    target = "/"

    def finish(self):
        if self.connection_number is not None:
            self.server.traffic.disconnected()
        super().finish()

    def log_message(self, *args):
        pass

    def parse_request(self):
        """Keeps the target as it came; the base class folds slashes, and splits at some bytes above 127."""
        words = self.raw_requestline.rstrip(b"\r\n").split(b" ")
        if len(words) == 3:
            self.target = words[1].decode("latin-1")
            self.raw_requestline = b" ".join((words[0], b"/", words[2])) + b"\r\n"
        return super().parse_request()

    def do_GET(self):
        body = self.read_body()
        if body is None:
            return
        request = Request(self.command, self.target, self.request_version, self.headers)
        if re.match(r"/control(/|$)", request.path):
            response = self.server.control.respond(request, body)
            self.connection.sendall(self.head(response, len(response.body)) + response.body)
        else:
            self.serve(request)

    do_POST = do_GET

    def read_body(self):
        """The request's body, or None after refusing it."""
        length = self.headers.get("Content-Length", "0")
        known = re.fullmatch("[0-9]{1,9}", length) and "Transfer-Encoding" not in self.headers
        if not known or int(length) > MAX_REQUEST_BODY:
            self.close_connection = True
            response = error_response(413, "bad_body", "A body needs a Content-Length of at most 1 MB.")
            self.connection.sendall(self.head(response, len(response.body)) + response.body)
            return None
        return self.rfile.read(int(length))

    def serve(self, request):
        """Answers a request to the API, counting it."""
        traffic = self.server.traffic
        if self.connection_number is None:
            self.connection_number = traffic.connected()
        entry = traffic.begin(request, self.connection_number)
        try:
            self.answer(request, entry)
        finally:
            traffic.finish(entry)

    def answer(self, request, entry):
        behaviour, gate = self.server.behaviours.take(request.path, request.target)
        if not self.wait_before(behaviour, gate):
            self.close_connection = True
        elif behaviour.reset:
            self.server.traffic.settle(entry, "reset")
            self.abort()
        else:
            if behaviour.volatile:
                request.salt = next(self.server.behaviours.salts)
            response = behaviour.shape(request, self.server.api.respond)
            self.transmit(response, behaviour, gate, entry)

    def wait_before(self, behaviour, gate):
        """The wait before the answer. False if the client left meanwhile."""
        if behaviour.hang:
            return gate.wait(self.connection, None)
        if behaviour.latency is not None:
            return behaviour.latency == 0 or gate.wait(self.connection, behaviour.latency)
        latency = self.server.latency + random.uniform(0, self.server.jitter)
        return latency == 0 or self.server.no_gate.wait(self.connection, latency)

    def transmit(self, response, behaviour, gate, entry):
        if behaviour.close or behaviour.truncate:
            self.close_connection = True
        chunked = behaviour.chunked and self.request_version == "HTTP/1.1" and bool(response.body)
        drips = DRIPS if behaviour.slow_body is not None else 1
        head = self.head(response, None if chunked else len(response.body))
        pieces = body_pieces(response.body, drips, chunked)
        if behaviour.reset_mid_body or behaviour.truncate:
            self.cut_short(head, pieces, behaviour, entry)
        elif behaviour.slow_body is not None:
            self.drip(head, pieces, behaviour.slow_body, gate, entry, response.status)
        else:
            self.server.traffic.settle(entry, response.status)
            self.connection.sendall(head + b"".join(pieces))

    def cut_short(self, head, pieces, behaviour, entry):
        """Sends headers and half of the body, then ends the connection."""
        payload = b"".join(pieces)
        self.server.traffic.settle(entry, "cut")
        self.connection.sendall(head + payload[:len(payload) // 2])
        time.sleep(CUT_PAUSE)
        if behaviour.reset_mid_body:
            self.abort()

    def drip(self, head, pieces, seconds, gate, entry, status):
        self.connection.sendall(head)
        for number, piece in enumerate(pieces, start=1):
            if not gate.wait(self.connection, seconds / len(pieces)):
                self.close_connection = True
                return
            if number == len(pieces):
                self.server.traffic.settle(entry, status)
            self.connection.sendall(piece)

    def abort(self):
        """Ends the connection with a RST."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def head(self, response, length):
        """Status line and headers, in bytes; length None: the body comes in chunks."""
        status = response.status
        lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, 'Unknown')}",
                 f"Date: {self.date_time_string()}", f"Server: {self.server_version}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        if length is None:
            lines.append("Transfer-Encoding: chunked")
        elif status not in (204, 304):
            lines.append(f"Content-Length: {length}")
        if self.close_connection:
            lines.append("Connection: close")
        return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n"


def body_pieces(body, parts, chunked):
    """The body as the list of byte strings to send, at least `parts` of them where it is long enough."""
    size = min(CHUNK, max(1, -(-len(body) // parts))) if chunked or parts > 1 else max(1, len(body))
    pieces = [body[start:start + size] for start in range(0, len(body), size)]
    if chunked:
        pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
        pieces[-1] += b"0\r\n\r\n"
    return pieces or [b""]
