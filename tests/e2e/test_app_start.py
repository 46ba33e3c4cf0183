# SPDX-License-Identifier: MIT
"""How a program written with the library is started and ended: by a web server, by systemd, by hand, as plain CGI."""
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from conftest import BUILD, IO, open_files, wait_until
from fakeapp import STDIN
from fcgi_client import Fcgi
from gateways import listens_at

HELLO = str(BUILD / "examples" / "hello")

LAUNCH = """
import os, sys
fds = [int(n) for n in sys.argv[1].split(",")]
for i, fd in enumerate(fds):
    os.dup2(fd, 100 + i)
    os.close(fd)
for i in range(len(fds)):
    os.dup2(100 + i, 3 + i)
    os.close(100 + i)
os.environ["LISTEN_PID"] = str(os.getpid() + int(sys.argv[2]))
os.environ["LISTEN_FDS"] = sys.argv[3]
os.execv(sys.argv[4], sys.argv[4:])
"""


def listener(family=socket.AF_UNIX, path=None):
    s = socket.socket(family)
    s.bind({socket.AF_UNIX: str(path), socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0)}[family])
    s.listen(16)
    return s


def connect(s):
    c = socket.socket(s.family)
    c.settimeout(20)
    c.connect(s.getsockname())
    return Fcgi(c)


def says_hello(c, **kw):
    assert c.ask({"REQUEST_URI": "/"}, **kw).body == b"hello, ferry"


@pytest.fixture
def run():
    """run(args, ...) starts a program; all are killed in the end."""
    started = []

    def start(*args, env=(), **kw):
        p = subprocess.Popen([str(a) for a in args], env={**os.environ, **dict(env)}, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, **{"stdin": subprocess.DEVNULL, **kw})
        started.append(p)
        return p

    yield start
    for p in started:
        if p.poll() is None:
            p.kill()
        p.communicate()


def catches(pid, sig):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    masks = re.findall(r"^Sig(?:Cgt|Blk):\s*(\S+)", status, re.M)
    return any(int(m, 16) >> (sig - 1) & 1 for m in masks)


def ends_well(p):
    p.terminate()
    out, err = p.communicate(timeout=20)
    assert (p.returncode, out, err) == (0, b"", b"")


# -- descriptor 0 --

@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("blocking", [True, False])
def test_a_listening_descriptor_0_is_served(run, folder, family, blocking):
    with listener(family, folder / "s") as s:
        s.setblocking(blocking)
        p = run(HELLO, stdin=s)
        with connect(s) as c:
            says_hello(c)
            says_hello(c, keep=False)
            assert c.closed()
        ends_well(p)


def test_several_processes_share_one_descriptor_0(run, folder):
    with listener(path=folder / "s") as s:
        many = [run(HELLO, stdin=s) for _ in range(3)]
        for p in many:
            wait_until(lambda: catches(p.pid, signal.SIGTERM))
        for _ in range(50):
            with connect(s) as c:
                says_hello(c, keep=False)
        for p in many:
            ends_well(p)


def test_it_needs_no_descriptors_1_and_2(folder):
    """A-INI-2: nothing that it opens lands there."""
    with listener(path=folder / "s") as s:
        pid = os.fork()
        if pid == 0:
            os.dup2(s.fileno(), 0)
            os.close(1)
            os.close(2)
            os.execv(HELLO, ["hello"])
        with connect(s) as c:
            says_hello(c)
            for fd in (1, 2):
                assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null"
        os.kill(pid, signal.SIGTERM)
        assert os.waitpid(pid, 0)[1] == 0


def test_a_socket_that_does_not_listen_is_an_error(run):
    with socket.socket() as s:
        p = run(HELLO, stdin=s)
        assert p.wait(20) == 1
        assert b"hello: descriptor 0 is a socket that does not listen" in p.stderr.read()


def test_a_list_of_web_servers_with_a_mistake_lets_nobody_in(run, folder):
    p = run(HELLO, f"unix:{folder}/s", IO, env={"FCGI_WEB_SERVER_ADDRS": "10.0.0.1,x"})
    assert p.wait(20) == 1
    assert b"FCGI_WEB_SERVER_ADDRS is no list of addresses" in p.stderr.read()
    assert not (folder / "s").exists()


# -- systemd --

def launch(run, fds, *args, count=None, pid=0, **kw):
    return run(sys.executable, "-c", LAUNCH, ",".join(str(s.fileno()) for s in fds), pid,
               len(fds) if count is None else count, HELLO, *args, pass_fds=[s.fileno() for s in fds], **kw)


