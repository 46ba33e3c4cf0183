#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""wrong_app.py [FAULT[@N]...]: a FastCGI application that is right, but for the faults it is told.

With @N, from its Nth connection on.

It answers ferry-check (the words stand in ferry-check(1)), so that all cases can be run against it. A fault is asked
for by name where it bites, with bad("name"); test_check.py says which case must find it.
"""
import contextlib
import os
import re
import signal
import socket
import struct
import sys
import threading
import time

(BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR, DATA, GET_VALUES, GET_VALUES_RESULT, UNKNOWN_TYPE) = range(1, 12)
COMPLETE, CANT_MPX, OVERLOADED, UNKNOWN_ROLE = range(4)
FAULTS = {}  # name: how many connections it waits for, so that an application is right until then
for word in sys.argv[1:]:
    FAULTS[word.partition("@")[0]] = int(word.partition("@")[2] or 0)
CONNECTIONS = [0]
MAX_REQS = 64
MAX_CONNS = 32
MPX = "single" not in FAULTS
WORDS = ("about echo length params get environ status stderr mixed size sleep slow tiny empties none unread stray abort "
         "aborts variable deny data cache")
PATTERN = bytes(ord("a") + i % 26 for i in range(26 * 4000))


def bad(name):
    return name in FAULTS and CONNECTIONS[0] >= FAULTS[name]


class Stopped(Exception):
    """The connection is to be closed at once."""


class Aborted(Exception):
    """The handler's request was aborted."""


class Stream:
    """One that comes in: what is there, and whether its end is."""

    def __init__(self):
        self.bytes = bytearray()
        self.ended = False


class Request:
    def __init__(self, conn, rid, role, flags):
        self.conn = conn
        self.id = rid
        self.role = role
        self.keep = flags & 1
        self.params_bytes = bytearray()
        self.params = None  # [(name, value)]
        self.body = Stream()
        self.data = Stream()
        self.aborted = False
        self.changed = threading.Condition()
        self.head = False
        self.err_used = False
        self.pending = bytearray()
        self.late_abort = False

    def param(self, name):
        values = [v for n, v in self.params if n == name.encode()]
        if bad("equals-in-name"):
            values += [n.split(b"=", 1)[1] + v for n, v in self.params if n.startswith(name.encode() + b"=")]
        return (values[-1] if bad("last-wins") else values[0]) if values else None

    # -- what handlers do

    def read(self, stream, n=65536):
        """Some bytes; b"" at the end."""
        with self.changed:
            while not stream.bytes and not stream.ended and not self.aborted:
                self.changed.wait()
            if self.aborted:
                raise Aborted
            piece = bytes(stream.bytes[:n])
            del stream.bytes[:n]
            self.changed.notify_all()
            return piece

    def read_all(self, stream):
        n = 0
        while piece := self.read(stream):
            n += len(piece)
        return n

    def wait(self, ms):
        end = time.monotonic() + ms / 1000
        with self.changed:
            while not self.aborted and (left := end - time.monotonic()) > 0:
                self.changed.wait(left)
        if self.aborted and not bad("abort-unseen"):
            raise Aborted

    def write(self, content, flush=False):
        self.pending += content
        if bad("uncut") and len(self.pending) > 65535:
            self.flush_as(bytes(self.pending[:65000]))  # and loses the rest
            self.pending.clear()
        while len(self.pending) >= 65528:
            self.flush_as(bytes(self.pending[:65528]))
            del self.pending[:65528]
        if (flush and not bad("no-flush")) or bad("flush-all"):
            self.flush()
        if bad("empty-record") and not content:
            self.conn.send(STDOUT, self.id)

    def flush(self):
        if self.pending:
            self.flush_as(bytes(self.pending))
            self.pending.clear()

    def flush_as(self, content):
        if self.aborted and not bad("abort-late-output"):
            raise Aborted
        if bad("scramble") and len(content) > 3000:
            content = content[::-1]
        self.conn.send(STDOUT, self.id, content)

    def error(self, content):
        self.flush()
        if bad("stderr-lost"):
            return
        self.err_used = True
        self.conn.send(STDERR, self.id, content[::-1] if bad("stderr-scrambled") else content)

    def text(self, body=b"", status=None):
        if bad("status-line"):
            self.write(b"HTTP/1.1 200 OK\r\n")
        if status:
            self.write(f"Status: {status}\r\n".encode())
        self.write(b"Content-Type: text/plain\r\n\r\n" + body)


