# SPDX-License-Identifier: MIT
"""What an HTTP client sees, and what ferry says, of applications that do whatever they like."""
import itertools
import pathlib
import re
import shutil
import socket
import tempfile
import threading
import time

import pytest
from conftest import Client, Ferry, has_read, open_files, wait_until
from fakeapp import (BEGIN, END, GET_VALUES, GET_VALUES_RESULT, PARAMS, STDERR, STDIN, STDOUT, UNKNOWN_TYPE, App,
                     answer, end, record, stdout)

BAD_WORDS = ("AddressSanitizer", "runtime error:", "ThreadSanitizer", "this must hold and does not", "LeakSanitizer")


class Site:
    def __init__(self, mpxs, *args):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ferry-tort-"))
        self.app = App(self.folder / "app.sock", mpxs)
        self.ferry = Ferry(self.folder, ["-a", self.app.address, "--access-log", "off", *args])
        self.numbers = itertools.count()

    def close(self):
        assert self.ferry.stop() == 0, self.ferry.err
        self.app.close()
        for word in BAD_WORDS:
            assert word not in self.ferry.err, self.ferry.err
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, name="x"):
        """One that no other test uses, so that its lines in the log are its own."""
        return f"/{name}-{next(self.numbers)}"

    def get(self, *pieces, method="GET", goes_on=False, interim=None, **kw):
        """What a client sees of an application that says these bytes; and its path."""
        path = self.path()
        self.app.says(path, *pieces, goes_on=goes_on)
        with self.ferry.client(**kw) as c:
            c.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n")
            return c.response(head_only=method == "HEAD", interim=interim), path

    def said(self, path):
        """ferry's lines about a path."""
        return [line for line in self.ferry.err.splitlines() if re.search(re.escape(path) + r"\b", line)]

    def rss(self):
        status = pathlib.Path(f"/proc/{self.ferry.worker()}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) * 1024


@pytest.fixture(scope="module")
def site():
    site = Site(b"0", "--multiplex", "off")
    yield site
    site.close()


@pytest.fixture(scope="module")
def shared():
    """An application that multiplexes, as far as one that is scripted can."""
    site = Site(b"1", "--multiplex", "on", "--threads", "1")
    yield site
    site.close()


def block(*lines, body=b"body", newline=b"\r\n"):
    return b"".join(line + newline for line in lines) + newline + body


# -- the header block (what the client sees; what ferry says, or None) --

TYPE = b"Content-Type: text/plain"

GOOD_HEADS = {
    "usual": (block(TYPE), 200, {"Content-Type": "text/plain"}, b"body"),
    "bare LF": (block(TYPE, newline=b"\n"), 200, {"Content-Type": "text/plain"}, b"body"),
    "mixed line ends": (TYPE + b"\n" + b"X-A: b\r\n\nbody", 200, {"X-A": "b"}, b"body"),
    "no type": (block(b"X-A: b"), 200, {"X-A": "b", "Content-Type": None}, b"body"),
    "empty body": (block(TYPE, body=b""), 200, {"Content-Length": "0"}, b""),
    "status": (block(b"Status: 404 Gone Fishing", TYPE), 404, {"Status": None}, b"body"),
    "status without a reason": (block(b"Status: 503", TYPE), 503, {}, b"body"),
    "status 599": (block(b"Status: 599 x", TYPE), 599, {}, b"body"),
    "location": (block(b"Location: http://example.org/x"), 302, {"Location": "http://example.org/x"}, b"body"),
    "local location": (block(b"Location: /x?y", body=b""), 302, {"Location": "/x?y"}, b""),
    "relative location": (block(b"Location: x"), 302, {"Location": "x"}, b"body"),
    "location and status": (block(b"Location: /new", b"Status: 201 Made"), 201, {"Location": "/new"}, b"body"),
    "nph": (block(b"HTTP/1.1 418 Teapot", TYPE), 418, {}, b"body"),
    "hop by hop": (block(TYPE, b"Connection: close, X-A", b"Keep-Alive: 5", b"Upgrade: h2c", b"Trailer: x",
                         b"Proxy-Connection: x", b"TE: x", b"X-A: kept"), 200,
                   {"Keep-Alive": None, "Upgrade": None, "Trailer": None, "Proxy-Connection": None, "X-A": "kept"},
                   b"body"),
    "paths of the server": (block(TYPE, b"X-Sendfile: /etc/passwd", b"X-Accel-Redirect: /x"), 200,
                            {"X-Sendfile": None, "X-Accel-Redirect": None}, b"body"),
    "its own date": (block(TYPE, b"Date: yesterday"), 200, {}, b"body"),
    "cookies": (block(TYPE, b"Set-Cookie: a=1", b"Set-Cookie: b=2"), 200, {"Set-Cookie": "a=1, b=2"}, b"body"),
    "true length": (block(TYPE, b"Content-Length: 4"), 200, {"Content-Length": "4"}, b"body"),
    "the same length twice": (block(TYPE, b"Content-Length: 4", b"Content-Length: 4"), 200,
                              {"Content-Length": "4"}, b"body"),
    "a name that is no token": (block(TYPE, b"X(A): b"), 200, {"X(A)": None}, b"body"),
    "two types": (block(TYPE, b"Content-Type: text/html"), 200, {"Content-Type": "text/plain"}, b"body"),
    "eight bits": (block(TYPE, b"X-A: caf\xe9"), 200, {"X-A": "caf\xe9"}, b"body"),
}

BAD_HEADS = {
    "no empty line": (b"Content-Type: text/plain\r\n", "its header block has no end"),
    "nothing": (b"", "it is empty"),
    "an empty block": (b"\r\nbody", "an empty header block"),
    "no colon": (block(TYPE, b"nonsense"), "a header line without a colon"),
    "html at once": (b"<html>\n\n<body>", "a header line without a colon"),
    "folded": (block(TYPE, b" folded"), "a folded header field"),
    "NUL": (block(TYPE, b"X-A: a\0b"), "a control byte"),
    "CR in a value": (block(TYPE, b"X-A: a\rX-B: b"), "a control byte"),
    "escape": (block(TYPE, b"X-A: \x1b[31m"), "a control byte"),
    "no name": (block(TYPE, b": b"), "without a name"),
    "blank before the colon": (block(TYPE, b"Content-Length : 4"), "a blank in the name"),
    "status in letters": (block(b"Status: ok", TYPE), "a bad Status"),
    "status 600": (block(b"Status: 600 x", TYPE), "a bad Status"),
    "status 099": (block(b"Status: 099 x", TYPE), "a bad Status"),
    "status of four digits": (block(b"Status: 2000", TYPE), "a bad Status"),
    "status 0": (block(b"Status: 0", TYPE), "a bad Status"),
    "status twice": (block(b"Status: 200", b"Status: 404", TYPE), "more than one Status"),
    "status 101": (block(b"Status: 101 Switching", TYPE), "Status 101"),
    "length in letters": (block(TYPE, b"Content-Length: x"), "a bad Content-Length"),
    "length +4": (block(TYPE, b"Content-Length: +4"), "a bad Content-Length"),
    "length -4": (block(TYPE, b"Content-Length: -4"), "a bad Content-Length"),
    "length past 64 bits": (block(TYPE, b"Content-Length: 99999999999999999999"), "a bad Content-Length"),
    "two lengths": (block(TYPE, b"Content-Length: 4", b"Content-Length: 5"), "conflicting Content-Length"),
    "chunked": (block(TYPE, b"Transfer-Encoding: chunked", body=b"4\r\nbody\r\n0\r\n\r\n"), "Transfer-Encoding"),
    "chunked and a length": (block(TYPE, b"Content-Length: 4", b"Transfer-Encoding: chunked"), "Transfer-Encoding"),
    "too many fields": (block(TYPE, *[b"X-%d: x" % i for i in range(200)]), "too long"),
}


@pytest.mark.parametrize("name", GOOD_HEADS)
def test_header_blocks(site, name):
    content, status, fields, body = GOOD_HEADS[name]
    r, _ = site.get(answer(content), goes_on=True)
    assert (r.status, r.body, r.complete) == (status, body, True)
    for field, value in fields.items():
        assert r[field] == value
    assert r["Transfer-Encoding"] is None  # it was complete at once


@pytest.mark.parametrize("name", BAD_HEADS)
def test_bad_header_blocks(site, name):
    content, words = BAD_HEADS[name]
    r, path = site.get(answer(content), goes_on=True)
    assert r.status == 502 and r.complete and b"was unusable" in r.body
    wait_until(lambda: words in "".join(site.said(path)))


def test_headers_may_be_split_anywhere(site):
    content = block(b"Status: 201 Created", b"X-A: b", TYPE)
    for at in range(1, len(content)):
        r, _ = site.get(stdout(content[:at]) + stdout(content[at:]) + end(), goes_on=True)
        assert (r.status, r["X-A"], r.body, r.complete) == (201, "b", b"body", True), at


def test_headers_may_come_in_pieces(site):
    content = answer(block(b"Status: 201 Created", b"X-A: b", TYPE))

    def slowly(at):
        def behave(c, rq):
            c.send(content[:at])
            time.sleep(0.002)
            return c.send(content[at:])
        return behave
    for at in range(1, len(content)):
        path = site.path("pieces")
        site.app.does(path, slowly(at))
        r = site.ferry.get(path)
        assert (r.status, r["X-A"], r.body, r.complete) == (201, "b", b"body", True), at


def test_a_header_block_byte_by_byte(site):
    content = block(TYPE, b"X-A: " + b"a" * 5000, body=b"b" * 300)
    r, _ = site.get(b"".join(record(STDOUT, 1, content[i:i + 1]) for i in range(len(content))) + end())
    assert (r.status, r.body, r.complete) == (200, b"b" * 300, True)
    assert len(r["X-A"]) == 5000


@pytest.mark.parametrize("size", [65536, 65537, 200_000])
def test_long_header_blocks(site, size):
    r, _ = site.get(answer(block(TYPE, b"X-A: " + b"a" * size)))
    assert (r.status, len(r["X-A"]), r.body) == (200, size, b"body")


@pytest.mark.parametrize("whole", [True, False])
def test_a_header_block_past_the_limit(site, whole):
    content = TYPE + b"\r\n" + b"X-A: " + b"a" * 300_000
    r, path = site.get(answer(content + b"\r\n\r\nbody") if whole else stdout(content))
    assert r.status == 502
    assert "too long" in "".join(site.said(path))


def test_long_header_blocks_in_small_records_do_not_stop_the_others(site):
    content = block(TYPE, *[b"X-A: b" * 3] * 100, b"X-B: " + b"b" * 190_000)
    path = site.path()
    site.app.says(path, b"".join(record(STDOUT, 1, content[i:i + 4]) for i in range(0, len(content), 4)) + end())
    began = time.monotonic()
    r = site.ferry.get(path)
    assert r.status == 200 and r.complete
    assert time.monotonic() - began < 15


# -- interim responses, and responses without a body --

def test_early_hints_are_relayed(site):
    interim = []
    hints = block(b"Status: 103 Early Hints", b"Link: </a.css>; rel=preload", body=b"")
    r, _ = site.get(answer(hints + hints + block(TYPE)), interim=interim)
    assert (r.status, r.body, r.complete) == (200, b"body", True)
    assert [(s, dict(f)["Link"]) for s, _, f in interim] == [(103, "</a.css>; rel=preload")] * 2


def test_early_hints_come_early(site):
    path, go = site.path(), threading.Event()

    def behave(c, rq):
        c.send(stdout(block(b"Status: 103 Early Hints", b"Link: </a.css>", body=b"")))
        go.wait(10)
        return c.send(answer(block(TYPE)))
    site.app.does(path, behave)
    with site.ferry.client() as c:
        c.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.head()[0] == 103
        go.set()
        assert c.response().status == 200


def test_early_hints_are_not_for_http_1_0(site):
    path = site.path()
    site.app.says(path, answer(block(b"Status: 103 Early Hints", b"Link: x", body=b"") + block(TYPE)))
    with site.ferry.client() as c:
        c.send(f"GET {path} HTTP/1.0\r\n\r\n")
        assert c.head()[0] == 200


def test_100_is_swallowed(site):
    interim = []
    r, _ = site.get(answer(block(b"Status: 100 Continue", body=b"") + block(TYPE)), interim=interim)
    assert (r.status, interim) == (200, [])


def test_hints_and_then_nothing(site):
    interim = []
    r, path = site.get(answer(block(b"Status: 103 Early Hints", b"Link: x", body=b"")), interim=interim)
    assert r.status == 502 and len(interim) == 1


def test_hints_without_end_for_a_client_that_does_not_read(site):
    path, hint = site.path(), block(b"Status: 103 Early Hints", b"Link: " + b"x" * 1000, body=b"")

    def behave(c, rq):
        while c.send(stdout(hint * 50)):
            pass
    site.app.does(path, behave)
    with site.ferry.client() as c:
        c.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: "too many interim responses" in "".join(site.said(path)))


