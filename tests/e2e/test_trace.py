# SPDX-License-Identifier: MIT
"""ferry trace between web servers and applications: nothing is changed or held up, and every request is told."""
import base64
import hashlib
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from conftest import BUILD, IO, Client, have, needs_php_fpm
from conftest import wait_until as wait_until_seconds
from fakeapp import END, STDERR, STDIN, STDOUT, App, answer, end, pair, record, stdout
from fcgi_client import Fcgi
from gateways import Haproxy, Nginx, start_app
from phpsite import in_threads, php_fpm


def wait_until(what, seconds=60):
    return wait_until_seconds(what, seconds)


NET = dict(REQUEST_METHOD="GET", REQUEST_URI="/")


class Trace:
    """A running `ferry trace` in front of an application."""

    def __init__(self, folder, to, *args, stdout=None, name="trace"):
        self.path = folder / f"{name}.sock"
        self.out_path, self.err_path = folder / f"{name}.out", folder / f"{name}.err"
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(
                [str(BUILD / "ferry"), "trace", "--io", IO, "-l", f"unix:{self.path}", "-t", to, *args],
                stdin=subprocess.DEVNULL, stdout=stdout if stdout is not None else out, stderr=err)
        wait_until(lambda: "tracing from" in self.err or self.process.poll() is not None)  # it listens
        assert self.process.poll() is None, self.err
        os.chmod(self.path, 0o777)
        self.address = f"unix:{self.path}"

    @property
    def out(self):
        return self.out_path.read_text()

    @property
    def err(self):
        return self.err_path.read_text()

    @property
    def objects(self):
        return [json.loads(line) for line in self.out.rpartition("\n")[0].splitlines()]

    @property
    def requests(self):
        return [r for r in self.objects if "note" not in r]

    @property
    def notes(self):
        return [r["note"] for r in self.objects if "note" in r]

    def fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        assert not re.search("Sanitizer|runtime error:|must hold", self.err), self.err
        return code


@pytest.fixture
def trace(folder):
    running = []

    def start(to, *args, **kw):
        running.append(Trace(folder, to, *args, name=f"trace{len(running)}", **kw))
        return running[-1]

    yield start
    for t in running:
        t.stop()


@pytest.fixture
def app(folder):
    application = App(folder / "app.sock")
    yield application
    application.close()


def connect(t):
    return Fcgi(t.path, timeout=60)


# -- what is shown -----------------------------------------------------------------------------------------------------

def test_a_line_for_each_request(trace, app):
    app.says("/a", record(STDERR, 1, b"oh dear\nmore"), answer(b"Status: 404\r\n\r\nno\x1b[0m"))
    t = trace(app.address)
    with connect(t) as c:
        c.ask(NET | dict(REQUEST_METHOD="POST", REQUEST_URI="/a?b=\x1bc"), b"12345")
    wait_until(lambda: t.out.count("\n"))
    line = t.out
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} #1/1 404 POST /a\?b=\\x1Bc  in 5 out 21 +first [\d.]+ms total [\d.]+ms  "
                        r"app 0  stderr 12: oh dear\n", line), line
    assert t.stop() == 0


def test_json_and_filters(trace, app):
    app.says("/bad", stdout(b"Status: 500\r\n\r\n"), record(STDOUT, 1), end(app_status=3), goes_on=True)
    app.says("/cut", stdout(b"Content-Type: a/b\r\n\r\nhalf"))
    t = trace(app.address, "--json")
    chosen = trace(t.address, "--json", "status=5xx app!=0 uri~/b")
    with connect(chosen) as c:
        c.ask(NET | dict(REQUEST_URI="/ok?\udcff"))
        c.ask(NET | dict(REQUEST_URI="/bad"))
        c.begin(NET | dict(REQUEST_URI="/cut"))
        c.stream(STDIN, b"")
        assert c.socket.recv(1000).startswith(b"\1\6")
        while c.socket.recv(1000):
            pass
    wait_until(lambda: len(t.requests) == 3)
    ok, bad, cut = t.requests
    assert (ok["status"], ok["method"], ok["uri"], ok["ended"], ok["app_status"]) == (200, "GET", "/ok?\ufffd", True, 0)
    assert base64.b64decode(ok["uri_base64"]) == b"/ok?\xff" and "uri_base64" not in bad
    assert (bad["status"], bad["app_status"], bad["protocol_status"]) == (500, 3, "request_complete")
    assert (cut["status"], cut["ended"], cut["app_status"]) == (200, False, None)
    assert cut["first_ms"] <= cut["total_ms"] and cut["connection"] == 1
    assert chosen.stop() == 0
    assert [r["uri"] for r in chosen.requests] == ["/bad"]