def sockets_of(pid):
    return [name for name in open_files(pid).values() if name.startswith("socket:")]


def test_systemds_sockets_are_served(run, folder):
    with listener(path=folder / "a") as a, listener(socket.AF_INET) as b:
        p = launch(run, [a, b])
        for s in (a, b):
            with connect(s) as c:
                says_hello(c)
        # Each is open once, and nothing else is when the connections have gone.
        wait_until(lambda: len(sockets_of(p.pid)) == 2)
        ends_well(p)


def test_systemds_sockets_of_another_process_are_not_taken(run, folder):
    with listener(path=folder / "a") as a, listener(path=folder / "zero") as zero:
        p = launch(run, [a], pid=1, stdin=zero)
        with connect(zero) as c:
            says_hello(c)
        ends_well(p)


@pytest.mark.parametrize("count", ["x", "-1", "99999", ""])
def test_a_bad_count_of_sockets_is_an_error(run, folder, count):
    with listener(path=folder / "a") as a:
        p = launch(run, [a], count=count)
        assert p.wait(20) == 1
        assert b"LISTEN_FDS is no number of sockets" in p.stderr.read()


def test_a_socket_of_systemd_that_does_not_listen_is_an_error(run, folder):
    with listener(path=folder / "a") as a, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as b:
        p = launch(run, [a, b])
        assert p.wait(20) == 1
        assert b"a socket of LISTEN_FDS does not listen" in p.stderr.read()


def test_an_address_is_stronger_than_how_it_was_started(run, folder):
    with listener(path=folder / "zero") as zero:
        p = run(HELLO, f"unix:{folder}/own", IO, stdin=zero)
        wait_until(lambda: listens_at(folder / "own"))
        with Fcgi(folder / "own") as c:
            says_hello(c)
        ends_well(p)
        assert not (folder / "own").exists()


# -- plain CGI --

def cgi(run, *args, body=None, **params):
    p = run(HELLO, *args, env=params, stdin=subprocess.DEVNULL if body is None else subprocess.PIPE)
    out, err = p.communicate(body, timeout=20)
    return p.returncode, out, err


def test_as_plain_cgi_it_answers_one_request(run):
    assert cgi(run, REQUEST_URI="/") == (0, b"Content-Type: text/plain\r\nContent-Length: 12\r\n\r\nhello, ferry", b"")
    status, out, err = cgi(run, REQUEST_URI="/bytes/3000000")
    assert (status, len(out.partition(b"\r\n\r\n")[2]), err) == (0, 3000000, b"")
    body = b"x" * 3000000
    assert cgi(run, REQUEST_URI="/upload", CONTENT_LENGTH=str(len(body)), body=body)[1].endswith(b"\r\n3000000\n")


def test_as_plain_cgi_with_nothing_open(folder):
    assert subprocess.run(["sh", "-c", f"exec {HELLO} <&- >&- 2>&-"], env={"REQUEST_URI": "/"}, timeout=20).returncode == 0
    out = folder / "out"
    assert subprocess.run(["sh", "-c", f"exec {HELLO} <&- >{out} 2>&-"], env={}, timeout=20).returncode == 0
    assert out.read_bytes().endswith(b"\r\n\r\nhello, ferry")


def test_as_plain_cgi_on_a_terminal():
    """Nothing is read from it: there is no CONTENT_LENGTH."""
    master, slave = os.openpty()
    try:
        p = subprocess.Popen([HELLO], stdin=slave, stdout=slave, stderr=slave, env={})
        assert p.wait(20) == 0
        assert b"hello, ferry" in os.read(master, 4096)
    finally:
        os.close(master)
        os.close(slave)


def test_as_plain_cgi_it_does_not_speak_of_itself(run, folder):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(folder / "notify"))
        s.setblocking(False)
        assert cgi(run, REQUEST_URI="/", NOTIFY_SOCKET=str(folder / "notify"))[0] == 0
        with pytest.raises(BlockingIOError):
            s.recv(1000)


# -- what it tells whoever started it --

class Notified:
    """NOTIFY_SOCKET, and what came there."""

    def __init__(self, name):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(name)
        self.socket.settimeout(20)

    def next(self):
        return self.socket.recv(4096).decode()

    def silent(self, seconds):
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(4096) is None
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(20)