@pytest.mark.parametrize("method, status", [("GET", 204), ("GET", 304), ("HEAD", 200), ("HEAD", 404)])
@pytest.mark.parametrize("size", [0, 4, 100_000])
def test_bodies_that_must_not_be_sent(site, method, status, size):
    path = site.path()
    accepted = site.app.accepted
    site.app.says(path, answer(block(b"Status: %d" % status, TYPE, body=b"b" * size)), goes_on=True)
    with site.ferry.client() as c:
        for _ in range(3):
            c.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n")
            r = c.response(head_only=True)
            assert r.status == status
            assert status != 204 or r["Content-Length"] is None
        assert c.request("GET", site.path()).body == b"ok"
    assert site.app.accepted <= accepted + 1  # drained and reused


def test_head_keeps_the_length(site):
    r, _ = site.get(answer(block(TYPE, b"Content-Length: 1234", body=b"")), method="HEAD", goes_on=True)
    assert r["Content-Length"] == "1234"


@pytest.mark.parametrize("method, status", [("GET", 204), ("HEAD", 200)])
def test_a_body_that_must_not_be_sent_is_not_drained_for_ever(site, method, status):
    path, sent = site.path(), []

    def behave(c, rq):
        c.send(stdout(block(b"Status: %d" % status, TYPE)))
        while c.send(stdout(b"b" * 60000)):
            sent.append(1)
    site.app.does(path, behave)
    with site.ferry.client() as c:
        c.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.response(head_only=True).status == status
        assert c.request("GET", site.path()).body == b"ok"
    assert len(sent) < 200