def argument(query, name):
    m = re.search(rf"(?:^|&){name}=([^&]*)", query)
    return m.group(1) if m else ""


ABORTS = 0
HOARD = []


def say_slept(rq, ms):
    rq.wait(ms)
    rq.text(b"slept\n")


def word_echo(rq, _):
    rq.text()
    while piece := rq.read(rq.body):
        rq.write(piece, flush=True)


def word_abort(rq, query):
    global ABORTS
    try:
        rq.wait(int(argument(query, "ms")))
    except Aborted:
        if not bad("aborts-uncounted"):
            ABORTS += 1
        return 0 if bad("abort-status") else 77
    rq.text(b"not aborted\n")
    return 0


def word_slow(rq, query):
    rq.text()
    if bad("hoards"):
        HOARD.append(b"x" * (100 << 20))
    for i in range(int(argument(query, "n"))):
        if i and argument(query, "ms") != "0":
            rq.wait(int(argument(query, "ms")))
        rq.write(b"%d\n" % i, flush=True)


def word_stray(rq, _):
    for fd in (rq.conn.socket.fileno(),) if bad("stray-to-peer") else (1, 2):
        try:
            os.write(fd, b"this is no FastCGI\n")
        except OSError:
            pass
    rq.text(b"stray\n")


def word_mixed(rq, query):
    rq.text()
    for i in range(int(argument(query, "n"))):
        rq.write(b"o%d\n" % i)
        rq.error(b"e%d\n" % i)


def word_data(rq, _):
    if bad("filter-hasty"):
        rq.flush_as(b"Content-Type: text/plain\r\n\r\n")
    n, m = (rq.read_all(rq.body), rq.read_all(rq.data))

    def number(name):
        try:
            value = int(rq.param(name))
            return value & 0x7FFFFFFF if bad("time-32") else value
        except (TypeError, ValueError):
            return 0 if bad("length-zero") else -1
    length = number("FCGI_DATA_LENGTH")
    if bad("data-short"):
        m -= 1
    if bad("data-by-length") and length != m:
        m = length
    rq.text(b"stdin %d data %d length %d modified %d\n" % (n, m, length, number("FCGI_DATA_LAST_MOD")))


def word_cache(rq, _):
    rq.read_all(rq.body)
    rq.text(b"cached\n")


def word_params(rq, _):
    pairs = dict(rq.params).items() if bad("one-of-a-name") else rq.params
    rq.text(b"".join(b"%d %d\n%s%s\n" % (len(n), len(v), n, v) for n, v in pairs))


def word_empties(rq, _):
    rq.text()
    for piece in (b"", b"a", b"", b"bc\n", b""):
        rq.write(piece, flush=True)


def word_tiny(rq, query):
    rq.text()
    for _ in range(int(argument(query, "n"))):
        rq.write(b".")


def word_get(rq, query):
    value = rq.param(argument(query, "name"))
    rq.text(b"none\n" if value is None else b"is " + value + b"\n")


def word_status(rq, query):
    rq.text(b"status\n")
    return int(argument(query, "n"))


def word_variable(rq, query):
    name, value = argument(query, "name"), argument(query, "value")
    if bad("variable-name"):
        name = name.replace("_", "-")
    if bad("variable-case"):
        name = name.lower()
    if not bad("no-variable"):
        rq.write(f"Variable-{name}: {value}\r\n".encode())
    rq.text()


def word_environ(rq, query):
    if bad("httpoxy"):
        rq.text(rq.param(argument(query, "name")) or b"none")
    else:
        rq.text(b"none\n")


HANDLERS = {
    "about": lambda rq, q: rq.text(f"ferry-check 1\n{WORDS}\nwrong_app\n".encode()),
    "echo": word_echo,
    "length": lambda rq, q: rq.text(b"%d\n" % rq.read_all(rq.body)),
    "params": word_params,
    "get": word_get,
    "environ": word_environ,
    "status": word_status,
    "stderr": lambda rq, q: (rq.error(b"e" * int(argument(q, "n"))), rq.text(b"stderr\n"))[0],
    "mixed": word_mixed,
    "size": lambda rq, q: word_size(rq, int(argument(q, "n"))),
    "sleep": lambda rq, q: say_slept(rq, int(argument(q, "ms"))),
    "slow": word_slow,
    "tiny": word_tiny,
    "empties": word_empties,
    "none": lambda rq, q: None,
    "unread": lambda rq, q: rq.text(b"unread\n"),
    "stray": word_stray,
    "abort": word_abort,
    "aborts": lambda rq, q: rq.text(b"%d\n" % ABORTS),
    "variable": word_variable,
    "deny": lambda rq, q: rq.text(b"" if bad("deny-empty") else b"no\n", status=200 if bad("deny-200") else 403),
    "data": word_data,
    "cache": word_cache,
}


