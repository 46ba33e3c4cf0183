# SPDX-License-Identifier: MIT
"""Clients that mean harm, or behave as if: others are served meanwhile, and memory stays bounded."""
import re
import resource
import socket
import struct
import time

import pytest
from conftest import BUILD, Client, Ferry, wait_until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """One server of a file, for all tests here."""
    folder = tmp_path_factory.mktemp("hostile")
    root = folder / "root"
    root.mkdir()
    (root / "index.html").write_text("still here")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ferry = Ferry(folder, [root, "--access-log", "off"])
    yield ferry
    assert ferry.stop() == 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "Sanitizer" not in ferry.err and "runtime error" not in ferry.err


def memory_kib(ferry):
    with open(f"/proc/{ferry.worker()}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def is_served(ferry, within=10):
    began = time.monotonic()
    with Client(ferry.port, timeout=within) as c:
        assert c.request("GET", "/").body == b"still here"
    assert time.monotonic() - began < within


def test_slow_heads_and_slow_bodies_meet_their_deadlines(site, serve, hello):
    """A byte now and then keeps no connection open: heads have 30 s in all, bodies must keep a rate after 30 s."""
    app = serve("-a", hello)
    heads = [Client(site.port) for _ in range(100)]
    bodies = [Client(app.port) for _ in range(50)]
    for c in heads:
        c.send(b"GET / HTTP/1.1\r\n")
    for c in bodies:
        c.send(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    began = time.monotonic()
    open_now = heads + bodies
    while open_now and time.monotonic() - began < 50:
        for c in list(open_now):
            try:
                c.socket.send(b"x")
                c.socket.setblocking(False)
                c.buffer += c.socket.recv(4096)
            except BlockingIOError:
                continue
            except OSError:
                pass
            open_now.remove(c)
        is_served(site)
        time.sleep(1)
    took = time.monotonic() - began
    assert not open_now and took > 20
    for c in heads + bodies:
        assert c.buffer.startswith(b"HTTP/1.1 408 ") or not c.buffer, c.buffer[:80]
        c.close()
    assert sum(c.buffer.startswith(b"HTTP/1.1 408 ") for c in heads) > len(heads) / 2


@pytest.mark.parametrize("multiplex", ["on", "off"])
def test_slow_readers_cost_no_memory(serve, hello, multiplex):
    ferry = serve("-a", hello, "--multiplex", multiplex)
    with ferry.client() as c:
        c.request("GET", "/")
    before = memory_kib(ferry)
    clients = [Client(ferry.port) for _ in range(10)]
    for c in clients:
        c.send("GET /bytes/30000000 HTTP/1.1\r\nHost: x\r\n\r\n")
    for _ in range(20):
        began = time.monotonic()
        assert ferry.get("/").body == b"hello, ferry"
        assert time.monotonic() - began < 10
        time.sleep(0.05)
    assert memory_kib(ferry) - before < 64 * 1024
    r = clients[0].response()  # slow, not lost
    assert r.complete and len(r.body) == 30000000
    for c in clients:
        c.close()
    assert ferry.get("/").status == 200


def test_ten_thousand_idle_connections(site):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200
    count = min(10000, most)
    is_served(site)
    before = memory_kib(site)
    clients = []
    try:
        for _ in range(count):
            c = Client(site.port)
            c.send(GET)
            clients.append(c)
            if len(clients) % 100 == 0:
                for one in clients[-100:]:
                    assert one.response().body == b"still here"
        is_served(site)
        # 2 KiB each is the promise; sanitizers pad every piece of memory.
        assert memory_kib(site) - before < count * 6
        for c in clients[::500]:
            assert c.request("GET", "/").status == 200
    finally:
        for c in clients:
            c.close()
    wait_until(lambda: is_served(site) is None)


def test_a_flood_of_bad_requests(site):
    bad = [b"\x16\x03\x01\x02\x00\x01\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"A" * 9000 + b"\r\n\r\n",
           b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
           b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    is_served(site)
    before = memory_kib(site)
    for i in range(1500):
        with Client(site.port) as c:
            c.send(bad[i % len(bad)])
            r = c.response()
            assert r is None or 400 <= r.status <= 505, r
            assert c.closed()
    is_served(site)
    assert memory_kib(site) - before < 16 * 1024


def test_pipelined_requests_without_reading_are_held_back(site):
    is_served(site)
    before = memory_kib(site)
    with Client(site.port) as c:
        c.socket.settimeout(1)
        sent = 0
        try:
            while sent < 64 << 20:
                sent += c.socket.send(GET * 1000)
        except TimeoutError:
            pass
        assert sent < 64 << 20  # the server has stopped reading
        assert memory_kib(site) - before < 16 * 1024
        is_served(site)
        c.socket.settimeout(20)
        for _ in range(1000):
            assert c.response().body == b"still here"


def test_a_storm_of_resets(site):
    """The first storm shows what so many connections need at once; the second must not need more."""
    def storm():
        for i in range(3000):
            s = socket.create_connection(("127.0.0.1", site.port))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.send(GET[:i % (len(GET) + 1)] or b"G")
            s.close()
        is_served(site)

    storm()
    before = memory_kib(site)
    storm()
    # AddressSanitizer keeps much of what was freed; leaks it finds by itself.
    assert memory_kib(site) - before < (64 if "asan" in BUILD.name else 16) * 1024