# -- the end of a response --

CUTS = {
    "no END_REQUEST": stdout(block(TYPE)),
    "no END_REQUEST, but the end of STDOUT": stdout(block(TYPE)) + record(STDOUT, 1),
    "half an END_REQUEST": stdout(block(TYPE)) + end()[:12],
    "half a record": stdout(block(TYPE)) + record(STDOUT, 1, b"more")[:10],
    "no END_REQUEST, with a length that is met": stdout(block(TYPE, b"Content-Length: 4")),
    "less than its length": answer(block(TYPE, b"Content-Length: 5")),
    "much less than its length": answer(block(TYPE, b"Content-Length: 500000")),
    "none of its length": answer(block(TYPE, b"Content-Length: 5", body=b"")),
}


@pytest.mark.parametrize("name", CUTS)
def test_cut_responses_are_visibly_cut(site, name):
    """Sent so that the head is on its way to the client before the end is known, and at once."""
    for pause in (0.05, 0):
        path = site.path()
        head = CUTS[name].index(b"\r\n\r\n") + 4

        def behave(c, rq):
            if pause:
                c.send(CUTS[name][:head + 2])
                time.sleep(pause)
                c.send(CUTS[name][head + 2:])
            else:
                c.send(CUTS[name])
        site.app.does(path, behave)
        with site.ferry.client() as c:
            c.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
            r = c.response()
            assert r.status == 502 or not r.complete or "END_REQUEST, with a length" in name
            assert r.status == 502 or c.closed()
        wait_until(lambda: site.said(path))


