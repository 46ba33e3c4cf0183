# SPDX-License-Identifier: MIT
"""Clients that mean harm to the application behind, and applications with too little for many clients."""
import os
import re
import resource
import socket
import struct
import threading
import time

import pytest
from conftest import Client, wait_until
from fakeapp import App, answer

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def memory(ferry):
    with open(f"/proc/{ferry.worker()}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) << 10


def descriptors(ferry):
    return len(os.listdir(f"/proc/{ferry.worker()}/fd"))


def reset(client):
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.parametrize("multiplex", ["on", "off"])
def test_a_storm_of_requests_that_are_given_up(serve, hello, multiplex):
    ferry = serve("-a", hello, "--multiplex", multiplex, "--access-log", "off")
    assert ferry.get("/").body == b"hello, ferry"
    before = descriptors(ferry)
    for size in (12, 1000, 100_000, 10_000_000):
        for i in range(100):
            c = ferry.client()
            c.send(f"GET /bytes/{size} HTTP/1.1\r\nHost: x\r\n\r\n")
            if i % 3 == 0:
                c.socket.recv(1 + i)
            reset(c)
    assert ferry.get("/").body == b"hello, ferry"
    assert memory(ferry) < 100 << 20
    wait_until(lambda: descriptors(ferry) <= before + 2, 15)


@pytest.mark.parametrize("multiplex", ["on", "off"])
def test_pipelined_requests_to_an_application_are_held_back(serve, hello, multiplex):
    ferry = serve("-a", hello, "--multiplex", multiplex, "--access-log", "off")
    ferry.get("/")
    before = memory(ferry)
    with ferry.client() as c:
        c.socket.settimeout(1)
        sent = 0
        try:
            while sent < 64 << 20:
                sent += c.socket.send(GET.replace(b"/", b"/bytes/5000", 1) * 1000)
        except TimeoutError:
            pass
        assert sent < 64 << 20
        assert memory(ferry) - before < 16 << 20
        assert ferry.get("/").body == b"hello, ferry"
        c.socket.settimeout(20)
        for _ in range(1000):
            assert len(c.response().body) == 5000


@pytest.mark.parametrize("multiplex", ["on", "off"])
def test_a_client_that_does_not_read_leaves_nothing_behind(serve, hello, multiplex):
    """Fifty MiB that nobody takes: in memory a little, the rest with the application or in a file."""
    ferry = serve("-a", hello, "--multiplex", multiplex, "--access-log", "off")
    ferry.get("/")
    before, files = memory(ferry), descriptors(ferry)
    with ferry.client() as c:
        c.send("GET /bytes/50000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.5)
        began = time.monotonic()
        for _ in range(200):
            assert ferry.get("/").body == b"hello, ferry"
        assert time.monotonic() - began < 20
        assert memory(ferry) - before < 16 << 20
    wait_until(lambda: descriptors(ferry) <= files + 2, 15)


def test_one_process_and_many_clients(folder, serve):
    """It serves one connection until that is closed. Nobody waits for long, and nothing fails."""
    app, slowest = App(folder / "app.sock", accepts=False), []

    def one_process():
        while True:
            try:
                sock, _ = app.socket.accept()
            except OSError:
                return
            app.open.append(sock)
            app.serve(sock)
    threading.Thread(target=one_process, daemon=True).start()
    ferry = serve("-a", app.address, "--threads", "2", "--access-log", "off")

    def client():
        with ferry.client() as c:
            for _ in range(10):
                began = time.monotonic()
                assert c.request("GET", "/").body == b"ok"
                slowest.append(time.monotonic() - began)
    threads = [threading.Thread(target=client) for _ in range(64)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert len(slowest) == 640 and max(slowest) < 15
    app.close()


def test_the_queue_has_an_end(folder, serve):
    """An application that accepts nobody: 1024 requests wait, others are told at once."""
    app = App(folder / "app.sock", backlog=0, accepts=False)
    app.default = lambda c, rq: c.send(answer(b"Content-Type: text/plain\r\n\r\nok", rq.id))
    ferry = serve("-a", app.address, "--multiplex", "off", "--access-log", "off")
    clients = [Client(ferry.port) for _ in range(1200)]
    for c in clients:
        c.send(GET)
    wait_until(lambda: "too many requests wait already" in ferry.err)
    app.start()
    statuses = [c.response().status for c in clients]
    assert statuses.count(200) >= 1000 and statuses.count(503) >= 50
    assert statuses.count(200) + statuses.count(503) == len(clients)
    for c in clients:
        c.close()
    app.close()


def test_the_worker_takes_all_descriptors_it_may(serve, hello):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        ferry = serve("-a", hello)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(ferry.worker(), resource.RLIMIT_NOFILE) == (hard, hard)


def test_requests_wait_for_descriptors(serve, hello):
    """With none left, connections wait to be accepted and requests for a connection to the application."""
    ferry = serve("-a", hello, "--threads", "1", "--multiplex", "off", "--access-log", "off")
    resource.prlimit(ferry.worker(), resource.RLIMIT_NOFILE, (64, 64))
    clients = [Client(ferry.port) for _ in range(100)]
    wait_until(lambda: descriptors(ferry) >= 60)
    time.sleep(0.2)
    clients[0].send(GET)
    time.sleep(0.3)
    for c in clients[1:60]:
        c.close()
    assert clients[0].response().body == b"hello, ferry"
    for c in clients[60:]:
        assert c.request("GET", "/").body == b"hello, ferry"
        c.close()
