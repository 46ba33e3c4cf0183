# SPDX-License-Identifier: MIT
"""ferry's examples behind every web server that Debian has: what each sends, the application library understands."""
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import time

import gateways
import pytest
from conftest import BUILD, IO, ROOT, Client, open_files, wait_until

MIB = 1 << 20
CLIENTS, REQUESTS = 64, 10_000
ANN = "Basic YW5uOnNlY3JldA=="  # whom examples/authorizer lets in
HTTP_LOAD = ROOT / os.environ.get("FERRY_BUILD", "build") / "tests" / "http_load"

FCGID = gateways.ApacheFcgid()
FERRY = gateways.Ferry("ferry", "--multiplex", "on")
ALL = [gateways.Nginx(), gateways.Lighttpd(), gateways.Apache(), FCGID, gateways.Haproxy(True), gateways.H2o(),
       gateways.Caddy(), FERRY]


def params(fleet):
    """These gateways as parameters of a test that is skipped, with the reason, for one that is not installed."""
    return [pytest.param(g, id=g.name.replace(" ", "-"),
                         marks=pytest.mark.skipif(bool(g.missing()), reason=g.missing() or "")) for g in fleet]


def each(fleet=ALL):
    """A test for each of these gateways."""
    return pytest.mark.parametrize("gateway", params(fleet))


class Front:
    """A gateway, and one of the examples behind it."""

    def __init__(self, folder, gateway, example, streaming=False, address=None, env=None, args=(), authorizer=None):
        self.folder = folder
        self.app = None
        app = folder / "app"
        app.mkdir()
        if gateway is FCGID:  # starts it itself, as a user who is not root
            address = shutil.copy(BUILD / "examples" / example, app)
        else:
            self.app, address = gateways.start_app(str(app), *args, name=example, address=address, env=env)
        try:
            self.gateway = gateway.start(folder, app=address, streaming=streaming, authorizer=authorizer)
        except BaseException:
            self.stop_app()
            raise
        self.port = self.gateway.port

    def client(self):
        return Client(self.port)

    def get(self, target, fields=()):
        with self.client() as c:
            return c.request("GET", target, fields)

    def post(self, target, body, fields=()):
        with self.client() as c:
            return c.request("POST", target, fields, body)

    def connections(self):
        """How many connections the application has."""
        files = open_files(self.app.process.pid).values()
        return sum(name.startswith("socket:") for name in files) - 1  # the listener

    def said(self):
        return self.gateway.output() + (self.app.output() if self.app else "")

    def stop_app(self):
        if self.app:
            began = time.monotonic()
            assert self.app.stop() == 0
            assert time.monotonic() - began < 15, "something still ran"

    def stop(self):
        self.gateway.stop()
        print(self.said())
        self.stop_app()
        for word in ("AddressSanitizer", "runtime error:", "this must hold and does not", "LeakSanitizer"):
            assert word not in self.said()


@pytest.fixture
def before(folder):
    """before(gateway, example) starts the two; both are stopped at the end, and their logs shown when a test fails."""
    with contextlib.ExitStack() as running:
        def start(gateway, example, **how):
            at = pathlib.Path(folder) / f"{len(list(folder.iterdir()))}"
            at.mkdir()
            front = Front(at, gateway, example, **how)
            running.callback(front.stop)
            return front
        yield start


def hello(**how):
    """The arguments for examples/hello on the back end that is tested."""
    return {"example": "hello", "args": [IO], **how}


def load(front, target, expected, form="", field=""):
    """10,000 requests of 64 clients."""
    run = subprocess.run([HTTP_LOAD, str(front.port), str(CLIENTS), str(REQUESTS), target, expected, form, field],
                         capture_output=True, text=True, timeout=60)
    assert run.returncode == 0 and run.stdout.startswith(f"{REQUESTS} answered, 0 errors"), run.stdout + run.stderr


# -- what every gateway does with the smallest application


@each()
def test_requests_answers_and_uploads(before, gateway):
    front = before(gateway, **hello())
    with front.client() as c:
        for _ in range(3):
            r = c.request("GET", "/")
            assert (r.status, r["Content-Type"], r.body) == (200, "text/plain", b"hello, ferry")
        r = c.request("GET", "/bytes/10485760")
        assert r.status == 200 and r.body == b"." * (10 * MIB)
        for n in (0, 1, 65_535, 65_536, 10 * MIB):
            r = c.request("POST", "/upload", [("Content-Type", "text/plain")], b"x" * n)
            assert (r.status, r.body) == (200, b"%d\n" % n)
    with front.client() as c:  # no content comes behind it (fill() reads what there is, or the end)
        r = c.request("HEAD", "/")
        assert r.status == 200 and r["Content-Length"] in (None, "12")
        c.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        c.fill()
        assert c.buffer == b"" or c.buffer.startswith(b"HTTP/1.1 200 ")