def test_a_cut_is_visible_to_http_1_0_too(site):
    """Without chunks, only a reset tells it from a whole response."""
    path = site.path()

    def behave(c, rq):
        c.send(stdout(block(TYPE)))
        time.sleep(0.05)
    site.app.does(path, behave)
    with site.ferry.client() as c:
        c.send(f"GET {path} HTTP/1.0\r\n\r\n")
        assert c.head()[0] == 200
        with pytest.raises(ConnectionResetError):
            while c.socket.recv(1000):
                pass


def test_every_cut_at_every_byte(site):
    whole = stdout(block(TYPE), padding=3) + record(STDERR, 1, b"e\n") + record(STDOUT, 1) + end(padding=5)
    paths = {}
    for at in range(len(whole) + 1):
        r, paths[at] = site.get(whole[:at])
        if at < len(whole) - 5:
            assert r.status == 502 or not r.complete, at
        else:
            assert (r.status, r.body, r.complete) == (200, b"body", True), at
    for at in range(len(whole) - 5):
        wait_until(lambda: site.said(paths[at]))


def test_every_cut_of_a_response_with_a_length(site):
    """Once all of it has come, the length alone would make it look whole: then the connection closes."""
    whole = answer(block(TYPE, b"Content-Length: 4"))
    for at in range(len(whole)):
        r, path = site.get(whole[:at])
        assert r.status == 502 or not r.complete or at >= len(whole) - 24, at
        wait_until(lambda: site.said(path))