@pytest.mark.parametrize("abstract", [False, True])
def test_it_says_when_it_serves_and_when_it_stops(run, folder, abstract):
    path = str(folder / "notify")
    notified = Notified("\0" + path if abstract else path)
    p = run(HELLO, f"unix:{folder}/s", IO, env={"NOTIFY_SOCKET": "@" + path if abstract else path})
    assert notified.next() == "READY=1"
    with Fcgi(folder / "s") as c:  # it listens by then
        says_hello(c)
        assert notified.silent(1.5)
        p.terminate()
        assert notified.next() == "STOPPING=1"
        assert p.wait(20) == 0


def test_it_tells_its_load_to_ferry_spawn(run, folder):
    notified = Notified(str(folder / "notify"))
    run(str(BUILD / "examples" / "echo"), f"unix:{folder}/s",
        env={"NOTIFY_SOCKET": str(folder / "notify"), "FERRY_STATS": "1"})
    assert notified.next() == "READY=1"
    with Fcgi(folder / "s") as c:
        assert notified.silent(0.3)
        first = time.monotonic()
        for _ in range(100):
            c.ask({"QUERY_STRING": "msg=x"})
        wait_until(lambda: notified.next() == "X_FERRY_REQUESTS=100\nX_FERRY_ACTIVE=0")
        for request_id in (1, 2, 3):
            c.begin({"QUERY_STRING": "msg=sleep"}, request_id=request_id)
            c.stream(STDIN, b"", request_id)
        assert notified.next() == "X_FERRY_REQUESTS=103\nX_FERRY_ACTIVE=3"
        assert time.monotonic() - first > 0.9  # not oftener than that
        assert notified.silent(1.5)  # nothing is new
    assert notified.next() == "X_FERRY_REQUESTS=103\nX_FERRY_ACTIVE=0"


@pytest.mark.parametrize("name", ["relative", "/does/not/exist", "/" + "x" * 200, "@", ""])
def test_nobody_to_tell_is_no_reason_not_to_serve(run, folder, name):
    p = run(HELLO, f"unix:{folder}/s", IO, env={"NOTIFY_SOCKET": name, "FERRY_STATS": "1"})
    wait_until(lambda: listens_at(folder / "s"))
    with Fcgi(folder / "s") as c:
        says_hello(c)
    p.terminate()
    assert p.wait(20) == 0


def test_a_manager_that_does_not_read_does_not_stop_it(run, folder):
    notified = Notified(str(folder / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.connect(str(folder / "notify"))
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                other.send(b"x")
    run(HELLO, f"unix:{folder}/s", IO, env={"NOTIFY_SOCKET": str(folder / "notify"), "FERRY_STATS": "1"})
    wait_until(lambda: listens_at(folder / "s"))
    with Fcgi(folder / "s") as c:
        says_hello(c)
    assert notified.next() == "x"


# -- its end --

def test_it_ends_after_so_many_requests(run, folder):
    p = run(HELLO, f"unix:{folder}/s", IO, env={"FERRY_MAX_REQUESTS": "3"})
    wait_until(lambda: listens_at(folder / "s"))
    with Fcgi(folder / "s") as c:
        for _ in range(3):
            says_hello(c)
        assert c.closed()
    assert p.wait(20) == 0
    assert not (folder / "s").exists()


def test_no_signal_is_lost(run, folder):
    """A-ERR-2: whenever it comes, before, in or behind an accept, the program ends, and with 0 once it serves."""
    for i in range(60):
        notified = Notified(f"\0{folder}/{i}")
        p = run(HELLO, f"unix:{folder}/s", IO, env={"NOTIFY_SOCKET": f"@{folder}/{i}"})
        assert notified.next() == "READY=1"
        if i % 3:
            time.sleep(i / 20000)
        if i % 2:
            c = socket.socket(socket.AF_UNIX)
            c.connect(f"{folder}/s")
        p.terminate()
        if i % 2:
            c.close()
        assert p.wait(20) == 0
        notified.socket.close()


def test_a_second_signal_does_not_wait(run, folder):
    p = run(str(BUILD / "examples" / "echo"), f"unix:{folder}/s")
    wait_until(lambda: listens_at(folder / "s"))
    with Fcgi(folder / "s") as c:
        c.begin({"QUERY_STRING": "msg=sleep"})
        c.stream(STDIN, b"")
        c.ask({"QUERY_STRING": "msg=x"}, request_id=2)
        p.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            p.wait(0.7)
        p.send_signal(signal.SIGTERM)
        assert p.wait(20) == 0