def word_size(rq, n):
    rq.text()
    while n > 0:
        piece = PATTERN[:min(n, len(PATTERN))]
        rq.write(piece)
        n -= len(piece)
        time.sleep(0.0001)  # lets others have the connection's lock


def handle(rq):
    """The app status."""
    query = (rq.param("QUERY_STRING") or b"").decode("latin-1")
    word = argument(query, "ferry-check")
    if bad("waits-for-length") and rq.param("CONTENT_LENGTH"):
        n = 0
        while n < int(rq.param("CONTENT_LENGTH")):
            n += len(rq.read(rq.body))
            time.sleep(0.01)
    if word in HANDLERS:
        return HANDLERS[word](rq, query) or 0
    if rq.role == 3 and not bad("filter-hasty"):
        rq.read_all(rq.body)
    if bad("needs-stdin") and rq.role == 2:
        rq.read_all(rq.body)
    rq.text(b"hello\n")
    return 0


class Connection:
    def __init__(self, sock):
        self.socket = sock
        self.requests = {}
        self.lock = threading.RLock()
        self.closing = False  # when no request is active any more
        self.buffer = bytearray()
        self.ended = set()
        self.records = 0

    # -- sending

    def send(self, kind, rid, content=b"", version=None):
        padding = 0 if bad("no-padding") or (bad("no-padding-management") and rid == 0) else -len(content) % 8
        if bad("wrong-id") and rid:
            rid = rid % 256 or 1
        if bad("management-id") and kind in (GET_VALUES_RESULT, UNKNOWN_TYPE):
            rid = 1
        v = 1
        if bad("version-answer") and kind == STDOUT and b"hello, hello" in content:
            v = 2
        if bad("version-management") and kind == GET_VALUES_RESULT and len(content) < 20:
            v = 2
        record = struct.pack(">BBHHBB", v, kind, rid, len(content), padding, 7 if bad("reserved") else 0)
        with self.lock:
            try:
                self.socket.sendall(record + content + b"\0" * padding)
            except OSError:
                if bad("dies-of-pipe"):
                    os._exit(8)
                raise Stopped from None

    def end(self, rq, app_status, protocol_status=COMPLETE):
        with self.lock:
            if self.requests.get(rq.id) is not rq:
                return
            with RUNNING:
                COUNT[0] -= 1
            try:
                self.put_end(rq, app_status, protocol_status)
            except Stopped:
                pass
            self.requests.pop(rq.id, None)
            self.ended.add(rq.id)
            if not rq.keep and not bad("never-closes"):
                self.closing = True
            if bad("closes-kept") and rq.keep:
                self.closing = True
            if bad("closes-after-100") and self.records > 300:
                self.closing = True
        with RUNNING:
            RUNNING.notify_all()
        self.close_if_due()

    def put_end(self, rq, app_status, protocol_status):
        if bad("app-status-8"):
            app_status &= 255
        if bad("app-status-zero"):
            app_status = 0
        body = struct.pack(">IB3x", app_status & 0xFFFFFFFF, protocol_status)
        if protocol_status != COMPLETE:
            if bad("refusal-page"):
                self.send(STDOUT, rq.id, b"Status: 500\r\n\r\n")
            if bad("silent-refusal"):
                return
            self.send(END, rq.id, body)
            return
        if not bad("no-empty-stdout"):
            self.send(STDOUT, rq.id)
        if bad("two-empty-stdout"):
            self.send(STDOUT, rq.id)
        if rq.err_used and not bad("no-empty-stderr"):
            self.send(STDERR, rq.id)
        if bad("stderr-many") and not rq.err_used:
            self.send(STDERR, rq.id)
            self.send(STDERR, rq.id)
        if bad("end-7"):
            body = body[:7]
        if bad("end-status"):
            body = struct.pack(">IB3x", 0, 9)
        if bad("no-end"):
            return
        self.send(END, rq.id, body)
        if bad("two-ends"):
            self.send(END, rq.id, body)
        if bad("id-zero"):
            self.send(STDERR, 0, b"zero")
        if bad("late-stdout"):
            self.send(STDOUT, rq.id, b"late")

    def refuse(self, rid, flags, status):
        with self.lock:
            rq = Request(self, rid, 1, flags)
            rq.param_len = 0
            self.put_end(rq, 0, status)
            if not flags & 1 and not bad("refusal-keeps"):
                self.closing = True
            if bad("refusal-closes"):
                self.closing = True
            if bad("refusal-kills") and not flags & 1:
                raise Stopped
        self.close_if_due()

    def close_if_due(self):
        with self.lock:
            if not self.closing or (self.requests and not bad("closes-at-once")):
                return
            try:
                if bad("resets"):
                    self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.socket.close()
                else:
                    self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    # -- receiving

    def take(self, n):
        while len(self.buffer) < n:
            piece = self.socket.recv(65536)
            if not piece:
                if bad("dies-of-cut") and (n != 8 or self.buffer):
                    os._exit(7)
                raise Stopped
            self.buffer += piece
            if bad("one-read") and len(self.buffer) < n:
                raise Stopped
        got = bytes(self.buffer[:n])
        del self.buffer[:n]
        return got

    def run(self):
        try:
            while True:
                header = self.take(8)
                version, kind, rid, length, padding, reserved = struct.unpack(">BBHHBB", header)
                self.records += 1
                if bad("dies-of-junk") and version == ord("G"):
                    os._exit(4)
                if version != 1 and not bad("version-unchecked"):
                    if bad("dies-of-version"):
                        os._exit(3)
                    raise Stopped
                if (bad("reserved-checked") and reserved) or (bad("record-limit") and length + padding > 65535):
                    raise Stopped
                if bad("padding-signed") and padding > 127:
                    padding -= 128
                content = self.take(length)
                self.take(padding)
                if bad("gluttonous") and kind == STDIN and len(self.buffer) > 2000:
                    self.buffer.clear()
                self.record(kind, rid, content)
        except (Stopped, OSError) as e:
            if bad("dies-of-reset") and isinstance(e, ConnectionResetError):
                os._exit(9)
        finally:
            self.gone()

    def gone(self):
        with self.lock:
            active = list(self.requests.values())
        if bad("dies-of-close") and active:
            os._exit(10)
        if bad("noisy"):
            print("a connection was closed", file=sys.stderr, flush=True)
        whole = [rq for rq in active if rq.params is not None and rq.body.ended]
        for rq in active:
            # A web server that has only ended its direction still wants answers that it asked for whole.
            if rq not in whole or bad("half-close"):
                self.abort(rq)
                if rq.params is None:
                    self.requests.pop(rq.id, None)
                    with RUNNING:
                        COUNT[0] -= 1
                        RUNNING.notify_all()
        self.watch(whole)
        with CONNS_LOCK:
            CONNS.discard(self)
            CONNS_LOCK.notify_all()
        try:
            self.socket.close()
        except OSError:
            pass

    def watch(self, whole):
        """Until these have ended, or the connection breaks."""
        while any(self.requests.get(rq.id) is rq for rq in whole):
            time.sleep(0.01)
            if self.is_broken():
                for rq in whole:
                    self.abort(rq)
                break

    def is_broken(self):
        import select
        p = select.poll()
        p.register(self.socket, 0)
        try:
            return any(e & (select.POLLHUP | select.POLLERR) for _, e in p.poll(0)) and not bad("closed-unseen")
        except (OSError, ValueError):
            return True

    def abort(self, rq):
        with rq.changed:
            rq.aborted = True
            rq.changed.notify_all()

    # -- records

    def record(self, kind, rid, content):
        if kind in (GET_VALUES, GET_VALUES_RESULT, UNKNOWN_TYPE) or rid == 0:
            self.management(kind, rid, content)
            return
        if kind == BEGIN:
            self.begin(rid, content)
            return
        with self.lock:  # an END_REQUEST that is being sent makes the id inactive
            rq = self.requests.get(rid)
        if kind > UNKNOWN_TYPE or kind == 0:
            if bad("answers-any-type"):
                self.send(UNKNOWN_TYPE, 0, struct.pack(">B7x", kind))
            return
        if rq is None:
            if (bad("inactive-closes") and rid == 9) or (bad("late-stdin-closes") and rid in self.ended):
                raise Stopped
            if bad("inactive-answered"):
                self.send(END, rid, bytes(8))
            return
        if kind == ABORT:
            self.aborted(rq, content)
        elif kind == PARAMS:
            self.params(rq, content)
        elif kind in (STDIN, DATA):
            self.input(rq, kind, content)
        else:
            raise Stopped

    def management(self, kind, rid, content):
        if kind == GET_VALUES and rid == 0:
            if not bad("no-values"):
                self.values(content)
        elif kind in (GET_VALUES_RESULT, UNKNOWN_TYPE):
            if bad("answers-answers"):
                self.send(UNKNOWN_TYPE, 0, struct.pack(">B7x", kind))
        elif kind == GET_VALUES:
            if bad("values-any-id"):
                self.values(content)
        elif kind <= DATA and kind != 0:
            if not bad("null-ignored"):
                raise Stopped
        else:
            if bad("unknown-closes"):
                raise Stopped
            if bad("unknown-unanswered") or (bad("unknown-busy") and self.requests):
                return
            if bad("unknown-body") and content:
                self.buffer[:0] = content
            body = struct.pack(">B7x", 12 if bad("unknown-type-fixed") else kind)
            self.send(UNKNOWN_TYPE, 0, body[:4] if bad("unknown-short") else
                      body[:1] + b"\1" * 7 if bad("unknown-reserved") else body)

    def values(self, content):
        try:
            pairs = parse_pairs(content)
        except ValueError:
            pairs = []
            if bad("dies-of-query"):
                os._exit(5)
            if bad("answers-bad-query"):
                self.send(UNKNOWN_TYPE, 0, struct.pack(">B7x", GET_VALUES))
                return
        if bad("values-idle-only") and self.requests:
            return
        if bad("values-first-only") and self.ended:
            return
        known = {b"FCGI_MAX_CONNS": b"%d" % (4 if bad("few-conns") else MAX_CONNS),
                 b"FCGI_MAX_REQS": b"%d" % (8 if bad("few-reqs") else MAX_REQS),
                 b"FCGI_MPXS_CONNS": b"0" if not MPX or bad("mpxs-lies") else b"1"}
        if bad("values-hex"):
            known[b"FCGI_MAX_REQS"] = b"0x40"
        if bad("mpxs-two"):
            known[b"FCGI_MPXS_CONNS"] = b"2"
        names = [n for n, _ in pairs]
        if not bad("repeats"):
            names = list(dict.fromkeys(names))
        if bad("values-all"):
            names = list(known)
        if bad("values-one-missing"):
            known.pop(b"FCGI_MAX_CONNS")
        found = [(n, known[n]) for n in names if n in known]
        if bad("values-unknown"):
            found += [(n, b"") for n in names if n not in known]
        if bad("values-given"):
            found = [(n, dict(pairs)[n] or v) for n, v in found]
        if bad("values-wide"):
            body = b"".join(struct.pack(">II", len(n) | 1 << 31, len(v) | 1 << 31) + n + v for n, v in found)
        else:
            body = b"".join(bytes([len(n), len(v)]) + n + v for n, v in found)
        if not found and bad("values-empty-unanswered"):
            return
        self.send(GET_VALUES_RESULT, 0, body + (b"\1" if bad("values-malformed") else b""))
        if bad("values-terminated"):
            self.send(GET_VALUES_RESULT, 0)
        if bad("values-close"):
            raise Stopped

    def begin(self, rid, content):
        if len(content) < 8 and not bad("begin-short-ok"):
            raise Stopped
        if len(content) > 8 and bad("begin-long-closes"):
            raise Stopped
        content = content.ljust(8, b"\0")
        role, flags = struct.unpack(">HB", content[:3])
        if bad("begin-reserved-checked") and any(content[3:]):
            raise Stopped
        if bad("flags-checked") and flags & 0xFE:
            raise Stopped
        if bad("flags-any-keep") and flags:
            flags = 1
        if bad("role-8-bit"):
            role &= 255
        if bad("unsolicited"):
            self.send(GET_VALUES_RESULT, 0)
        if bad("ids-shared") and any(rid in c.requests for c in CONNS if c is not self):
            raise Stopped
        with self.lock:
            if rid in self.requests:
                if not bad("twice-ok"):
                    raise Stopped
                self.abort(self.requests.pop(rid))
                with RUNNING:
                    COUNT[0] -= 1
            if bad("ids-used-once") and rid in self.ended and len(self.ended) < 3 and self.records > 20:
                raise Stopped
            if role not in ((1,) if bad("responder-only") else (1, 2, 3)) and not bad("role-unchecked"):
                if bad("unknown-role-closes"):
                    raise Stopped
                self.refuse(rid, flags, OVERLOADED if bad("wrong-refusal") else UNKNOWN_ROLE)
                return
            if self.requests and not MPX:
                if bad("second-closes"):
                    raise Stopped
                if bad("second-kills-first"):
                    self.abort(next(iter(self.requests.values())))
                self.refuse(rid, flags, OVERLOADED if bad("wrong-refusal") else CANT_MPX)
                return
            if STOPPING[0] and not bad("serves-on"):
                self.refuse(rid, 0, OVERLOADED)
                return
            with RUNNING:
                if COUNT[0] >= (8 if bad("really-few") else 10 ** 6 if bad("unlimited") else MAX_REQS):
                    self.refuse(rid, flags, CANT_MPX if bad("wrong-refusal") else OVERLOADED)
                    return
                COUNT[0] += 1
            rq = Request(self, rid, role, flags)
            rq.param_len = -1
            self.requests[rid] = rq
            self.ended.discard(rid)
        if bad("hasty"):
            threading.Timer(0.05, self.hasty, [rq]).start()

    def hasty(self, rq):
        if rq.params is None and not rq.aborted:
            self.send(STDERR, rq.id, b"I have begun.")

    def params(self, rq, content):
        if rq.params is not None:
            if bad("params-late-ok"):
                return
            raise Stopped
        if bad("no-straddling") and content:
            try:
                parse_pairs(content)
            except ValueError:
                raise Stopped from None
        if content:
            rq.params_bytes += content
            if len(rq.params_bytes) > (1 << 30 if bad("params-unlimited") else 2 << 20) or bad("params-limit") and (
                    len(rq.params_bytes) > 60000):
                rq.body.ended = True
                raise Stopped
            if bad("dies-of-length") and b"\xff\xff\xff" in content:
                os._exit(6)
            if not bad("length-unchecked") and has_huge(rq.params_bytes):
                raise Stopped
            return
        try:
            rq.params = parse_pairs(bytes(rq.params_bytes))
        except ValueError:
            if not bad("truncated-ok"):
                raise Stopped from None
            rq.params = [(b"REQUEST_METHOD", b"GET")]
        if bad("params-required") and not rq.params:
            raise Stopped
        if len(rq.params) > 5000 and not bad("many-hang"):
            self.end(rq, 0, OVERLOADED)
            return
        if len(rq.params) > 5000:
            return
        if bad("empty-name-closes") and any(not n for n, _ in rq.params):
            raise Stopped
        if bad("empty-value-lost"):
            rq.params = [(n, v) for n, v in rq.params if v]
        if bad("ascii-params"):
            rq.params = [(n, bytes(b for b in v if b < 128)) for n, v in rq.params]
        if bad("c-strings"):
            rq.params = [(n.split(b"\0")[0], v.split(b"\0")[0]) for n, v in rq.params]
        if bad("order-fixed") and rq.params[0][0] != b"GATEWAY_INTERFACE":
            raise Stopped
        if bad("wants-length") and rq.role == 2 and rq.param("CONTENT_LENGTH") is None:
            raise Stopped
        rq.param_len = int(rq.param("CONTENT_LENGTH") or -1)
        if bad("one-at-a-time"):
            self.serve(rq)
        else:
            threading.Thread(target=self.serve, args=[rq], daemon=True).start()

    def serve(self, rq):
        with WORK if bad("global-lock") else contextlib.nullcontext():
            self.answer(rq)

    def answer(self, rq):
        if bad("waits-for-stdin"):
            with rq.changed:
                while not rq.body.ended and not rq.aborted:
                    rq.changed.wait()
        status = 0
        try:
            status = handle(rq)
            rq.flush()
        except Aborted:
            pass
        except Stopped:
            with self.lock:
                self.requests.pop(rq.id, None)
            with RUNNING:
                COUNT[0] -= 1
                RUNNING.notify_all()
            return
        if rq.late_abort:
            with RUNNING:
                COUNT[0] -= 1
            try:
                self.send(END, rq.id, bytes(8))
            except Stopped:
                pass
            return
        self.end(rq, status)

    def aborted(self, rq, content):
        if bad("abort-content-closes") and content:
            raise Stopped
        if bad("abort-ignored"):
            return
        if bad("abort-in-params-ignored") and rq.params is None:
            return
        if bad("abort-closes"):
            rq.keep = False
        if bad("abort-kills-others"):
            for other in list(self.requests.values()):
                self.abort(other)
        if rq.params is None:
            self.end(rq, 0, OVERLOADED if bad("abort-refused") else COMPLETE)
            return
        if bad("abort-acknowledged"):
            self.send(END, rq.id, bytes(8))
            rq.late_abort = True
            with self.lock:
                self.requests.pop(rq.id, None)
            return
        self.abort(rq)

    def input(self, rq, kind, content):
        stream = rq.body if kind == STDIN else rq.data
        if kind == DATA and rq.role != 3:
            if bad("data-closes"):
                raise Stopped
            return
        wrong = rq.params is None or (kind == DATA and not rq.body.ended) or (stream.ended and content)
        if wrong and not bad("order-unchecked"):
            raise Stopped
        if stream.ended and not content and bad("second-end-closes"):
            raise Stopped
        if bad("excess-kept") and kind == STDIN and content and 0 <= rq.param_len < len(content):
            self.buffer[:0] = content[rq.param_len:]
            content = content[:rq.param_len]
        with rq.changed:
            if not content:
                stream.ended = True
            elif not wrong:
                stream.bytes += content[:60000 if bad("stdin-60000") else 12 if bad("stdin-12") else 65535]
                if bad("end-early") and rq.param_len > 0:
                    stream.ended = True
            rq.changed.notify_all()
            if not bad("unread-blocks"):
                # A body that nobody reads is kept up to a limit, and then dropped when the handler is done.
                while len(stream.bytes) > 1 << 20 and self.requests.get(rq.id) is rq and not rq.aborted:
                    rq.changed.wait(0.05)
            else:
                while stream.bytes and self.requests.get(rq.id) is rq and not rq.aborted:
                    rq.changed.wait(0.05)