@pytest.mark.parametrize("extra", [1, 100, 100_000])
def test_more_than_its_length(site, extra):
    path = site.path()
    site.app.says(path, answer(block(TYPE, b"Content-Length: 4", body=b"body" + b"x" * extra)), goes_on=True)
    with site.ferry.client() as c:
        for _ in range(3):
            r = c.request("GET", path)
            assert (r.status, r.body, r.complete) == (200, b"body", True)
        assert c.request("GET", site.path()).body == b"ok"
    wait_until(lambda: "more than its Content-Length" in "".join(site.said(path)))


def test_more_than_its_length_without_end(site):
    path, sent = site.path(), []

    def behave(c, rq):
        c.send(stdout(block(TYPE, b"Content-Length: 4")))
        while c.send(stdout(b"x" * 60000)):
            sent.append(1)
    site.app.does(path, behave)
    with site.ferry.client() as c:
        assert c.request("GET", path).body == b"body"
        assert c.request("GET", site.path()).body == b"ok"
    assert len(sent) < 200


def test_an_app_status_is_no_error(site):
    r, path = site.get(stdout(block(TYPE)) + end(app_status=7), goes_on=True)
    assert (r.status, r.body, r.complete) == (200, b"body", True)


@pytest.mark.parametrize("status, http, words", [(3, 502, "role"), (1, 502, "refused"), (9, 502, "refused")])
def test_protocol_statuses(site, status, http, words):
    r, path = site.get(end(protocol_status=status), goes_on=True)
    assert r.status == http
    wait_until(lambda: words in "".join(site.said(path)))


def test_overloaded_is_asked_again(site):
    path, asked = site.path(), []

    def behave(c, rq):
        asked.append(1)
        return c.send(end(protocol_status=2) if len(asked) < 4 else answer(block(TYPE)))
    site.app.does(path, behave)
    assert site.ferry.get(path).body == b"body"
    assert len(asked) == 4


# -- records --

CONTENT = block(TYPE)
ODD = {
    "padding of 255": stdout(CONTENT, padding=255) + record(STDOUT, 1, padding=255) + end(padding=255),
    "no end of STDOUT": stdout(CONTENT) + end(),
    "ends of STDERR": record(STDERR, 1) + stdout(CONTENT) + record(STDERR, 1) + end(),
    "STDERR in between": b"".join(record(STDOUT, 1, CONTENT[i:i + 1]) + record(STDERR, 1, b"e")
                                  for i in range(len(CONTENT))) + end(),
    "unknown types": record(99, 1, b"what") + stdout(CONTENT) + record(200, 1) + end(),
    "values nobody asked for": record(GET_VALUES_RESULT, 0, b"junk") + stdout(CONTENT) +
                               record(UNKNOWN_TYPE, 0, b"\x63" + bytes(7)) + end(),
    "the end of STDOUT twice": stdout(CONTENT) + record(STDOUT, 1) * 2 + end(),
}