# example, target, content, form, header line
LOADS = [
    ("hello", "/", "hello, ferry", "", ""),
    ("echo", "/?msg=hello+64+clients", "hello 64 clients\n", "", ""),
    ("echo", "/", "hello 64 clients\n", "msg=hello%2064%20clients", ""),
    ("authorizer", "/", "", "", f"Authorization: {ANN}"),
    ("filter", "/", "<!doctype html><title>text</title>\n<pre>a &lt; b</pre>\n", "a < b", ""),
    ("upload", "/", None, "", ""),
    ("events", "/", None, "", ""),
]


# mod_fcgid lets 64 clients wait for its few processes, with pauses of a second: once is enough.
@pytest.mark.parametrize("gateway, work", [
    pytest.param(*g.values, w, marks=g.marks, id=f"{g.id}-{w[0]}-{'post' if w[3] else 'get'}")
    for g in params(ALL) for w in LOADS if g.values[0] is not FCGID or w[0] == "hello"])
def test_10_000_requests_of_64_clients(before, gateway, work):
    example, target, content, form, field = work
    front = before(gateway, **(hello() if example == "hello" else {"example": example}))
    if content is None:
        content = front.get(target).text
    load(front, target, content, form, field)


@each([g for g in ALL if g is not FCGID])
def test_connections_are_kept_by_those_who_keep_them(before, gateway):
    front = before(gateway, **hello())
    with front.client() as c:
        for _ in range(20):
            assert c.request("GET", "/").text == "hello, ferry"
        if gateway.keeps:
            assert 1 <= front.connections() <= 4
        else:
            wait_until(lambda: front.connections() == 0)


@each([g for g in ALL if g is not FCGID])
def test_over_tcp_only_from_the_addresses_that_are_allowed(before, gateway):
    def address():
        return f"127.0.0.1:{gateways.free_port()}"

    front = before(gateway, **hello(address=address(), env={"FCGI_WEB_SERVER_ADDRS": "192.0.2.1,127.0.0.1"}))
    assert front.get("/").text == "hello, ferry"
    assert front.post("/upload", b"x" * 100_000).text == "100000\n"
    front = before(gateway, **hello(address=address(), env={"FCGI_WEB_SERVER_ADDRS": "192.0.2.1,::1"}))
    assert front.get("/").status in (500, 502, 503)


# -- answers that come in pieces, and readers who leave


@each()
def test_a_stream_arrives_as_it_is_written_and_its_reader_may_leave(before, gateway):
    front = before(gateway, "demo", streaming=True)
    with front.client() as c, front.client() as other:
        began = time.monotonic()
        for client in (c, other):
            client.send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while "line 2" not in c.buffer.decode():
            assert c.fill(), c.buffer
        assert time.monotonic() - began > 0.25 and "line 10" not in c.buffer.decode()
        c.close()
        wait_until(lambda: "the reader left after line" in front.said())
        # The other one goes on, on the same connection when the gateway multiplexes.
        seen = other.buffer.decode().count("line")
        while other.buffer.decode().count("line") <= seen:
            assert other.fill(), other.buffer


@each()
def test_events_reach_their_readers_as_they_happen(before, gateway):
    front = before(gateway, "events", args=["50"], streaming=True)
    with front.client() as c, front.client() as other:
        for client in (c, other):
            client.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for client in (c, other, c):  # each a little later: nothing waits for the other
            seen = len(re.findall(r"id: \d+", client.buffer.decode()))
            while len(re.findall(r"id: \d+", client.buffer.decode())) < seen + 5:
                assert client.fill(), client.buffer
        ids = [int(i) for i in re.findall(r"id: (\d+)", c.buffer.decode())]
        assert ids == list(range(ids[0], ids[0] + len(ids)))