def has_huge(stream):
    """Does a pair at its front claim more than can be meant?"""
    at = 0
    while at < len(stream):
        lengths = []
        for _ in range(2):
            if at < len(stream) and stream[at] < 128:
                lengths.append(stream[at])
                at += 1
            elif at + 4 <= len(stream):
                lengths.append(struct.unpack(">I", stream[at:at + 4])[0] & 0x7FFFFFFF)
                at += 4
            else:
                return False
        if sum(lengths) > 16 << 20:
            return True
        at += sum(lengths)
    return False


def parse_pairs(stream):
    pairs, at = [], 0

    def length():
        nonlocal at
        if at < len(stream) and stream[at] < 128:
            at += 1
            return stream[at - 1]
        if at + 4 > len(stream):
            raise ValueError
        at += 4
        n = struct.unpack(">I", stream[at - 4:at])[0] & 0x7FFFFFFF
        if bad("no-wide-lengths") and n < 128:
            raise ValueError
        return n & 0xFFFF if bad("length-16-bit") else n
    while at < len(stream):
        n, v = length(), length()
        if at + n + v > len(stream):
            raise ValueError
        if (bad("long-names") and n > 127) or (bad("long-values") and v > 127):
            raise ValueError
        if bad("odd-values") and v in (0, 127, 128, 255, 256):
            v = v and v - 1
            pairs.append((stream[at:at + n], stream[at + n:at + n + v]))
            at += v == 0 and n or n + v + 1
            continue
        pairs.append((stream[at:at + n], stream[at + n:at + n + v]))
        at += n + v
    return pairs