MALFORMED = {
    "version 2": (record(STDOUT, 1, CONTENT, version=2), "another version"),
    "version 0": (record(STDOUT, 1, CONTENT, version=0), "another version"),
    "HTTP": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "another version"),
    "another id": (stdout(CONTENT, 2) + end(2), "not active"),
    "a high id": (stdout(CONTENT, 257) + end(257), "not active"),
    "id 0": (stdout(CONTENT, 0), "request id 0"),
    "a short end": (record(END, 1, bytes(4)), "short END_REQUEST"),
    "an empty end": (record(END, 1), "short END_REQUEST"),
    "STDIN": (record(STDIN, 1, b"x"), "only web servers"),
    "PARAMS": (record(PARAMS, 1), "only web servers"),
    "BEGIN": (record(BEGIN, 1, bytes(8)), "only web servers"),
    "GET_VALUES": (record(GET_VALUES, 0), "request id 0"),
    "an unknown type for nobody": (record(99, 0), "request id 0"),
    "values for a request": (record(GET_VALUES_RESULT, 1), "management record"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_records_are_understood(site, name):
    r, _ = site.get(ODD[name], goes_on=True)
    assert (r.status, r.body, r.complete) == (200, b"body", True)


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_records(site, name):
    content, words = MALFORMED[name]
    r, path = site.get(content, goes_on=True)
    assert r.status == 502
    wait_until(lambda: words in "".join(site.said(path)))


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_records_behind_half_a_response(site, name):
    content, words = MALFORMED[name]
    path = site.path()

    def behave(c, rq):
        c.send(stdout(CONTENT))
        time.sleep(0.01)
        return c.send(content)
    site.app.does(path, behave)
    r = site.ferry.get(path)
    assert (r.status, r.body, r.complete) == (200, b"body", False)
    wait_until(lambda: words in "".join(site.said(path)))


def test_stdout_after_its_end(site):
    path = site.path()

    def behave(c, rq):
        c.send(stdout(CONTENT) + record(STDOUT, 1))
        time.sleep(0.01)
        return c.send(stdout(b"more") + end())
    site.app.does(path, behave)
    r = site.ferry.get(path)
    assert (r.status, r.body, r.complete) == (200, b"body", False)
    assert "STDOUT after its end" in "".join(site.said(path))


def test_data_after_the_end_reaches_nobody(site):
    path, stray = site.path(), block(TYPE, body=b"stray")
    for tail in (stdout(stray) + end(), answer(stray), record(STDERR, 1, b"stray"), b"\1", b"garbage" * 10):
        site.app.says(path, answer(CONTENT) + tail, goes_on=True)
        with site.ferry.client() as c:
            for _ in range(5):
                assert c.request("GET", path).body == b"body"
            assert c.request("GET", site.path()).body == b"ok"


def test_full_records(site):
    body = bytes(range(256)) * 4096
    r, _ = site.get(stdout(block(TYPE, body=body), padding=255) + end(), goes_on=True)
    assert r.complete and r.body == body


@pytest.mark.parametrize("flood", [record(STDERR, 1), record(STDERR, 1, padding=255), record(99, 1, b"x"),
                                   record(GET_VALUES_RESULT, 0)])
def test_records_without_progress(site, flood):
    path = site.path()

    def behave(c, rq):
        while c.send(flood * 1000):
            pass
    site.app.does(path, behave)
    r = site.ferry.get(path)
    assert r.status == 502
    wait_until(lambda: site.said(path))


# -- the error stream --

def test_stderr_is_logged_with_its_request(site):
    r, path = site.get(record(STDERR, 1, b"one\ntwo") + stdout(CONTENT) + record(STDERR, 1, b" and more\n") + end())
    assert r.body == b"body"
    said = wait_until(lambda: site.said(path))
    assert [line.rsplit(": ", 1)[-1] for line in said] == ["one", "two and more"]
    assert all("app" in line for line in said)


def test_stderr_alone_is_no_response(site):
    r, path = site.get(record(STDERR, 1, b"Primary script unknown\n") + end())
    assert r.status == 502
    assert any("Primary script unknown" in line for line in wait_until(lambda: site.said(path)))


def test_control_bytes_in_stderr_are_escaped(site):
    r, path = site.get(record(STDERR, 1, b"\x1b[31mred\x07\x00\r\x9b2J\xff \xc2\x9b \xc3\xa4\n") + stdout(CONTENT) + end())
    said = wait_until(lambda: site.said(path))
    raw = pathlib.Path(site.ferry.err_path).read_bytes()
    assert said[0].endswith("\\x1B[31mred\\x07\\x00\\x0D\\x9B2J\\xFF \\xC2\\x9B \u00e4")
    assert all(byte not in raw for byte in (b"\x1b", b"\x07", b"\x00", b"\r", b"\x9b", b"\xff"))


def test_control_bytes_of_a_target_are_escaped(site):
    path = site.path()
    site.app.says(path + "\x9b2J", b"junk")
    with site.ferry.client() as c:
        c.send(f"GET {path}\x9b2J HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1"))
        assert c.response().status == 502
    assert wait_until(lambda: site.said(path))
    assert b"\x9b" not in pathlib.Path(site.ferry.err_path).read_bytes()