@each()
def test_a_sleeper_keeps_nobody_waiting_and_may_leave(before, gateway):
    front = before(gateway, "echo", streaming=True)
    with front.client() as sleeper:
        sleeper.send("GET /?msg=sleep HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with front.client() as c:
            for i in range(10):
                assert c.request("GET", f"/?msg=awake+{i}").text == f"awake {i}\n"
        sleeper.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sleeper.socket.recv(1)
    if not gateway.notices:
        front.gateway.kill()
    time.sleep(3 if gateway.name.startswith("ferry") else 0.2)  # ferry: http.h's half_close_ms
    front.stop_app()  # would wait for a request that still runs
    front.app = None


@each()
def test_bytes_that_come_slowly_and_a_reader_who_is_slow(before, gateway):
    front = before(gateway, "filter", streaming=True)
    text = "".join(f"{i:7d} < 1 & 2\n" for i in range(20_000))
    with front.client() as c:
        c.send(f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n\r\n")
        for at in range(0, len(text), 50_000):
            c.send(text[at:at + 50_000])
            time.sleep(0.03)
        time.sleep(0.2)
        r = c.response()
    page = text.replace("&", "&amp;").replace("<", "&lt;")
    assert r.status == 200 and r.complete and r.text == f"<!doctype html><title>text</title>\n<pre>{page}</pre>\n"
    front = before(gateway, **hello(streaming=True))
    with front.client() as c:
        c.send("GET /bytes/33554432 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.3)
        if front.app:
            assert gateways.rss_kib([front.app.process.pid]) < 100 << 10
        assert len(c.response().body) == 32 * MIB


# -- the examples


@each()
def test_form_values_come_back(before, gateway):
    front = before(gateway, "echo")
    form = [("Content-Type", "application/x-www-form-urlencoded")]
    with front.client() as c:
        assert c.request("GET", "/?msg=hello+%C3%BC%26").text == "hello \u00fc&\n"
        assert c.request("POST", "/", form, b"other=1&msg=hello+ferry").text == "hello ferry\n"
    for target, status in (("/?other=1", 400), ("/?msg=%zz", 200), ("/?msg=%00", 400), ("/", 400)):
        r = front.get(target)
        assert r.status == status, (target, r.text)


def fnv(data, zeros):
    """FNV-1a of these bytes and of so many zeros behind them, which come to a power of the prime."""
    h = 0xcbf29ce484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001b3 % (1 << 64)
    return h * pow(0x100000001b3, zeros, 1 << 64) % (1 << 64)


@each()
def test_a_file_of_10_mib_is_uploaded(before, gateway):
    front = before(gateway, "upload")
    start = bytes(range(256)) * 40
    file = start + bytes(10 * MIB - len(start))
    form = (b'--ferry\r\nContent-Disposition: form-data; name="greeting"\r\n\r\nhello <you>\r\n'
            b'--ferry\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
            b'Content-Type: application/x-thing\r\n\r\n' + file + b'\r\n--ferry--\r\n')
    r = front.post("/", form, [("Content-Type", "multipart/form-data; boundary=ferry")])
    assert r.status == 200 and "2 arrived" in r.text and "hello &#60;you&#62;" in r.text
    assert f"a.bin<td>application/x-thing<td>{len(file)} bytes<td>{fnv(start, len(file) - len(start)):016x}" in r.text


@each([g for g in ALL if g.authorizes])
def test_an_authorizer_in_front(before, folder, gateway):
    at = folder / "authorizer"
    at.mkdir()
    authorizer, address = gateways.start_app(str(at), name="authorizer", address=f"127.0.0.1:{gateways.free_port()}")
    try:
        front = before(gateway, "demo", authorizer=address)
        for field, status in (("Basic YW5uOndyb25n", 401), ("Basic Ym9iOmh1bnRlcjI=", 403)):
            r = front.get("/", {"Authorization": field})
            assert r.status == status and "Its params" not in r.text
        assert front.get("/").status == 401
        r = front.get("/", {"Authorization": ANN})
        assert r.status == 200
        assert re.search(r"<th scope=row>(HTTP_)?REMOTE_USER<td>ann\b", r.text), r.text
        # The body is not the authorizer's: it still reaches the application. (lighttpd looks for a file first.)
        (front.folder / "echo").touch()
        r = front.post("/echo", b"text=the+body", {"Authorization": ANN, "Content-Type": "application/x-www-form-urlencoded"})
        assert r.status == 200 and "the body" in r.text
        front.stop()
        front = before(gateway, **hello(authorizer=address))
        load(front, "/", "hello, ferry", field=f"Authorization: {ANN}")
    finally:
        print(authorizer.output())
        assert authorizer.stop() == 0