# -- the process

CONNS = set()
CONNS_LOCK = threading.Condition()
RUNNING = threading.Condition(threading.RLock())
COUNT = [0]
WORK = threading.Lock()
STOPPING = [False]


def allowed(peer, listed):
    if listed is None or bad("list-ignored"):
        return True
    if not isinstance(peer, tuple):
        return bad("unix-allowed")
    host = peer[0]
    if bad("list-prefix"):
        return any(entry.startswith(host) for entry in listed)
    if bad("list-first"):
        return host == listed[0]
    if bad("list-last"):
        return host == listed[-1]
    return host in listed


def read_list():
    text = os.environ.get("FCGI_WEB_SERVER_ADDRS")
    if text is None:
        return ["127.0.0.1"] if bad("list-default") else None
    entries = text.split(",") if bad("blanks-kept") else [e.strip() for e in text.split(",")]
    for entry in entries:
        if not re.fullmatch(r"[\s\d.:a-f]+", entry):
            if bad("bad-list-zero"):
                sys.exit(0)
            if bad("bad-list-open"):
                return None
            sys.exit("bad list")
    if bad("no-v6"):
        entries = [e for e in entries if ":" not in e]
    return entries


def refuse(conn):
    if bad("refused-answered"):
        conn.sendall(struct.pack(">BBHHBB", 1, END, 1, 8, 0, 0) + bytes(8))
    if bad("refused-open"):
        CONNS.add(conn)
        return
    conn.close()


