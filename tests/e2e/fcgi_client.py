# SPDX-License-Identifier: MIT
"""The web server's end of a FastCGI connection, by hand: for tests that talk to an application with nothing between."""
import socket
import struct

from conftest import wait_until
from fakeapp import BEGIN, DATA, END, PARAMS, STDERR, STDIN, STDOUT, pair, record

RESPONDER, AUTHORIZER, FILTER = 1, 2, 3


class Answer:
    def __init__(self):
        self.out = self.err = b""
        self.app_status = self.protocol_status = None

    @property
    def body(self):
        return self.out.partition(b"\r\n\r\n")[2]


class Fcgi:
    def __init__(self, address, timeout=20):
        """A path, which may be bound but not listened on yet, a (host, port), or a connected socket."""
        if isinstance(address, socket.socket):
            self.socket = address
        else:
            self.socket = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)
            self.socket.settimeout(timeout)
            wait_until(lambda: self.connect(address if isinstance(address, tuple) else str(address)))
        self.buffer = b""

    def connect(self, address):
        try:
            self.socket.connect(address)
            return True
        except ConnectionRefusedError:
            return False

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()

    def begin(self, params, role=RESPONDER, keep=True, request_id=1):
        pairs = b"".join(pair(n.encode(), v.encode(errors="surrogateescape")) for n, v in params.items())
        self.socket.sendall(record(BEGIN, request_id, struct.pack(">HB5x", role, keep)) +
                            (record(PARAMS, request_id, pairs) if pairs else b"") + record(PARAMS, request_id))

    def stream(self, kind, content, request_id=1):
        for i in range(0, len(content), 65535):
            self.socket.sendall(record(kind, request_id, content[i:i + 65535]))
        self.socket.sendall(record(kind, request_id))

    def take(self, n):
        while len(self.buffer) < n:
            more = self.socket.recv(1 << 20)
            assert more, "the connection ended in the middle of an answer"
            self.buffer += more
        taken, self.buffer = self.buffer[:n], self.buffer[n:]
        return taken

    def record(self):
        version, kind, request_id, length, padding, _ = struct.unpack(">BBHHBB", self.take(8))
        assert version == 1
        return kind, request_id, self.take(length + padding)[:length]

    def answer(self, request_id=1):
        a, out, err = Answer(), [], []
        while a.app_status is None:
            kind, got_id, content = self.record()
            assert got_id == request_id
            if kind == STDOUT:
                out.append(content)
            elif kind == STDERR:
                err.append(content)
            else:
                assert kind == END
                a.app_status, a.protocol_status = struct.unpack(">IB3x", content)
        a.out, a.err = b"".join(out), b"".join(err)
        return a

    def ask(self, params, body=b"", data=None, **kw):
        self.begin(params, **kw)
        request_id = kw.get("request_id", 1)
        self.stream(STDIN, body, request_id)
        if data is not None:
            self.stream(DATA, data, request_id)
        return self.answer(request_id)

    def closed(self):
        """Does the application close, in good order and with no more bytes?"""
        return not self.buffer and self.socket.recv(1) == b""
