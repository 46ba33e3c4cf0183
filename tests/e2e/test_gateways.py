# SPDX-License-Identifier: MIT
"""ferry's examples behind every web server that Debian has: what each sends, the application library understands."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import gateways
import pytest
from conftest import BUILD, IO, ROOT, Client, wait_until

MIB = 1 << 20
CLIENTS, REQUESTS = 64, 10_000
HTTP_LOAD = ROOT / os.environ.get("FERRY_BUILD", "build") / "tests" / "http_load"

FCGID = gateways.ApacheFcgid()
FERRY = gateways.Ferry("ferry", "--multiplex", "on")
ALL = [gateways.Nginx(), gateways.Lighttpd(), gateways.Apache(), FCGID, gateways.Haproxy(True), gateways.H2o(),
       gateways.Caddy(), FERRY]


def each(fleet=ALL):
    """A test for each of these gateways, skipped with the reason where one is not installed."""
    return pytest.mark.parametrize("gateway", [
        pytest.param(g, id=g.name.replace(" ", "-"), marks=pytest.mark.skipif(bool(g.missing()), reason=g.missing() or ""))
        for g in fleet])


class Front:
    """A gateway, and one of the examples behind it."""

    def __init__(self, folder, gateway, example, streaming=False, address=None, env=None, args=()):
        self.app = None
        app = folder / "app"
        app.mkdir()
        if gateway is FCGID:  # starts it itself, as a user who is not root
            address = shutil.copy(BUILD / "examples" / example, app)
        else:
            self.app, address = gateways.start_app(str(app), *args, name=example, address=address, env=env)
        try:
            self.gateway = gateway.start(folder, app=address, streaming=streaming)
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
        fds = pathlib.Path(f"/proc/{self.app.process.pid}/fd").iterdir()
        return sum(os.readlink(fd).startswith("socket:") for fd in fds) - 1  # the listener

    def said(self):
        return self.gateway.output() + (self.app.output() if self.app else "")

    def stop_app(self):
        if self.app:
            began = time.monotonic()
            assert self.app.stop(signal.SIGTERM) == 0
            assert time.monotonic() - began < 5, "something still ran"

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


def load(front, target, expected, form=None):
    """10,000 requests of 64 clients."""
    run = subprocess.run([HTTP_LOAD, str(front.port), str(CLIENTS), str(REQUESTS), target, expected]
                         + ([form] if form else []), capture_output=True, text=True, timeout=60)
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


@each()
def test_10_000_requests_of_64_clients(before, gateway):
    load(before(gateway, **hello()), "/", "hello, ferry")


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
        for client in (c, other):
            client.send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        at = {}
        while "line 2" not in c.buffer.decode():
            assert c.fill(), c.buffer
            for n in re.findall(r"line (\d)", c.buffer.decode()):
                at.setdefault(n, time.monotonic())
        assert at["2"] - at["1"] > 0.25
        c.close()
        wait_until(lambda: "the reader left after line" in front.said(), 4)
        # The other one goes on, on the same connection when the gateway multiplexes.
        seen = other.buffer.decode().count("line")
        while other.buffer.decode().count("line") <= seen:
            assert other.fill(), other.buffer