def plain_cgi():
    if bad("cgi-hangs"):
        time.sleep(60)
    if bad("cgi-silent"):
        return 0

    class Conn:
        requests = {}

        def send(self, kind, rid, content=b""):
            if kind == STDERR and bad("cgi-no-stderr"):
                return
            os.write(2 if kind == STDERR else 1, content)
    rq = Request(Conn(), 1, 1, 0)
    rq.params = [(n.encode(), v.encode()) for n, v in os.environ.items()]
    body = b"" if bad("cgi-no-body") else sys.stdin.buffer.read()
    rq.body.bytes += body
    rq.body.ended = True
    status = handle(rq)
    rq.flush()
    return 0 if bad("cgi-status") else status


def terminate(*_):
    if bad("term-ignored"):
        return
    STOPPING[0] = True
    if bad("term-at-once"):
        os._exit(0)
    if bad("serves-on"):
        threading.Timer(1.5, os._exit, [0]).start()
        return
    raise InterruptedError


def serve(listener, listed):
    while True:
        with CONNS_LOCK:
            while len(CONNS) >= (10 ** 6 if bad("unlimited") else 4 if bad("one-conn") else MAX_CONNS):
                CONNS_LOCK.wait(0.1)
        try:
            sock, peer = listener.accept()
        except BlockingIOError:
            if bad("dies-of-eagain"):
                sys.exit(1)
            time.sleep(0.01)
            continue
        CONNECTIONS[0] += 1
        if bad("one-peer") and CONNS:
            sock.close()
            continue
        if not allowed(peer, listed):
            refuse(sock)
            continue
        sock.setblocking(True)
        conn = Connection(sock)
        with CONNS_LOCK:
            CONNS.add(conn)
        if bad("impatient"):
            sock.settimeout(0.5)
        threading.Thread(target=conn.run, daemon=True).start()