def test_records_are_shown(trace, app):
    t = trace(app.address, "--records")
    with connect(t) as c:
        c.ask(NET)
    wait_until(lambda: "app 0" in t.out)
    assert t.out.startswith('#1 Web server: {FCGI_BEGIN_REQUEST, 1, "responder, keep the connection"}\n'
                            '#1 Web server: {FCGI_PARAMS, 1, "REQUEST_METHOD = GET"}\n'
                            '#1 Web server: {FCGI_PARAMS, 1, "REQUEST_URI = /"}\n'
                            '#1 Web server: {FCGI_PARAMS, 1, ""}\n'
                            '#1 Web server: {FCGI_STDIN, 1, ""}\n'
                            '#1 Application: {FCGI_STDOUT, 1, "Content-Type: text/plain\\r\\n\\r\\nok"}\n'
                            '#1 Application: {FCGI_STDOUT, 1, ""}\n'
                            '#1 Application: {FCGI_END_REQUEST, 1, "app status 0, REQUEST_COMPLETE"}\n')


def test_faults_are_told_and_passed_on(trace, app):
    junk = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    app.says("/junk", record(STDOUT, 9, b"who?"), junk)
    t = trace(app.address, "--json")
    with connect(t) as c:
        c.begin(NET | dict(REQUEST_URI="/junk"))
        c.stream(STDIN, b"")
        got = b""
        while more := c.socket.recv(1000):
            got += more
    assert got == record(STDOUT, 9, b"who?") + junk
    wait_until(lambda: t.requests and len(t.notes) >= 2)
    assert any("not open" in n for n in t.notes) and any("no FastCGI" in n for n in t.notes)
    assert not t.requests[0]["ended"]


@pytest.mark.parametrize("words, why", [
    ("stats>3", "'stats>3' asks for nothing that a request has; it has: method uri"),
    ("status~4", "a number can be compared with"), ("method<3", "a text can be compared with"),
    ("time>5", "500us, 200ms or 2s"), ("in>5x", "64k"), ("status=9x", "5xx"), ("uri", "uri~/login"),
    ("aborted=1", "true or not"), ("x " * 40, "nothing that a request has")])
def test_bad_filters_are_explained(folder, words, why):
    run = subprocess.run([str(BUILD / "ferry"), "trace", "-l", f"unix:{folder}/a", "-t", f"unix:{folder}/b", words],
                         capture_output=True, text=True)
    assert run.returncode == 64 and why in run.stderr and run.stdout == "", run.stderr


@pytest.mark.parametrize("args, why", [
    ([], "--listen ADDRESS and --to ADDRESS must be given"), (["-l", ":1"], "must be given"),
    (["-l", "127.0.0.1:1", "-t", ":1"], "the same address"), (["-l", ":1", "-t", "fd:3"], "is reached by"),
    (["-l", "nowhere", "-t", ":1"], "--listen nowhere"), (["-l", ":1", "-t", ":2", "--mode", "9"], "octal"),
    (["-l", ":1", "-t", ":2", "--io", "x"], "uring, epoll or auto"), (["--replay", "f", "-l", ":1"], "--replay goes with"),
    (["-l", ":1", "-t", ":2", "--compare"], "go with --replay only"), (["--replay", "f", "--timeout", "x"], "500ms"),
    (["-l", ":1", "-t", ":2", "--records", "--json"], "not shown as JSON"), (["--nonsense"], "ferry trace --help")])
def test_usage_is_explained(args, why):
    run = subprocess.run([str(BUILD / "ferry"), "trace", *args], capture_output=True, text=True)
    assert run.returncode == 64 and why in run.stderr and run.stdout == "", run.stderr


def test_a_recording_survives_a_start_that_fails(app, folder):
    (folder / "old.pcapng").write_bytes(b"precious")
    run = subprocess.run([str(BUILD / "ferry"), "trace", "-l", app.address, "-t", ":1", "--pcap",
                          str(folder / "old.pcapng")], capture_output=True, text=True)
    assert run.returncode == 1 and "cannot listen on" in run.stderr
    assert (folder / "old.pcapng").read_bytes() == b"precious"