def test_a_flood_of_stderr_is_bounded(site):
    path, before = site.path(), len(site.ferry.err)

    def behave(c, rq):
        for _ in range(500):
            c.send(record(STDERR, 1, b"noise " * 1000 + b"\n") * 10)
        return c.send(answer(CONTENT))
    site.app.does(path, behave)
    r = site.ferry.get(path)
    assert (r.status, r.body) == (200, b"body")
    wait_until(lambda: site.said(path))
    assert len(site.ferry.err) - before < 100_000
    assert site.rss() < 200 << 20


# -- uploads --

def echo_length(c, rq):
    body = bytes(rq.body)
    return c.send(answer(block(TYPE, body=b"%s %d" % (rq.params.get("CONTENT_LENGTH", "-").encode(), len(body)))))


@pytest.mark.parametrize("size", [1, 1000, 65535, 65536, 65537, 200_000, 3_000_000])
def test_bodies_have_their_length(site, size):
    path = site.path()
    site.app.does(path, echo_length)
    assert site.ferry.post(path, b"x" * size).text == f"{size} {size}"


@pytest.mark.parametrize("sizes", [[1], [5, 1, 7], [70000, 1, 70000], [1] * 500, [1_000_000]])
def test_chunked_bodies_have_their_length(site, sizes):
    path, total = site.path(), sum(sizes)
    site.app.does(path, echo_length)
    with site.ferry.client() as c:
        c.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for n in sizes:
            c.send(b"%x\r\n%s\r\n" % (n, b"x" * n))
        c.send("0\r\n\r\n")
        assert c.response().text == f"{total} {total}"


@pytest.mark.parametrize("size", [1000, 300_000, 5_000_000])
def test_an_answer_before_the_body_is_read(site, size):
    for leaves in (True, False):
        path = site.path()

        def behave(c, rq):
            c.send(answer(block(b"Status: 413 No", TYPE, body=b"too much")))
            return False if leaves else c.take_rest(rq)
        site.app.does(path, behave, early=True)
        with site.ferry.client() as c:
            c.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n")
            try:
                c.send(b"x" * size)
            except OSError:
                pass  # it was answered, and has closed
            r = c.response()
            assert (r.status, r.body, r.complete) == (413, b"too much", True)
        assert site.ferry.get(site.path()).body == b"ok"


def test_an_application_that_never_reads(site):
    path, go = site.path(), threading.Event()

    def behave(c, rq):
        go.wait(20)
        return False
    site.app.does(path, behave, early=True)
    before, sent = site.rss(), 0
    with site.ferry.client() as c:
        c.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        c.socket.settimeout(0.5)
        try:
            while sent < 500_000_000:
                sent += c.socket.send(b"x" * 1_000_000)
        except TimeoutError:
            pass
        assert site.rss() - before < 8 << 20
        go.set()
        c.socket.settimeout(20)
        assert c.response().status == 502
    assert sent < 100_000_000


def test_an_application_that_reads_slowly(site):
    path, size = site.path(), 3_000_000

    def behave(c, rq):
        while not rq.whole:
            if c.take() is None:
                return False
            time.sleep(0.005)
        return echo_length(c, rq)
    site.app.does(path, behave, early=True)
    assert site.ferry.post(path, b"x" * size).text == f"{size} {size}"


def test_a_slow_upload_takes_no_connection(site):
    path = site.path()
    site.app.does(path, echo_length)
    seen = len(site.app.seen)
    with site.ferry.client() as c:
        c.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n")
        for _ in range(20):
            c.send(b"x" * 999)
            time.sleep(0.01)
        assert len(site.app.seen) == seen
        c.send(b"x" * 20)
        assert c.response().text == "20000 20000"


def test_an_upload_that_is_given_up_never_happened(site):
    path = site.path()
    site.app.does(path, echo_length)
    seen = len(site.app.seen)
    with site.ferry.client() as c:
        c.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\nxxx")
        time.sleep(0.05)
    time.sleep(0.05)
    assert site.ferry.get(site.path()).body == b"ok"
    assert [rq.path for rq in site.app.seen[seen:]].count(path) == 0


def test_a_fast_upload_that_becomes_slow_is_ended(site):
    """It has a connection by then: given up, the application sees the end."""
    path, saw = site.path(), []

    def behave(c, rq):
        saw.append(c.take_rest(rq))
        return False
    site.app.does(path, behave, early=True)
    with site.ferry.client() as c:
        c.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
        c.send(b"x" * 1_000_000)
        wait_until(lambda: any(rq.params and rq.path == path for rq in site.app.seen))
    wait_until(lambda: saw)
    assert saw == [False]