def main():
    if bad("needs-environment") and "HOME" not in os.environ and "LANG" not in os.environ:
        sys.exit(1)
    if bad("needs-outputs"):
        os.fstat(1)
    if bad("argv0") and "renamed" in (os.readlink("/proc/self/exe") + open("/proc/self/cmdline").read()):
        sys.exit(1)
    try:
        listener = socket.socket(fileno=os.dup(0))
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError
    except OSError:
        sys.exit(plain_cgi())
    if not bad("low-descriptors"):  # so that no connection takes the places of closed descriptors
        for _ in range(3):
            fd = os.open("/dev/null", os.O_RDWR)
            if fd > 2:
                os.close(fd)
                break
    if (bad("no-tcp") and listener.family != socket.AF_UNIX) or (bad("no-ipv6") and listener.family == socket.AF_INET6):
        sys.exit(1)
    if bad("alone"):
        only = socket.socket(socket.AF_UNIX)
        try:
            only.bind("\0" + str(listener.getsockname()))
        except OSError:
            sys.exit(1)
    listed = read_list()
    signal.signal(signal.SIGTERM, terminate)
    try:
        serve(listener, listed)
    except InterruptedError:
        pass
    listener.close()
    for conn in list(CONNS):
        if isinstance(conn, Connection) and not bad("idle-stays"):
            conn.closing = True
            conn.close_if_due()
    with RUNNING:
        RUNNING.wait_for(lambda: COUNT[0] <= 0, 2.5)
    if bad("waits-for-peers"):
        while CONNS:
            time.sleep(0.1)
    time.sleep(0.02)
    os._exit(1 if bad("exit-status") else 0)


main()
