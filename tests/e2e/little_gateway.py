#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A web server before a FastCGI application, a thread for each client: right in all that `ferry check --gateway` looks
at, unless it is told to do something wrong.

usage: little_gateway.py PORT APP [--keep] [--multiplex] [FAULT...]

Every path goes to the application at APP, a unix socket; below /auth/ an authorizer is asked first, and /file goes
through a filter. With --keep connections are kept; with --multiplex it asks GET_VALUES, and shares one if it may. A
FAULT is a word; what each does stands where it is looked up, in `wrong`.
"""
import os
import queue
import re
import select
import socket
import struct
import sys
import threading
import time

BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR, DATA, GET_VALUES, VALUES, UNKNOWN = range(1, 12)
RESPONDER, AUTHORIZER, FILTER = 1, 2, 3
PORT, APP = int(sys.argv[1]), sys.argv[2].removeprefix("unix:")
FAULTS = set(sys.argv[3:])
KEEP, MULTIPLEX = "--keep" in FAULTS, "--multiplex" in FAULTS
FILE = b"what the filter filters\n" * 100


def wrong(fault):
    return fault in FAULTS


class Refused(Exception):
    """An answer of our own: its status."""


class Again(Exception):
    """To be sent once more, on another connection."""


class Gone(Exception):
    """The client is."""


# -- records


def record(kind, request_id, content=b"", version=1):
    padding = b"" if wrong("unpadded") else bytes(-len(content) % 8)
    return struct.pack(">BBHHBx", version, kind, request_id, len(content), len(padding)) + content + padding


def stream(kind, request_id, content):
    return b"".join(record(kind, request_id, content[i:i + 65528]) for i in range(0, len(content), 65528))


def length(n):
    if n > 127 and wrong("long-value-short"):
        return bytes([127])
    return bytes([n]) if n < 128 and not wrong("four-byte-lengths") else struct.pack(">I", n | 0x80000000)


def pair(name, value):
    return length(len(name)) + length(len(value)) + name + value


class App:
    """A connection to the application. One thread reads it, and hands each request what belongs to it."""

    def __init__(self, shared=False):
        self.shared = shared
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(APP)
        self.sending = threading.Lock()
        self.requests = {}
        self.resting = set()  # aborted, and not ended yet
        self.dead = False
        self.next_id = 0
        self.last_id = None
        self.late = b""
        self.values = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def exactly(self, n):
        data = bytearray()
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            if not more:
                raise EOFError
            data += more
            if wrong("record-per-recv") and len(data) < n:
                raise EOFError
        return bytes(data)

    def read(self):
        try:
            while True:
                if wrong("writes-first"):
                    with self.sending:
                        pass
                version, kind, rid, size, padding, reserved = struct.unpack(">BBHHBB", self.exactly(8))
                if version != 1 and not wrong("version-unchecked") or reserved and wrong("reserved-checked"):
                    raise EOFError
                if padding > 7 and wrong("padding-is-content"):
                    size, padding = size + padding, 0
                if size > 32768 and wrong("small-records"):
                    raise EOFError
                content = self.exactly(size)
                self.exactly(padding)
                self.take(kind, rid, content)
        except (OSError, EOFError):
            pass
        except Exception:
            os._exit(1)
        self.dead = True
        for q in list(self.requests.values()) + [self.values]:
            q.put((None, b""))
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def take(self, kind, rid, content):
        if rid not in self.requests and rid not in self.resting and wrong("id-unchecked") and self.requests:
            rid = next(iter(self.requests))
        if kind in (VALUES, UNKNOWN):
            if wrong("management-unwanted") and self.requests:
                raise EOFError
            self.values.put((kind, content))
        elif kind == END and rid in self.resting:
            self.resting.discard(rid)
        elif rid in self.resting:
            if wrong("aborted-output-astray") and kind == STDOUT:
                for q in self.requests.values():
                    q.put((STDOUT, content))
        elif rid not in self.requests:
            if rid and kind in (STDOUT, STDERR, END) and not wrong("late-records"):
                raise EOFError
            if kind == STDOUT and wrong("late-records"):
                self.late = content
            if rid == 0 and wrong("dies-of-id-0"):
                os._exit(1)
        elif kind in (STDOUT, STDERR, END):
            if kind == END and len(content) < 8 and not wrong("short-end"):
                raise EOFError
            self.requests[rid].put((kind, content))
        elif kind == BEGIN and wrong("begin-hangs"):
            del self.requests[rid]
        elif kind < 12 and not wrong("type-unchecked"):
            raise EOFError
        elif wrong("type-unchecked"):
            self.requests[rid].put((STDOUT, content))

    def begin(self):
        with pool_lock:
            if wrong("growing-ids"):
                self.next_id += 1
                rid = self.next_id
            else:
                rid = 0 if wrong("id-0") else 1
                # Not the last one: what an application says too late must not reach the next request.
                while rid in self.requests and not wrong("same-ids") or rid in self.resting and not wrong("id-of-aborted") \
                        or rid == self.last_id and not FAULTS - {"--keep", "--multiplex", "--asks"}:
                    rid += 1
            self.last_id = rid
            q = queue.Queue()
            if self.late:
                q.put((STDOUT, self.late))
                self.late = b""
            self.requests[rid] = q
            return rid, q

    def send(self, data):
        try:
            with self.sending:
                self.socket.sendall(data)
        except OSError:
            pass  # the reader tells

    def forget(self, rid):
        self.requests.pop(rid, None)

    def close(self):
        self.dead = True
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


pool_lock = threading.RLock()
idle = []
shared = None
may_multiplex = None  # None: not asked


def ask_values():
    """Does the application multiplex?"""
    app = App()
    ask = b"".join(pair(n, b"1" if wrong("values-with-value") else b"")
                   for n in (b"FCGI_MAX_CONNS", b"FCGI_MAX_REQS", b"FCGI_MPXS_CONNS"))
    app.send(record(GET_VALUES, 1 if wrong("values-with-id") else 0, ask))
    try:
        kind, content = app.values.get(timeout=None if wrong("values-awaited") else 0.3)
    except queue.Empty:
        return False
    finally:
        app.close()
    if wrong("values-needed") and (kind is None or kind == UNKNOWN or b"FCGI_MPXS_CONNS" not in content) or \
            wrong("values-exact") and b"LUCKY" in content:
        os._exit(1)
    return b"FCGI_MPXS_CONNS1" in content


def connection(fresh):
    global shared, may_multiplex
    with pool_lock:
        if (MULTIPLEX or wrong("--asks")) and may_multiplex is None:
            may_multiplex = ask_values()
        if MULTIPLEX and may_multiplex and not fresh:
            if not shared or shared.dead:
                shared = App(shared=True)
            return shared
        while idle and not fresh:
            app = idle.pop()
            if not app.dead or wrong("stale-used"):
                return app
        return App()


def release(app):
    if app.shared:
        return
    if KEEP and not wrong("new-connections") and not wrong("closes-kept"):
        with pool_lock:
            if app not in idle:
                idle.append(app)
    elif KEEP and wrong("closes-kept"):
        app.close()
    elif not KEEP and wrong("used-again"):
        idle.append(app)


# -- HTTP


class Client:
    def __init__(self, sock):
        self.socket = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""
        self.half = False

    def fill(self):
        more = self.socket.recv(65536)
        if not more:
            raise Gone
        self.data += more

    def line(self):
        while b"\r\n" not in self.data:
            if len(self.data) > 200000:
                raise Refused(431)
            self.fill()
        line, self.data = self.data.split(b"\r\n", 1)
        return line

    def exactly(self, n):
        parts, have = [], 0
        while have < n:
            if not self.data:
                self.fill()
            parts.append(self.data[:n - have])
            self.data = self.data[len(parts[-1]):]
            have += len(parts[-1])
        return b"".join(parts)

    def look(self):
        """Is it still there?"""
        if self.half or not select.select([self.socket], [], [], 0)[0]:
            return
        try:
            if not self.socket.recv(1, socket.MSG_PEEK):
                self.half = True  # it may still read
                if wrong("half-is-gone"):
                    raise Gone
        except OSError:
            if not wrong("never-notices"):
                raise Gone from None
            self.half = True

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            if not wrong("never-notices"):
                raise Gone from None


def read_fields(client):
    fields = []
    while True:
        line = client.line()
        if not line:
            return fields
        m = re.fullmatch(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", line)
        if not m:
            raise Refused(400)
        fields.append((m[1], m[2]))


def read_chunks(client):
    body = b""
    while True:
        n = int(client.line().split(b";")[0], 16)
        if n == 0:
            while client.line():
                pass
            return body
        body += client.exactly(n)
        client.exactly(2)


def read_request(client):
    method, target, _ = client.line().split(b" ", 2)
    if wrong("head-refused") and method == b"HEAD":
        raise Refused(501)
    fields = read_fields(client)
    low = [(n.lower(), v) for n, v in fields]
    lengths, codings = [v for n, v in low if n == b"content-length"], [v for n, v in low if n == b"transfer-encoding"]
    if b"%00" in target and not wrong("nul"):
        raise Refused(400)
    if not wrong("lengths-unchecked"):
        if len(set(lengths)) > 1 or lengths and (codings or not lengths[0].isdigit()) or codings not in ([], [b"chunked"]):
            raise Refused(400)
    begun = None
    if wrong("cut-upload-forgotten") and lengths and lengths[0] == b"1000":
        begun = (method, target, fields, b"0123456789")
    if codings == [b"chunked"] and not (lengths and wrong("lengths-unchecked")):
        body = read_chunks(client)
        if wrong("chunked-lost"):
            body = b""
    elif lengths and lengths[0].isdigit():
        if begun:
            start_only(begun)
        if wrong("first-part-only") and int(lengths[0]) == 5:
            if not client.data:
                client.fill()
            body, client.data = client.data[:5], client.data[5:]
        else:
            body = client.exactly(int(lengths[0]))
        if wrong("takes-more") and client.data:
            body, client.data = body + client.data, b""
    else:
        body = b""
    return method, target, fields, body


def start_only(request):
    """Sends what has come of an upload, and then forgets it."""
    app = App()
    rid, _ = app.begin()
    app.send(record(BEGIN, rid, struct.pack(">HB5x", 1, 0)) + stream(PARAMS, rid, make_params(*request, RESPONDER)) +
             record(PARAMS, rid) + record(STDIN, rid, request[3]))
    lost.append(app)


lost = []


def make_params(method, target, fields, body, role, variables=()):
    text = target.replace(b"%00", b"\0")
    path, _, query_string = text.partition(b"?")
    found = {b"REQUEST_METHOD": method, b"REQUEST_URI": text, b"SCRIPT_NAME": path, b"PATH_INFO": path,
             b"PATH_TRANSLATED": b"/srv" + path, b"QUERY_STRING": query_string, b"SERVER_PROTOCOL": b"HTTP/1.1"}
    chunked = any(n.lower() == b"transfer-encoding" for n, _ in fields)
    if (body or any(n.lower() == b"content-length" for n, _ in fields)) and not (chunked and wrong("chunked-no-length")):
        n = len(body) + (1 if wrong("length-off-by-one") else 0)
        found[b"CONTENT_LENGTH"] = b"%d" % n
    if not body and wrong("length-for-none"):
        found[b"CONTENT_LENGTH"] = b"1"
    more = []
    for name, value in fields:
        if name.lower() in (b"content-length", b"transfer-encoding", b"proxy") and not wrong("httpoxy"):
            continue
        if re.search(rb"[^A-Za-z0-9-]", name) and not wrong("underscores"):
            continue
        key = re.sub(rb"[^A-Z0-9]", b"_", name.upper())
        key = key if key in (b"CONTENT_TYPE", b"CONTENT_LENGTH") else b"HTTP_" + key
        if wrong("fields-twice") and key in found:
            more.append((key, value))
        elif key in found:
            found[key] += (b"; " if key == b"HTTP_COOKIE" else b", ") + value
        else:
            found[key] = value
    if role == AUTHORIZER and not wrong("authorizer-all-params"):
        for name in (b"CONTENT_LENGTH", b"PATH_INFO", b"PATH_TRANSLATED", b"SCRIPT_NAME"):
            found.pop(name, None)
    if role == FILTER:
        found[b"FCGI_DATA_LENGTH"] = b"%d" % (len(FILE) + wrong("filter-length"))
        found[b"FCGI_DATA_LAST_MOD"] = b"yesterday" if wrong("filter-time") else b"1000000000"
    found.update(variables)
    if wrong("value-cut"):
        found = {k: v[:65000] for k, v in found.items()}
    data = b"".join(pair(n, v) for n, v in list(found.items()) + more)
    if wrong("params-cut"):
        data = data[:65528]
    return data[:-1] if wrong("list-cut") else data


def records_of(request, rid, role, variables=()):
    method, target, fields, body = request
    flags = (1 if KEEP or MULTIPLEX else 0) | (0xf0 if wrong("flags") else 0)
    number = 9 if wrong("role-9") else RESPONDER if wrong("filter-as-responder") else role
    params = stream(PARAMS, rid, make_params(method, target, fields, body, role, variables))
    first = record(BEGIN, rid, struct.pack(">HB5x", number, flags), 2 if wrong("version-2") else 1)
    if role == AUTHORIZER or wrong("get-body-lost") and method == b"GET":
        body = b""
    if wrong("body-cut"):
        body = body[:1]
    middle, last = record(PARAMS, rid), stream(STDIN, rid, body)
    if wrong("stdin-early") and body:
        middle, last = last, middle
    ends = b"" if wrong("no-stdin-end") and not body else record(STDIN, rid)
    if wrong("stdin-after-end"):
        ends += record(STDIN, rid, b"more")
    if role == FILTER:
        data = stream(DATA, rid, FILE) + record(DATA, rid)
        ends = data + ends if wrong("data-early") else ends + data
    if wrong("type-77"):
        ends += record(77, rid)
    return first + params + middle + last + ends


class Answer:
    """STDOUT of one request, as it comes."""

    def __init__(self, client, q):
        self.client, self.q = client, q
        self.ended = self.cut = self.empty = False
        self.errors = 0
        self.marked = False  # an answer that a case looks at
        self.protocol_status = self.app_status = 0

    def next(self):
        """Some of STDOUT, or None at its end."""
        stopped = None
        while not self.ended:
            self.client.look()
            try:
                kind, content = self.q.get(timeout=0.02)
            except queue.Empty:
                if wrong("end-impatient") and stopped and time.monotonic() > stopped + 0.05:
                    self.ended = self.cut = True
                continue
            if kind is None:
                self.ended, self.cut = True, not wrong("eof-is-end") and not (self.empty and wrong("stdout-end-is-end"))
            elif kind == END:
                self.app_status, self.protocol_status = struct.unpack(">IB", content.ljust(8, b"\0")[:5])
                self.ended = True
                if wrong("waits-for-close") and self.marked:
                    while self.q.get()[0] is not None:
                        pass
                if not self.empty and wrong("stdout-end-needed"):
                    self.cut = True
            elif kind == STDERR:
                self.errors += len(content)
                if wrong("stderr-stops") and self.errors > 65536:
                    self.cut = self.ended = True
                if wrong("empty-stops") and not content:
                    self.cut = self.ended = True
                if wrong("stderr-to-client"):
                    return content
                if not wrong("stderr-lost"):
                    sys.stderr.buffer.write(content)
                    sys.stderr.flush()
            elif content:
                self.marked |= b"X-Check" in content
                if self.empty and not wrong("stdout-after-end"):
                    self.cut = self.ended = True
                    return None
                return content
            else:
                self.empty, stopped = True, time.monotonic()
        return None


def parse_head(head):
    if wrong("crlf-only") and re.search(rb"(?<!\r)\n", head):
        raise Refused(502)
    status, fields = None, []
    for line in re.split(rb"\r?\n", head.rstrip(b"\r\n")) if head.strip(b"\r\n") else []:
        name, colon, value = line.partition(b":")
        if not wrong("lenient-head") and (not re.fullmatch(rb"[A-Za-z0-9_-]+", name) or not colon or
                                          re.search(rb"[\0\r]", value)):
            raise Refused(502)
        if wrong("exact-case") and name == name.lower():
            continue
        fields.append((name, value.strip() if not wrong("exact-case") else value))
    low = {}
    for n, v in fields:
        if n.lower() == b"content-length" and n.lower() in low and not wrong("lengths-passed"):
            raise Refused(502)
        low.setdefault(n.lower(), v)
    if b"status" in low:
        if not re.fullmatch(rb"[1-5]\d\d( .*)?", low[b"status"]) and not wrong("status-unchecked"):
            raise Refused(502)
        if not (wrong("no-odd-status") and low[b"status"][:3] not in (b"404", b"503", b"201", b"301", b"204", b"304")):
            status = low[b"status"]
    if b"location" in low and status is None and not wrong("location-200"):
        status = b"302 Found"
    if not re.fullmatch(rb"\d+", low.get(b"content-length", b"0")) and not wrong("lengths-passed"):
        raise Refused(502)
    dropped = {b"connection"} if wrong("lengths-passed") else {b"connection", b"transfer-encoding"}
    dropped |= set() if wrong("status-passed") else {b"status"}
    kept = [(n, v) for n, v in fields if n.lower() not in dropped]
    if wrong("first-field-only"):
        kept = list(dict(reversed(kept)).items())
    return b"200 OK" if status is None or wrong("status-ignored") else status, kept, low


def head_of(answer):
    """The header block, and what came behind it."""
    data, limit = b"", 1000 if wrong("small-head") else 1 << 18
    while True:
        m = re.search(rb"^\r?\n|\r?\n\r?\n|\n\r?\n", data)
        if m:
            return data[:m.end()], data[m.end():]
        if len(data) > limit:
            if wrong("dies-of-long-head"):
                os._exit(1)
            raise Refused(502)
        if wrong("head-in-one-record") and data:
            raise Refused(502)
        if wrong("dies-of-long-line") and len(data) > 60000:
            os._exit(1)
        piece = answer.next()
        if piece is None:
            break
        data += piece
    if answer.protocol_status and not wrong("protocol-status-ignored"):
        raise Refused({1: 502, 2: 502 if wrong("overloaded-502") else 503}.get(answer.protocol_status, 502))
    if wrong("no-head-is-200") or wrong("protocol-status-ignored") and answer.protocol_status:
        answer.cut = False
        return b"\r\n", data
    raise Refused(502)


def relay(client, method, answer):
    head, first = head_of(answer)
    if wrong("app-status-error"):
        while (piece := answer.next()) is not None:
            first += piece
        if answer.app_status:
            raise Refused(502)
    status, fields, low = parse_head(head)
    if wrong("empty-is-error") and not first:
        first = answer.next() or b""
        if not first:
            raise Refused(502)
    if wrong("streams-late"):
        while (piece := answer.next()) is not None:
            first += piece
    bodiless = method == b"HEAD" and not wrong("head-body") or status[:3] in (b"204", b"304") and not wrong("204-body")
    given = low.get(b"content-length")
    left = int(given) if given is not None and given.isdigit() else None
    lines = [b"HTTP/1.1 " + status] + [n + b": " + v for n, v in fields]
    chunked = left is None and not bodiless and not (wrong("lengths-passed") and b"transfer-encoding" in low)
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
    out = b"\r\n".join(lines) + b"\r\n\r\n"
    piece = first
    while piece is not None:
        if wrong("one-for-all") and piece.startswith(b"w-10f"):
            piece = memory.setdefault("first", piece)
        if wrong("bodies-end-at-1m") and answer.errors == 0:
            answer.seen = getattr(answer, "seen", 0) + len(piece)
            piece = b"" if answer.seen > 1 << 20 else piece
        if left is not None and not wrong("length-passed-over"):
            piece = piece[:left]
            left -= len(piece)
        if piece and not bodiless:
            out += b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece
        if out:
            client.send(out)
        out = b""
        piece = answer.next()
    if left and not bodiless and not wrong("lengths-passed"):
        if not wrong("short-is-filled"):
            raise Gone
        client.send(bytes(left))
    if answer.cut:
        raise Gone
    if chunked:
        client.send(b"0\r\n\r\n")


def run(client, request, role, use, fresh=False, variables=()):
    """One request at the application; `use` takes the answer."""
    app = connection(fresh)
    rid, q = app.begin()
    if wrong("early-reuse") and not app.shared:
        idle.append(app)
    try:
        data = records_of(request, rid, role, variables)
        sent = threading.Thread(target=app.send, args=(data,), daemon=True)
        sent.start()
        answer = Answer(client, q)
        try:
            result = use(answer)
        except Refused:
            if answer.protocol_status == 1 and app.shared and not wrong("mpx-not-again"):
                if not wrong("mpx-stubborn"):
                    global may_multiplex
                    may_multiplex = False
                raise Again from None
            if answer.protocol_status == 3 and wrong("role-again") and not fresh:
                raise Again from None
            if answer.cut and app.dead and KEEP and not fresh and not wrong("stale-used"):
                raise Again from None
            raise
        while not answer.ended:
            answer.next()
        sent.join()
        app.forget(rid)
        if wrong("late-records"):
            time.sleep(0.05)
            app.late = b"".join(q.get()[1] for _ in range(q.qsize())) or app.late
        if (app.dead or answer.cut) and not wrong("stale-used"):
            app.close()
        else:
            release(app)
        return result
    except Exception:
        if app.shared and not wrong("aborts-by-close"):
            if rid in app.requests and not answer.ended and not wrong("never-aborts"):
                app.resting.add(rid)
                app.send(record(ABORT, rid))
        elif wrong("never-aborts"):
            lost.append(app)
            raise
        elif not app.shared or not answer.ended:
            app.close()
        app.forget(rid)
        raise


def authorize(client, request):
    """The variables, or None when the authorizer has answered."""
    def use(answer):
        head, body = head_of(answer)
        status, fields, _ = parse_head(head)
        while (piece := answer.next()) is not None:
            body += piece
        if status[:3] == b"200" or wrong("authorizer-ignored"):
            if wrong("authorizer-answers"):
                fields = [(n, v) for n, v in fields if n.lower() != b"content-length"]
                client.send(b"HTTP/1.1 200 OK\r\n" + b"".join(b"%s: %s\r\n" % f for f in fields) +
                            b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
                return None
            dash = b"-" if wrong("variable-dash") else b"_"
            return {n[9:].replace(b"_", dash): v for n, v in fields
                    if n.lower().startswith(b"variable-") and not wrong("variables-lost")}
        if wrong("denied-plainly"):
            raise Refused(403)
        client.send(b"HTTP/1.1 " + status + b"\r\n" + b"".join(b"%s: %s\r\n" % f for f in fields) +
                    b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        return None
    return run(client, request, AUTHORIZER if not wrong("no-authorizer") else RESPONDER, use)


memory = {}  # of the fault that mixes answers up


def serve_one(client):
    request = read_request(client)
    variables = {}
    if request[1].startswith(b"/auth/"):
        variables = authorize(client, request)
        if variables is None:
            return
        if wrong("body-eaten"):
            request = (*request[:3], b"")
    role = FILTER if request[1].startswith(b"/file") else RESPONDER
    for attempt in range(3):
        try:
            run(client, request, role, lambda a: relay(client, request[0], a), attempt > 0, variables)
            return
        except Again:
            continue
    raise Refused(502)


def serve(sock):
    client = Client(sock)
    try:
        while True:
            try:
                serve_one(client)
            except Refused as e:
                text = b"no"
                client.send(b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\n%s" % (e.args[0], text))
                if e.args[0] < 500:
                    return
    except (Gone, OSError, ValueError):
        pass
    finally:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        sock.close()


listener = socket.create_server(("127.0.0.1", PORT), backlog=64)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