# -- nothing is changed ------------------------------------------------------------------------------------------------

def test_100_mib_both_ways_unchanged(trace, app):
    size, block = 100 << 20, os.urandom(1 << 20)

    def echo(c, rq):
        c.send(stdout(b"Content-Type: a/b\r\n\r\n", rq.id))
        while True:
            kind, _, content = c.take()
            if kind == STDIN and not content:
                return c.send(record(STDOUT, rq.id) + end(rq.id))
            c.send(stdout(content, rq.id))
            rq.body.clear()

    app.does("/echo", echo, early=True)
    t = trace(app.address, "--json")
    with connect(t) as c:
        c.begin(NET | dict(REQUEST_METHOD="POST", REQUEST_URI="/echo"))
        sent = hashlib.sha256()

        def send():
            for _ in range(size // len(block)):
                sent.update(block)
                for i in range(0, len(block), 32768):
                    c.socket.sendall(record(STDIN, 1, block[i:i + 32768]))
            c.socket.sendall(record(STDIN, 1))

        thread = threading.Thread(target=send)
        thread.start()
        got, n = hashlib.sha256(), 0
        while True:
            kind, _, content = c.record()
            if kind == END:
                break
            n += len(content)
            got.update(content if n > len(content) else content.partition(b"\r\n\r\n")[2])
        thread.join()
    assert got.digest() == sent.digest() and n == size + 21
    wait_until(lambda: t.requests)
    assert (t.requests[0]["in"], t.requests[0]["out"]) == (size, n)
    peak = int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{t.process.pid}/status").read())[1])
    assert peak < 300 << 10, peak  # ASan keeps some of what was freed


def test_200_clients(trace, folder):
    hello, address = start_app(folder)
    t = trace(address, "--json")
    try:
        def one(i):
            with connect(t) as c:
                for k in range(5):
                    assert c.ask(NET | dict(REQUEST_URI=f"/{i}/{k}")).body

        in_threads(200, one)
        wait_until(lambda: len(t.requests) == 1000, 60)
        assert {r["uri"] for r in t.requests} == {f"/{i}/{k}" for i in range(200) for k in range(5)}
        assert all(r["status"] == 200 and r["ended"] and not r["fault"] for r in t.requests)
    finally:
        hello.stop()


def test_half_closes_are_passed_on(trace, folder):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "raw.sock"))
    listener.listen()
    t = trace(f"unix:{folder}/raw.sock")
    with socket.socket(socket.AF_UNIX) as web:
        web.settimeout(30)
        web.connect(str(t.path))
        app, _ = listener.accept()
        app.settimeout(30)
        web.sendall(b"question")
        web.shutdown(socket.SHUT_WR)
        assert app.recv(100) == b"question" and app.recv(100) == b""
        app.sendall(b"answer")
        app.close()
        assert web.recv(100) == b"answer" and web.recv(100) == b""
    listener.close()
    wait_until(lambda: t.out.count("no FastCGI") == 2)


