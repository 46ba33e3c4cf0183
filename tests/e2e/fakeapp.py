# SPDX-License-Identifier: MIT
"""A scripted FastCGI application: raw records on a unix socket, a thread per connection.

What it does with a request stands in `on`, by the request's path: a function of the connection and the request. It
is called when the request is whole (or, with early=True, when its params are), and returns True to go on with the
connection; otherwise that is closed.
"""
import socket
import struct
import threading

BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR, DATA, GET_VALUES, GET_VALUES_RESULT, UNKNOWN_TYPE = range(1, 12)


def record(kind, request_id, content=b"", padding=0, version=1):
    return struct.pack(">BBHHBB", version, kind, request_id, len(content), padding, 0) + content + b"\xaa" * padding


def stdout(content, request_id=1, padding=0):
    """Any number of bytes, as records."""
    return b"".join(record(STDOUT, request_id, content[i:i + 65535], padding)
                    for i in range(0, len(content), 65535))


def end(request_id=1, app_status=0, protocol_status=0, padding=0):
    return record(END, request_id, struct.pack(">IB3x", app_status, protocol_status), padding)


def answer(content, request_id=1):
    return stdout(content, request_id) + record(STDOUT, request_id) + end(request_id)


def pair(name, value):
    return bytes([len(name), len(value)]) + name + value


def params_of(stream):
    found, at = {}, 0
    while at < len(stream):
        lengths = []
        for _ in range(2):
            if stream[at] < 128:
                lengths.append(stream[at])
                at += 1
            else:
                lengths.append(struct.unpack(">I", stream[at:at + 4])[0] & 0x7fffffff)
                at += 4
        name = stream[at:at + lengths[0]]
        at += lengths[0]
        found[name.decode("latin-1")] = stream[at:at + lengths[1]].decode("latin-1")
        at += lengths[1]
    return found


class Request:
    def __init__(self, request_id, keep):
        self.id = request_id
        self.keep = keep
        self.stream = b""
        self.params = None
        self.body = bytearray()
        self.whole = False

    @property
    def path(self):
        return self.params["REQUEST_URI"].split("?")[0]


class Connection:
    def __init__(self, app, sock):
        self.app = app
        self.socket = sock
        self.requests = {}

    def send(self, data):
        """False when the other side is gone."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def read(self, n):
        data = bytearray()
        while len(data) < n:
            try:
                more = self.socket.recv(n - len(data))
            except OSError:
                more = b""
            if not more:
                return None
            data += more
        return bytes(data)

    def take(self):
        """The next record, as (type, id, content), or None at the end. Requests take in what it says."""
        head = self.read(8)
        if head is None:
            return None
        version, kind, request_id, length, padding, _ = struct.unpack(">BBHHBB", head)
        assert version == 1
        content = self.read(length + padding)
        if content is None:
            return None
        content = content[:length]
        if kind == BEGIN:
            self.requests[request_id] = self.app.request(request_id, content[2] & 1)
        elif kind == PARAMS and content:
            self.requests[request_id].stream += content
        elif kind == PARAMS:
            self.requests[request_id].params = params_of(self.requests[request_id].stream)
        elif kind == STDIN and request_id in self.requests:
            self.requests[request_id].body += content
            self.requests[request_id].whole = not content
        elif kind == GET_VALUES:
            self.send(record(GET_VALUES_RESULT, 0, pair(b"FCGI_MPXS_CONNS", self.app.mpxs)))
        return kind, request_id, content

    def take_rest(self, request):
        """The rest of the request's body; False when the other side closed before it was whole."""
        while not request.whole:
            if self.take() is None:
                return False
        return True

    def wait_closed(self):
        """Reads on until the other side closes."""
        while self.take() is not None:
            pass

    def run(self):
        while True:
            taken = self.take()
            if taken is None:
                return
            kind, request_id, content = taken
            request = self.requests.get(request_id)
            if content or request is None or kind not in (PARAMS, STDIN):
                continue
            behave, early = self.app.on.get(request.path) or (self.app.default, False)
            if (kind == PARAMS) == early:
                self.app.seen.append(request)
                goes_on = behave(self, request)
                self.requests.pop(request_id, None)
                if not goes_on:
                    return


class App:
    def __init__(self, path, mpxs=b"0", backlog=128, accepts=True, request=Request):
        self.on = {}
        self.default = lambda c, rq: c.send(answer(b"Content-Type: text/plain\r\n\r\nok", rq.id))
        self.mpxs = mpxs
        self.request = request
        self.seen = []      # requests, in order
        self.accepted = 0
        self.open = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(path))
        self.socket.listen(backlog)
        self.address = f"unix:{path}"
        if accepts:
            self.start()

    def start(self):
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            self.accepted += 1
            self.open.append(sock)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        try:
            Connection(self, sock).run()
        finally:
            self.open.remove(sock)
            sock.close()

    def says(self, path, *pieces, goes_on=False, early=False):
        """Whatever is asked at `path`, these bytes are sent, and the connection closed."""
        def behave(c, rq):
            return all(c.send(p) for p in pieces) and goes_on
        self.on[path] = behave, early

    def does(self, path, behave, early=False):
        self.on[path] = behave, early

    def close(self):
        self.socket.close()
        for sock in list(self.open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