# -- clients that are gone --

def reset(client):
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


def test_a_client_that_is_gone_ends_its_request(site):
    path, saw = site.path(), []

    def behave(c, rq):
        c.wait_closed()
        saw.append(1)
        return False
    site.app.does(path, behave)
    c = site.ferry.client()
    c.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_until(lambda: any(rq.path == path for rq in site.app.seen))
    reset(c)
    wait_until(lambda: saw)


def test_a_client_that_has_said_everything_is_not_gone(site):
    path = site.path()

    def behave(c, rq):
        time.sleep(0.1)
        return c.send(answer(CONTENT))
    site.app.does(path, behave)
    with site.ferry.client() as c:
        c.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
        c.socket.shutdown(socket.SHUT_WR)
        assert c.response().body == b"body"


def test_a_client_that_is_gone_leaves_the_queue(folder, serve):
    """An application with no process free: requests of clients that left never reach it."""
    app = App(folder / "app.sock", backlog=0, accepts=False)
    app.does("/", lambda c, rq: c.send(answer(CONTENT)))
    ferry = serve("-a", app.address, "--access-log", "off", "--multiplex", "off")
    before = len(open_files(ferry.worker()))
    clients = [ferry.client() for _ in range(10)]
    for n, c in enumerate(clients):
        c.send(f"GET /gone-{n} HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_until(lambda: has_read(ferry.port) and len(open_files(ferry.worker())) >= before + 10)
    for c in clients:
        reset(c)
    wait_until(lambda: len(open_files(ferry.worker())) <= before + 3)
    app.start()
    assert ferry.get("/").body == b"body"
    time.sleep(0.2)
    assert len(app.seen) <= 2  # the first one's connection was in the backlog already
    app.close()


# -- many requests on one connection --

def test_a_cut_on_a_shared_connection(shared):
    """What one request does wrong ends the connection, and is visible to all who had begun."""
    slow, bad = shared.path("slow"), shared.path("bad")

    def begin(c, rq):
        c.send(stdout(CONTENT, rq.id))
        return True

    def broken(c, rq):
        return c.send(record(STDOUT, rq.id, b"x", version=2))
    shared.app.does(slow, begin)
    shared.app.does(bad, broken)
    with shared.ferry.client() as c:
        c.send(f"GET {slow} HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.head()[0] == 200
        assert shared.ferry.get(bad).status == 502
        assert c.line() == b"4" and c.take(4) == b"body"
        assert c.take(2) == b"\r\n" and c.closed()
    assert shared.ferry.get(shared.path()).body == b"ok"


def test_a_slow_reader_on_a_shared_connection(shared):
    """The others are served, and what it does not take is kept."""
    big, size = shared.path("big"), 30_000_000
    shared.app.does(big, lambda c, rq: c.send(answer(block(TYPE, body=b"b" * size), rq.id)))
    with shared.ferry.client() as c:
        c.send(f"GET {big} HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: any(rq.path == big for rq in shared.app.seen))
        time.sleep(0.3)
        before = time.monotonic()
        for _ in range(20):
            assert shared.ferry.get(shared.path()).body == b"ok"
        assert time.monotonic() - before < 10
        assert shared.rss() < 150 << 20
        r = c.response()
        assert r.complete and r.body == b"b" * size


def test_an_abort_on_a_shared_connection(shared):
    path, aborted = shared.path("abort"), []

    def behave(c, rq):
        while True:
            taken = c.take()
            if taken is None:
                return False
            if taken[0] == 2 and taken[1] == rq.id:
                aborted.append(1)
                return c.send(stdout(b"stray", rq.id) + end(rq.id))
    shared.app.does(path, behave)
    c = shared.ferry.client()
    c.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_until(lambda: any(rq.path == path for rq in shared.app.seen))
    reset(c)
    wait_until(lambda: aborted)
    assert shared.ferry.get(shared.path()).body == b"ok"


def test_many_at_once_on_shared_connections(shared):
    clients = [Client(shared.ferry.port) for _ in range(50)]
    for n, c in enumerate(clients):
        c.send(f"POST {shared.path()} HTTP/1.1\r\nHost: x\r\nContent-Length: {n}\r\n\r\n{'x' * n}")
    for c in clients:
        assert c.response().body == b"ok"
        c.close()
