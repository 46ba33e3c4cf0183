# SPDX-License-Identifier: MIT
"""`ferry serve` in front of ferry's own application, and its command line."""
import signal
import subprocess
import time

import pytest
from conftest import BUILD, wait_until


def test_every_path_goes_to_the_application(serve, hello):
    ferry = serve("-a", hello)
    r = ferry.get("/any/path?x=1")
    assert (r.status, r.body) == (200, b"hello, ferry")
    assert r["Content-Length"] == "12"


def test_connections_are_kept_and_requests_pipelined(serve, hello):
    ferry = serve("-a", hello)
    with ferry.client() as c:
        for _ in range(3):
            assert c.request("GET", "/").body == b"hello, ferry"
        c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
        for _ in range(5):
            assert c.response().body == b"hello, ferry"


@pytest.mark.parametrize("multiplex", ["auto", "on", "off"])
@pytest.mark.parametrize("size", [1, 1000, 100_000, 3_000_000])
def test_bodies_of_all_sizes_arrive_whole(serve, hello, multiplex, size):
    ferry = serve("-a", hello, "--multiplex", multiplex)
    r = ferry.get(f"/bytes/{size}")
    assert r.complete and len(r.body) == size
    r = ferry.post("/upload", b"x" * size)
    assert r.status == 200 and str(size) in r.text


def test_the_listening_address_is_refused_when_taken(serve, hello):
    ferry = serve("-a", hello)
    p = subprocess.run([BUILD / "ferry", "serve", "-l", f"127.0.0.1:{ferry.port}", "-a", hello],
                       capture_output=True, text=True, timeout=20)
    assert p.returncode == 1
    assert f"127.0.0.1:{ferry.port}" in p.stderr


@pytest.mark.parametrize("args, word", [
    (["--threads", "0"], "--threads"), (["--io", "kqueue"], "--io"), (["-a", "nonsense:port"], "--app"),
    (["--max-body", "lots"], "--max-body"), (["--multiplex", "maybe"], "--multiplex"), (["a", "b"], "one directory"),
    (["--index", "a/b"], "--index")])
def test_bad_usage_is_64_and_says_what(args, word):
    p = subprocess.run([BUILD / "ferry", "serve", *args], capture_output=True, text=True, timeout=20)
    assert p.returncode == 64
    assert word in p.stderr


def test_sigterm_finishes_what_runs(serve, hello):
    ferry = serve("-a", hello)
    with ferry.client() as c:
        c.begin("/upload", 10)
        c.send("12345")
        ferry.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        c.send("67890")
        r = c.response()
        assert r.status == 200 and "10" in r.text
        assert c.closed()
    assert ferry.process.wait(10) == 0


def test_sigint_ends_at_once(serve, hello):
    ferry = serve("-a", hello)
    with ferry.client() as c:
        c.begin("/upload", 10)
        c.send("12345")
        assert ferry.stop(signal.SIGINT, 10) == 0


def test_a_worker_that_dies_is_replaced(serve, hello):
    ferry = serve("-a", hello)
    worker = ferry.worker()
    subprocess.run(["kill", "-9", str(worker)], check=True)
    wait_until(lambda: "starting another" in ferry.err)

    def answered():
        try:
            return ferry.get("/").status == 200
        except (OSError, AttributeError):
            return False
    wait_until(answered)
    assert ferry.worker() != worker