def test_tcp_and_resets(folder):
    listener = socket.create_server(("127.0.0.1", 0))
    process = subprocess.Popen([str(BUILD / "ferry"), "trace", "--io", IO, "-l", "127.0.0.1:0", "--json",
                                "-t", "127.0.0.1:%d" % listener.getsockname()[1]],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        port = int(re.match(r"ferry: tracing from 127\.0\.0\.1:(\d+) to ", process.stderr.readline())[1])
        for resets in "web", "app":
            web = socket.create_connection(("127.0.0.1", port), 30)
            app, _ = listener.accept()
            app.settimeout(30)
            web.sendall(b"\1")
            assert app.recv(10) == b"\1"
            app.sendall(b"\1\6")
            assert web.recv(2) == b"\1\6"
            one, other = (web, app) if resets == "web" else (app, web)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
            with pytest.raises(ConnectionResetError):
                other.recv(10)
            other.close()
    finally:
        process.terminate()
        out, err = process.communicate(timeout=30)
        listener.close()
    notes = [json.loads(line)["note"] for line in out.splitlines()]
    assert "web server: Connection reset by peer" in notes and "application: Connection reset by peer" in notes
    assert process.returncode == 0 and not err, err


def test_a_terminal_has_colours(app, folder):
    for no_color in None, "1":
        master, slave = pty.openpty()
        path = folder / f"tty{no_color}.sock"
        env = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"}
        process = subprocess.Popen([str(BUILD / "ferry"), "trace", "--io", IO, "-l", str(path), "-t", app.address],
                                   stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.DEVNULL,
                                   env=env | ({"NO_COLOR": no_color} if no_color else {}))
        os.close(slave)
        wait_until(lambda: path.exists() or process.poll() is not None)
        with Fcgi(path) as c:
            c.ask(NET)
        text = b""
        while b"\n" not in text:
            text += os.read(master, 1000)
        process.terminate()
        assert process.wait(30) == 0
        os.close(master)
        assert (b"\x1b[32m200\x1b[0m GET /" in text) == (no_color is None), text
        assert (b"\x1b" in text) == (no_color is None)


# -- what goes wrong ---------------------------------------------------------------------------------------------------

def test_no_application(trace, folder):
    t = trace(f"unix:{folder}/nobody.sock", "--json")
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as web:
            web.settimeout(30)
            web.connect(str(t.path))
            try:
                assert web.recv(1) == b""
            except ConnectionResetError:
                pass
    wait_until(lambda: len(t.notes) == 3)
    assert t.notes[0] == "cannot connect to the application: No such file or directory"


def test_killed_application_and_killed_client(trace, app):
    begun, gone = threading.Event(), threading.Event()

    def stall(c, rq):
        c.send(stdout(b"Content-Type: a/b\r\n\r\nsome", rq.id))
        begun.set()
        c.wait_closed()
        gone.set()
        return False

    app.does("/stall", stall)
    t = trace(app.address, "--json")
    before = t.fds()
    for who in "application", "client":
        begun.clear()
        c = connect(t)
        c.begin(NET | dict(REQUEST_URI="/stall"))
        c.stream(STDIN, b"")
        assert begun.wait(30)
        kind, _, content = c.record()
        assert content.endswith(b"some")
        if who == "application":
            for sock in list(app.open):
                sock.shutdown(socket.SHUT_RDWR)
            assert c.socket.recv(1) == b""
            c.socket.close()
        else:
            gone.clear()
            c.socket.close()
            assert gone.wait(30)
    wait_until(lambda: len(t.requests) == 2)
    assert all(not r["ended"] and r["status"] == 200 for r in t.requests)
    wait_until(lambda: t.fds() == before)


def test_a_slow_reader_makes_the_application_wait(trace, app):
    sent = [0]

    def flood(c, rq):
        c.send(stdout(b"Content-Type: a/b\r\n\r\n", rq.id))
        for _ in range(512):
            c.send(stdout(b"x" * 65535, rq.id))
            sent[0] += 1
        return c.send(record(STDOUT, rq.id) + end(rq.id))

    app.does("/flood", flood)
    t = trace(app.address, "--json")
    with connect(t) as c:
        c.begin(NET | dict(REQUEST_URI="/flood"))
        c.stream(STDIN, b"")
        wait_until(lambda: sent[0], 60)
        seen = -1
        while seen != sent[0]:  # until it stands still
            seen = sent[0]
            time.sleep(0.5)
        assert 0 < seen < 300  # of 512; what the kernel holds, and no more of ours than a little
        with connect(t) as other:
            assert other.ask(NET).body == b"ok"  # others go on
        assert len(c.answer().body) == 512 * 65535


def test_stdout_closed(trace, app):
    read, write = os.pipe()
    t = trace(app.address, "--records", stdout=write)
    os.close(write)
    with connect(t) as c:
        c.ask(NET)
    os.close(read)
    for _ in range(30):
        with connect(t) as c:
            assert c.ask(NET).body == b"ok"
    wait_until(lambda: "standard output is closed" in t.err)
    assert t.err.count("standard output is closed") == 1
    assert t.stop() == 1


def test_stdout_that_nobody_reads(trace, app):
    read, write = os.pipe()
    t = trace(app.address, "--records", stdout=write)
    os.close(write)
    try:
        params = NET | {f"P{i}": "v" * 100 for i in range(100)}
        text = b"".join(pair(n.encode(), v.encode()) for n, v in params.items())
        with connect(t) as c:
            for _ in range(1000):  # about 16 MB of lines, for 8 MiB and a pipe
                c.socket.sendall(record(1, 1, b"\0\1\1\0\0\0\0\0") + record(4, 1, text) + record(4, 1) + record(5, 1))
                assert c.answer().body == b"ok"
        lines = b""
        while b"lines are missing here" not in lines[-100000:]:
            lines += os.read(read, 65536)
            with connect(t) as c:
                c.ask(NET)
    finally:
        os.close(read)
    assert t.stop() == 1
    assert "lines were not shown" in t.err


def test_it_ends_when_requests_are_over(trace, app):
    go = threading.Event()
    begun = threading.Event()

    def slow(c, rq):
        begun.set()
        go.wait(60)
        return c.send(answer(b"Content-Type: a/b\r\n\r\nlate", rq.id))

    app.does("/slow", slow)
    t = trace(app.address, "--json")
    with connect(t) as busy, connect(t) as idle:
        assert idle.ask(NET).body == b"ok"
        busy.begin(NET | dict(REQUEST_URI="/slow"))
        busy.stream(STDIN, b"")
        assert begun.wait(30)
        t.process.send_signal(signal.SIGTERM)
        assert idle.closed()
        assert t.process.poll() is None
        go.set()
        assert busy.answer().body == b"late"
        assert t.process.wait(30) == 0
    assert [r["uri"] for r in t.requests] == ["/", "/slow"]
    assert not t.path.exists()


# -- packets, and sending again ----------------------------------------------------------------------------------------

def replay(path, *args):
    return subprocess.run([str(BUILD / "ferry"), "trace", "--replay", str(path), *args], capture_output=True, text=True,
                          timeout=120)


def record_some(trace, app, folder):
    """Three requests in a file: /a, /big with 200 KB each way, /b."""
    t = trace(app.address, "--pcap", str(folder / "some.pcapng"))
    big = bytes(range(256)) * 800
    app.does("/big", lambda c, rq: c.send(answer(b"Content-Type: a/b\r\n\r\n" + bytes(rq.body), rq.id)))
    with connect(t) as c:
        assert c.ask(NET | dict(REQUEST_URI="/a")).body == b"ok"
        assert c.ask(NET | dict(REQUEST_METHOD="POST", REQUEST_URI="/big"), big).body == big
    with connect(t) as c:
        assert c.ask(NET | dict(REQUEST_URI="/b", LONG="x" * 100)).body == b"ok"
    assert t.stop() == 0
    return folder / "some.pcapng", big


@pytest.mark.skipif(not have("tshark"), reason="tshark is not installed")
def test_wireshark_reads_the_packets(trace, app, folder):
    path, big = record_some(trace, app, folder)
    run = subprocess.run(["tshark", "-r", str(path), "-d", "tcp.port==9000,fcgi", "-T", "fields", "-e", "tcp.stream",
                          "-e", "fcgi.type", "-o", "tcp.check_checksum:TRUE", "-e", "tcp.checksum.status",
                          "-e", "_ws.malformed", "-e", "tcp.analysis.flags"],
                         capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    rows = [(line + "\t\t\t").split("\t") for line in run.stdout.splitlines()]
    assert {row[0] for row in rows} == {"0", "1"}
    assert {row[2] for row in rows} == {"1"}  # good
    assert not any(row[3] or row[4] for row in rows), run.stdout
    types = [kind for row in rows for kind in row[1].split(",") if kind]
    assert types.count("1") == 3 and types.count("3") == 3  # BEGIN_REQUEST, END_REQUEST


def test_requests_are_sent_again(trace, app, folder):
    path, big = record_some(trace, app, folder)
    app.seen.clear()
    run = replay(path, "--compare")
    assert run.returncode == 0, run.stdout + run.stderr
    assert [rq.path for rq in app.seen] == ["/a", "/big", "/b"]
    assert bytes(app.seen[1].body) == big and app.seen[2].params["LONG"] == "x" * 100
    *lines, summary = run.stdout.splitlines()
    assert [line.split()[2:5] for line in lines] == [["200", "GET", "/a"], ["200", "POST", "/big"], ["200", "GET", "/b"]]
    assert summary.endswith(" 3 requests: 3 answered as recorded") and "#" not in summary
    app.seen.clear()
    run = replay(path, "--json", "uri=/b")
    assert run.returncode == 0 and [json.loads(line)["uri"] for line in run.stdout.splitlines()] == ["/b"]


def test_differences_are_told(trace, app, folder):
    path, big = record_some(trace, app, folder)
    app.says("/a", answer(b"Status: 500\r\nDate: now\r\nX-New: 1\r\nContent-Type: text/html\r\n\r\nok"))
    app.says("/big", answer(b"Content-Type: a/b\r\n\r\n" + big[:1000] + b"!" + big[1001:]))
    run = replay(path, "--compare")
    assert run.returncode == 1
    lines = [line.split(" ", 2)[2] for line in run.stdout.splitlines() if re.match(r"\S+ #\d+ ", line)]
    assert lines == ["status: 200 was recorded, now it is 500",
                     'header Content-Type: "text/plain" was recorded, now it is "text/html"',
                     'header X-New: was not there, now it is "1"', lines[3]]
    assert lines[3].startswith("content: 204800 bytes were recorded, now there are 204800; from byte 1000 on ")
    assert run.stdout.splitlines()[-1].endswith(" 3 requests: 1 answered as recorded, 2 answered differently")
    app.says("/b", stdout(b"Content-Type: a/b\r\n\r\nhalf"))
    run = replay(path, "--compare", "--json")
    assert json.loads(run.stdout.splitlines()[-1])["note"] == "3 requests: 2 answered differently, 1 without a whole answer"
    app.says("/b", answer(b"Content-Type: text/plain\r\n\r\nok"))
    run = replay(path)  # not asked
    assert run.returncode == 0 and "requests:" not in run.stdout


def test_what_cannot_be_sent_again(trace, app, folder):
    path, _ = record_some(trace, app, folder)
    run = replay(path, "--to", f"unix:{folder}/nobody.sock")
    assert run.returncode == 1 and run.stdout.count("no answer: No such file or directory") == 3
    app.says("/b", b"")
    run = replay(path, "/b")
    assert run.returncode == 1 and "cut" in run.stdout
    app.does("/b", lambda c, rq: c.wait_closed())
    run = replay(path, "--timeout", "200ms", "/b")
    assert run.returncode == 1 and "no answer: Connection timed out" in run.stdout
    (folder / "short").write_bytes(path.read_bytes()[:100000])
    run = replay(folder / "short", "/a")
    assert run.returncode == 0 and "in the middle of a packet" in run.stdout
    (folder / "other").write_bytes(b"GIF89a" * 100)
    for name, why in ("other", "is no file that ferry trace --pcap has written"), ("none", "No such file"):
        run = replay(folder / name)
        assert run.returncode == 1 and why in run.stderr


# -- real programs -----------------------------------------------------------------------------------------------------

def stop_all(*running):
    for r in running:
        if r:
            r.stop()


@needs_php_fpm
@pytest.mark.skipif(not have("nginx"), reason="nginx is not installed")
def test_nginx_and_php_fpm(trace, folder):
    (folder / "index.php").write_text(
        "<?php if (isset($_GET['log'])) error_log('from php'); header('X-A: b'); echo strlen(file_get_contents('php://input'));")
    gateway = Nginx()
    with php_fpm(folder / "fpm") as (_, address):
        t = trace(address, "--json", "--pcap", str(folder / "php.pcapng"))
        conf = gateway.PARAMS
        gateway.PARAMS = conf + f" fastcgi_param SCRIPT_FILENAME {folder}/index.php;\n"
        web = gateway.start(folder, app=t.address)
        try:
            with Client(web.port) as c:
                assert c.request("GET", "/x?y=1").text == "0"
                assert c.request("POST", "/post", body=b"z" * 300000).text == "300000"
                assert c.request("GET", "/err?log=1").status == 200
        finally:
            web.stop()
        wait_until(lambda: len(t.requests) == 3)
        get, post, err = t.requests
        assert (get["uri"], get["status"], get["script"]) == ("/x?y=1", 200, f"{folder}/index.php")
        assert post["in"] == 300000
        assert "from php" in err["stderr"]
        assert t.stop() == 0
        run = replay(folder / "php.pcapng", "--compare", "!stderr")
        assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.skipif(not have("haproxy"), reason="haproxy is not installed")
def test_haproxy_multiplexing(trace, folder):
    hello, address = start_app(folder)
    t = trace(address, "--json")
    web = None
    try:
        web = Haproxy(multiplex=True).start(folder, app=t.address)

        def one(i):
            with Client(web.port) as c:
                for k in range(10):
                    assert c.request("GET", f"/{i}/{k}").status == 200

        in_threads(20, one)
        wait_until(lambda: len(t.requests) == 200, 60)
        assert all(r["status"] == 200 and not r["fault"] for r in t.requests)
        assert len({r["connection"] for r in t.requests}) < 20  # shared
    finally:
        stop_all(web, hello)
