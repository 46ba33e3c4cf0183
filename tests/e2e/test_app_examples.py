# SPDX-License-Identifier: MIT
"""The examples, spoken to directly: echo, authorizer, filter and events."""
import re
import socket
import struct
import subprocess
import threading
import time

import pytest
from conftest import BUILD, wait_until
from fakeapp import ABORT, DATA, END, STDIN, STDOUT, record
from fcgi_client import AUTHORIZER, FILTER, RESPONDER, Fcgi
from gateways import listens_at


@pytest.fixture
def example(folder):
    """example(name) starts one: its address. Each must end well."""
    started = []

    def start(name, *args):
        path = folder / name
        started.append(subprocess.Popen([str(BUILD / "examples" / name), f"unix:{path}", *args],
                                        stdin=subprocess.DEVNULL))
        wait_until(lambda: listens_at(path))
        return path

    start.stop = lambda: [p.terminate() for p in started]
    yield start
    start.stop()
    for p in started:
        assert p.wait(20) == 0


# -- echo --

FORM = {"REQUEST_METHOD": "POST", "CONTENT_TYPE": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize("sent, back", [("hello", "hello"), ("a+b%21", "a b!"), ("", ""), ("%3Cb%3E&x=y", "<b>")])
def test_echo_says_it_back(example, sent, back):
    with Fcgi(example("echo")) as c:
        body = f"x=1&msg={sent}".encode()
        for a in (c.ask({"REQUEST_METHOD": "GET", "QUERY_STRING": body.decode()}),
                  c.ask({**FORM, "CONTENT_LENGTH": str(len(body))}, body)):
            assert a.body == back.encode() + b"\n"
            assert b"Content-Type: text/plain" in a.out
            assert a.app_status == 0


def test_echo_of_nothing_is_an_error(example):
    with Fcgi(example("echo")) as c:
        assert c.ask({"REQUEST_METHOD": "GET"}).out.startswith(b"Status: 400 ")
        assert c.ask({**FORM, "CONTENT_LENGTH": "99"}, b"msg=short").out.startswith(b"Status: 400 ")


def test_echo_serves_others_while_it_sleeps(example):
    path = example("echo")
    with Fcgi(path) as c, Fcgi(path) as d:
        for request_id in range(1, 20):
            c.begin({"QUERY_STRING": "msg=sleep"}, request_id=request_id)
            c.stream(STDIN, b"", request_id)
        start = time.monotonic()
        assert d.ask({"QUERY_STRING": "msg=hello"}).body == b"hello\n"
        assert c.ask({"QUERY_STRING": "msg=hello"}, request_id=30).body == b"hello\n"
        assert time.monotonic() - start < 30
        for request_id in range(1, 20):  # nobody wants to wait for a minute
            c.socket.sendall(record(ABORT, request_id))
            assert c.answer(request_id).app_status == 0


# -- authorizer --

ANN, BOB = "Basic YW5uOnNlY3JldA==", "Basic Ym9iOmh1bnRlcjI="


def test_the_authorizer_lets_in_whom_it_knows(example):
    with Fcgi(example("authorizer")) as c:
        a = c.ask({"HTTP_AUTHORIZATION": ANN}, role=AUTHORIZER)
        assert a.out == b"Status: 200 OK\r\nVariable-REMOTE_USER: ann\r\nVariable-AUTH_TYPE: Basic\r\n\r\n"
        c.begin({"HTTP_AUTHORIZATION": ANN}, role=AUTHORIZER)  # and needs no STDIN
        assert c.answer().out == a.out
        a = c.ask({"HTTP_AUTHORIZATION": ANN}, role=RESPONDER)
        assert a.out == b"Status: 200 OK\r\nRemote-User: ann\r\n\r\n"


@pytest.mark.parametrize("role", [AUTHORIZER, RESPONDER])
@pytest.mark.parametrize("sent, status", [(BOB, 403), (None, 401), ("", 401), (ANN + "x", 401), (ANN[:-1], 401),
                                          ("basic YW5uOnNlY3JldA==", 401)])
def test_the_authorizer_keeps_others_out(example, role, sent, status):
    with Fcgi(example("authorizer")) as c:
        a = c.ask({} if sent is None else {"HTTP_AUTHORIZATION": sent}, role=role)
        assert a.out.startswith(b"Status: %d " % status)
        assert (b"WWW-Authenticate: Basic " in a.out) == (status == 401)
        assert b"Variable-" not in a.out and b"Remote-User" not in a.out
        assert (a.err == b"bob was kept out\n") == (status == 403)
        assert a.body


# -- filter --

TEXT = b"if (a < b && b > c)\n" * 50000
PAGE = b"<!doctype html><title>text</title>\n<pre>" + TEXT.replace(b"&", b"&amp;").replace(b"<", b"&lt;") + b"</pre>\n"
TIME = {"FCGI_DATA_LAST_MOD": "784111777", "FCGI_DATA_LENGTH": str(len(TEXT))}


def in_turn(c, kind, content):
    """Sends a stream while the answer is read, as a web server does."""
    thread = threading.Thread(target=c.stream, args=(kind, content))
    thread.start()
    a = c.answer()
    thread.join()
    return a


def test_the_filter_makes_a_page_of_the_data(example):
    with Fcgi(example("filter")) as c:
        c.begin(TIME, role=FILTER)
        c.stream(STDIN, b"")
        a = in_turn(c, DATA, TEXT)
        assert a.body == PAGE
        assert b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n" in a.out
        assert c.ask({}, data=b"", role=FILTER).body.endswith(b"<pre></pre>\n")


def test_the_filter_need_not_read_the_data(example):
    with Fcgi(example("filter")) as c:
        for _ in range(3):
            a = c.ask({**TIME, "HTTP_IF_MODIFIED_SINCE": "Sun, 06 Nov 1994 08:49:37 GMT"}, data=TEXT[:100000], role=FILTER)
            assert a.out == b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nStatus: 304 Not Modified\r\n\r\n"


def test_the_filter_as_an_ordinary_application(example):
    with Fcgi(example("filter")) as c:
        c.begin({})
        assert in_turn(c, STDIN, TEXT).body == PAGE


def test_the_filter_reads_no_faster_than_its_page_is_read(example):
    path = example("filter")
    with Fcgi(path) as c:
        c.begin({}, role=FILTER)
        c.stream(STDIN, b"")
        c.socket.setblocking(False)
        sent = 0
        piece = record(DATA, 1, b"x" * 65528)
        idle = 0
        while idle < 10:  # nothing more is taken for half a second
            try:
                sent += c.socket.send(piece[sent % len(piece):])
                idle = 0
            except BlockingIOError:
                idle += 1
                time.sleep(0.05)
            assert sent < 16 << 20
        with Fcgi(path) as d:
            assert d.ask({}, b"other").body.endswith(b"<pre>other</pre>\n")


def test_a_filter_whose_server_goes_away(example):
    path = example("filter")
    for _ in range(5):
        with Fcgi(path) as c:
            c.begin(TIME, role=FILTER)
            c.stream(STDIN, b"")
            c.socket.sendall(record(DATA, 1, TEXT[:60000]))
            c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with Fcgi(path) as c:
        assert c.ask({}, data=b"x", role=FILTER).body.endswith(b"<pre>x</pre>\n")


# -- events --

EVENTS = {"REQUEST_METHOD": "GET", "REQUEST_URI": "/events?x=1"}
EVENT = re.compile(rb"id: (\d+)\ndata: \d\d:\d\d:\d\d\n\n")


def listen(c, request_id=1):
    c.begin(EVENTS, request_id=request_id)
    c.stream(STDIN, b"", request_id)


def hear(c, enough):
    """What each request is told, until that is enough: {request id: bytes}."""
    heard = {}
    while not enough(heard):
        kind, request_id, content = c.record()
        assert kind == STDOUT
        heard[request_id] = heard.get(request_id, b"") + content
    return heard


def test_events_reach_everybody_and_end_with_the_program(example):
    path = example("events", "20")
    with Fcgi(path) as c, Fcgi(path) as d:
        for request_id in range(1, 30):
            listen(c, request_id)
        listen(d)
        heard = hear(c, lambda h: len(h) == 29 and all(len(EVENT.findall(out)) > 4 for out in h.values()))
        for out in heard.values():
            head, _, events = out.partition(b"\r\n\r\n")
            assert b"Content-Type: text/event-stream" in head
            assert events.startswith(b": hello\n\n")
            ids = [int(i) for i in EVENT.findall(events)]
            assert ids == list(range(ids[0], ids[0] + len(ids)))
        d.socket.sendall(record(ABORT, 1))
        assert d.answer().app_status == 0
        assert b"new EventSource('events')" in d.ask({"REQUEST_METHOD": "GET", "REQUEST_URI": "/"}).body
        assert d.ask({**EVENTS, "REQUEST_METHOD": "HEAD"}).body == b""
        example.stop()
        ended = 0
        while ended < 29:
            kind, _, content = c.record()
            if kind != STDOUT:
                assert (kind, content) == (END, struct.pack(">IB3x", 0, 0))
                ended += 1
        assert c.closed()


def test_who_is_slow_to_hear_misses_events_and_holds_up_nobody(example):
    path = example("events", "2")
    with Fcgi(path) as slow, Fcgi(path) as quick:
        for request_id in range(1, 200):
            listen(slow, request_id)
        listen(quick)
        end, last, longest = time.monotonic() + 3, time.monotonic(), 0
        while time.monotonic() < end:
            assert quick.record()[0] == STDOUT
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        assert longest < 5
        # What waited for the slow one comes, and how many it missed behind that.
        heard = hear(slow, lambda h: len(h) == 199 and all(b"event: missed" in out for out in h.values()))
        for out in heard.values():
            assert len(out) < 100_000
            events, _, rest = out.partition(b"event: missed\ndata: ")
            ids = [int(i) for i in EVENT.findall(events)]
            assert ids == list(range(ids[0], ids[0] + len(ids)))
            if (following := EVENT.search(rest)) and b"event" not in rest[:following.start()]:
                assert int(following[1]) == ids[-1] + 1 + int(rest[:rest.index(b"\n")])
