# SPDX-License-Identifier: MIT
"""`ferry spawn --supervise`: it keeps a program running, and nothing of it is left in the end, however that comes."""
import contextlib
import http.client
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
from conftest import alive, children_of, have, open_files, wait_until
from spawning import (FERRY, HELLO, ROOT, answers, ask, children, comm, connect, environment, free_port, run,
                      script, status)

needs_root = pytest.mark.skipif(not ROOT, reason="needs root")


class Supervisor:
    """A running `ferry spawn --supervise` with its output in files."""

    def __init__(self, folder, args, ready=True, env=None, prefix=(), **kw):
        self.folder = folder
        self.out_path, self.err_path = folder / "out", folder / "err"
        argv = [*map(str, prefix), FERRY, "spawn", "--supervise", *map(str, args)]
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(argv, stdout=out, stderr=err, stdin=subprocess.DEVNULL,
                                            env={**os.environ, **(env or {})}, cwd=folder, **kw)
        if ready:
            wait_until(lambda: self.out or self.process.poll() is not None, 20)
            assert self.process.poll() is None, self.err

    out = property(lambda self: self.out_path.read_text())
    err = property(lambda self: self.err_path.read_text(errors="replace"))

    def chain(self):
        """The first process, the guard, the manager."""
        first = self.process.pid
        guard = children_of(first)[0]
        return [first, guard, children_of(guard)[0]]

    def programs(self):
        """Those that the manager has started."""
        return children_of(self.chain()[2])

    def send(self, sig):
        self.process.send_signal(sig)

    def stop(self, sig=signal.SIGTERM, seconds=20):
        self.send(sig)
        return self.process.wait(seconds)


@pytest.fixture
def supervise(folder):
    """supervise(*args) starts one on folder/s; all are stopped at the end, end well, and leave nothing."""
    started, pids = [], set()

    def start(*args, where=("-s", "s"), **kw):
        place = folder / f"spawn{len(started)}"
        place.mkdir()
        s = Supervisor(place, [*where, *args], **kw)
        started.append(s)
        return s

    yield start
    for s in started:
        if s.process.poll() is None:
            pids |= set(children(s.process.pid))
            assert s.stop() == 0, s.err
        for word in ("AddressSanitizer", "runtime error:", "LeakSanitizer", "this must hold and does not"):
            assert word not in s.err, s.err
        assert not (s.folder / "s").exists()
    for pid in pids:
        wait_until(lambda: not alive(pid))


def page(address, target="/status", **fields):
    """(status, body) from a status socket."""
    c = http.client.HTTPConnection("x", timeout=10)
    c.sock = connect(address)
    c.request("GET", target, headers=fields)
    r = c.getresponse()
    body = r.read().decode()
    c.close()
    return r.status, body


def state(address):
    return json.loads(page(address, "/status?json")[1])


class Load:
    """Clients that ask without a pause; `failed` has whatever was no good answer."""

    def __init__(self, address, clients=8, program=b"ello"):
        self.address, self.good, self.failed, self.over = address, 0, [], threading.Event()
        self.program = program
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]

    def run(self):
        while not self.over.is_set():
            try:
                answer = ask(self.address, timeout=20)
                if answer is not None and self.program in answer:
                    self.good += 1
                else:
                    self.failed.append(answer)
            except OSError as e:
                self.failed.append(e)

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.over.set()
        for t in self.threads:
            t.join()


# -- start and stop ----------------------------------------------------------------------------------------------------

def test_it_says_where_it_listens_when_it_is_ready(supervise):
    s = supervise("--processes", "3", "--", HELLO)
    assert s.out == "unix:s\n"
    assert b"ello" in ask(s.folder / "s")
    assert (s.folder / "s").stat().st_mode & 0o777 == 0o640
    first, guard, manager = s.chain()
    assert [comm(p) for p in (first, guard, manager)] == ["ferry", "guard", "ferry"]
    programs = s.programs()
    assert len(programs) == 3 and {comm(p) for p in programs} == {"hello"}
    for pid in programs:
        assert os.getpgid(pid) == pid and sorted(open_files(pid))[:3] == [0, 1, 2]
    assert len({open_files(p)[0] for p in programs}) == 1


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_it_stops(supervise, sig):
    s = supervise("--processes", "2", "-P", "pid", "--status", "unix:st", "--", HELLO)
    assert (s.folder / "pid").read_text() == f"{s.process.pid}\n"
    pids = children(s.process.pid)
    begin = time.monotonic()
    assert s.stop(sig) == 0
    assert time.monotonic() - begin < 5
    assert not [p for p in pids if alive(p)]
    assert sorted(p.name for p in s.folder.iterdir()) == ["err", "out"]


def test_the_signal_of_a_terminal_reaches_it_once(supervise):
    s = supervise("--", HELLO, prefix=["setsid"])
    os.killpg(s.process.pid, signal.SIGINT)
    assert s.process.wait(10) == 0


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("ms", [0, 3, 10, 30])
def test_a_signal_while_it_starts_leaves_nothing(supervise, sig, ms):
    s = supervise("--", HELLO, ready=False)
    time.sleep(ms / 1000)
    assert s.stop(sig) in (0, -sig)  # before it listens for signals it just ends
    assert not (s.folder / "s").exists()


@pytest.mark.parametrize("program, why", [
    ("/no/such", "/no/such"), ("no-such-program", "no-such-program"), ("/etc/passwd", "Permission denied")])
def test_what_cannot_be_executed_is_told(supervise, program, why):
    s = supervise("-P", "pid", "--", program, ready=False)
    assert s.process.wait(10) == 1
    assert why in s.err and s.err.count("\n") == 1 and s.out == ""
    assert sorted(p.name for p in s.folder.iterdir()) == ["err", "out"]


@pytest.mark.parametrize("args", [
    ["--supervise", "-n"], ["--processes", "2"], ["--supervise", "--processes", "0"], ["--supervise", "--processes", "3:2"],
    ["--supervise", "--processes", "x"], ["--supervise", "--processes", "1:5000"], ["--supervise", "--ready", "x"],
    ["--supervise", "--stop-signal", "X"], ["--supervise", "--stop-timeout", "0"], ["--supervise", "--max-age", "5x"],
    ["--supervise", "--max-rss", "5x"], ["--supervise", "--ping=x"], ["--supervise", "--restart-delay", "5s:1s"],
    ["--supervise", "--name", ""], ["--supervise", "-F", "2", "--processes", "2"], ["--supervise", "--fatal", "x"], ["--supervise", "--status", "st"],
    ["--ping"], ["--log", "x"], ["--quiet"]])
def test_wrong_usage(folder, args):
    p = run(FERRY, "spawn", "-s", folder / "s", *args, "--", HELLO)
    assert (p.returncode, p.stdout) == (64, "") and p.stderr.count("\n") == 1
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("where", [["-p", "65530"], ["-s", "x" * 106], ["-s", "unix:@" + "x" * 105]])
def test_no_room_for_several_sockets(folder, where):
    p = run(FERRY, "spawn", "--supervise", "--per-process", "--processes", "1:10", *where, "--", HELLO, cwd=folder)
    assert p.returncode == 64 and "no room for 10 addresses" in p.stderr
    assert list(folder.iterdir()) == []


def test_a_live_socket_is_not_taken(supervise):
    s = supervise("--", HELLO)
    p = run(FERRY, "spawn", "--supervise", "-s", s.folder / "s", "--", HELLO)
    assert p.returncode == 1 and f"(process {s.chain()[2]}, ferry) already does" in p.stderr
    assert b"ello" in ask(s.folder / "s")


def test_its_environment_is_clean(supervise):
    s = supervise("--keep-env", "KEPT", "--env", "A=1", "--env", "HOME", "--", HELLO,
                  env={"KEPT": "1", "LOST": "1", "PHP_INI": "x", "LC_ALL": "C", "HOME": "/"})
    pid, = s.programs()
    has = environment(pid)
    assert {"KEPT": "1", "A": "1", "PHP_INI": "x", "LC_ALL": "C", "PATH": os.environ["PATH"]}.items() <= has.items()
    assert "LOST" not in has and "HOME" not in has
    s = supervise("--keep-env", "*", "--", HELLO, env={"LOST": "1"})
    assert environment(s.programs()[0])["LOST"] == "1"


@needs_root
def test_user_and_group(supervise, folder):
    folder.chmod(0o755)
    s = supervise("-u", "www-data", "-U", "nobody", "-G", "www-data", "--umask", "027", "--limit", "nofile=300",
                  "--no-new-privs", "-d", "/usr", "--", HELLO)
    pid, = s.programs()
    seen = status(pid)
    assert seen["Uid"].split() == ["33"] * 4 and seen["Gid"].split() == ["33"] * 4 and seen["Groups"].split() == ["33"]
    assert seen["Umask"] == "0027" and seen["NoNewPrivs"] == "1"
    assert os.readlink(f"/proc/{pid}/cwd") == "/usr"
    assert environment(pid)["USER"] == "www-data" and environment(pid)["HOME"] == "/var/www"
    st = (s.folder / "s").stat()
    assert (st.st_uid, st.st_gid) == (65534, 33)
    assert b"ello" in ask(s.folder / "s")


@needs_root
def test_another_root(supervise, folder):
    """The socket is made inside, and removed from there in the end."""
    root = folder / "root"
    for name in "bin", "run", "dev":
        (root / name).mkdir(parents=True)
    (root / "dev" / "null").touch()  # opened, never read
    (root / "dev" / "null").chmod(0o666)
    for file in [HELLO, *re.findall(r"(/\S+) \(0x", run("ldd", HELLO).stdout)]:
        to = root / ("bin/hello" if file == HELLO else file.lstrip("/"))
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, to)
    s = supervise("-c", root, "-u", "www-data", "--", "hello", where=("-s", "/run/s"), env={"PATH": "/usr/bin:/bin"})
    assert b"ello" in ask(root / "run" / "s")
    assert os.readlink(f"/proc/{s.programs()[0]}/root") == str(root)
    os.kill(s.chain()[2], signal.SIGKILL)
    assert s.process.wait(10) == 1
    assert not (root / "run" / "s").exists()


def test_several_sockets(supervise):
    s = supervise("--processes", "1:3", "--per-process", "--", HELLO)
    assert s.out == "unix:s-0\nunix:s-1\nunix:s-2\n"
    for i in range(3):
        assert b"ello" in ask(s.folder / f"s-{i}")
    assert len(s.programs()) == 3
    assert s.stop() == 0
    assert not list(s.folder.glob("s-*"))


def test_a_port(supervise):
    port = free_port()
    s = supervise("--", HELLO, where=("-a", "127.0.0.1", "-p", port))
    assert s.out == f"127.0.0.1:{port}\n" and b"ello" in ask(port)


def test_a_socket_that_is_given_stays(supervise, folder):
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(str(folder / "given"))
        given.listen()
        s = supervise("--", HELLO, where=("--listen", f"fd:{given.fileno()}"), pass_fds=[given.fileno()])
    assert b"ello" in ask(folder / "given")
    assert s.stop() == 0
    assert (folder / "given").exists()


def test_the_first_one_on_demand(supervise):
    s = supervise("--processes", "0:1", "--idle-timeout", "1", "--", HELLO)
    assert s.programs() == []
    assert b"ello" in ask(s.folder / "s")
    assert len(s.programs()) == 1
    wait_until(lambda: s.programs() == [], 15)
    assert b"ello" in ask(s.folder / "s")


# -- log and status ----------------------------------------------------------------------------------------------------

def test_what_it_writes_is_logged(supervise, folder):
    s = supervise("--name", "pool", "--", script(folder, "echo out; printf 'e\\033rr\\n' >&2; exec sleep 100"))
    pid, = s.programs()
    wait_until(lambda: f"ferry: pool[{pid}] stdout: out\n" in s.err and f"ferry: pool[{pid}]: e?rr\n" in s.err)


def test_a_log_file_is_opened_anew(supervise, folder):
    s = supervise("--log", "log", "--", script(folder, "trap 'echo usr' USR1; echo one; while :; do sleep 0.05; done"))
    log = s.folder / "log"
    wait_until(lambda: re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ app\[\d+\] stdout: one$", log.read_text(), re.M))
    log.rename(s.folder / "old")
    s.send(signal.SIGUSR1)
    wait_until(log.exists)
    os.kill(s.programs()[0], signal.SIGUSR1)
    wait_until(lambda: "stdout: usr" in log.read_text())
    assert "usr" not in (s.folder / "old").read_text() and s.err == ""


def test_a_flood_on_stderr_stops_nobody(supervise, folder):
    """Nobody reads our stderr, a pipe, and the program writes without end: others are served, and memory stays bounded."""
    flood = script(folder, f"(while :; do echo flood flood flood flood flood; done) & exec {HELLO}")
    place = folder / "flood"
    place.mkdir()
    reader, writer = os.pipe()
    p = subprocess.Popen([FERRY, "spawn", "--supervise", "-s", place / "s", "--status", place / "st", "--", flood],
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=writer)
    os.close(writer)
    try:
        wait_until(lambda: answers(place / "st") and page(place / "st", "/ready")[0] == 200)
        wait_until(lambda: state(place / "st")["lines_dropped"] > 1000)
        for _ in range(20):
            assert b"ello" in ask(place / "s")
        manager = children_of(children_of(p.pid)[0])[0]
        assert int(status(manager)["VmRSS"].split()[0]) < 40000
        p.terminate()
        assert p.wait(15) == 0
    finally:
        p.kill()
        os.close(reader)


def test_the_status(supervise):
    s = supervise("--processes", "2:5", "--name", "pool", "--status", "unix:st", "--", HELLO)
    st = s.folder / "st"
    assert st.stat().st_mode & 0o777 == 0o600
    seen = state(st)
    assert (seen["pool"], seen["state"], seen["processes_min"], seen["processes_max"]) == ("pool", "ready", 2, 5)
    assert {p["pid"] for p in seen["processes"]} == set(s.programs())
    code, text = page(st, "/")
    assert code == 200 and "pool: ready" in text
    assert json.loads(page(st, "/", Accept="application/json")[1])["pool"] == "pool"
    assert page(st, "/ready") == (200, "ready\n")
    assert page(st, "/other")[0] == 404
    with connect(st) as c:
        c.sendall(b"POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        assert c.recv(100).startswith(b"HTTP/1.1 405 ")
    with connect(st) as c:
        c.sendall(b"nonsense\r\n\r\n")
        assert c.recv(100).startswith(b"HTTP/1.1 400 ")


@pytest.mark.skipif(not have("curl"), reason="curl is not installed")
def test_the_status_with_curl(supervise):
    s = supervise("--status", "unix:st", "--", HELLO)
    p = run("curl", "-s", "-f", "--unix-socket", s.folder / "st", "http://x/status?json")
    assert json.loads(p.stdout)["state"] == "ready"


def test_the_status_while_all_are_busy(supervise, folder):
    """None accepts, and the backlog is full."""
    s = supervise("-b", "4", "--processes", "2", "--status", "unix:st", "--", script(folder, "exec sleep 1000"))
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            c = stack.enter_context(socket.socket(socket.AF_UNIX))
            c.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                c.connect(str(s.folder / "s"))
        begin = time.monotonic()
        assert state(s.folder / "st")["queued"] == 5
        assert time.monotonic() - begin < 5


def test_the_status_on_a_signal(supervise):
    s = supervise("--name", "pool", "--", HELLO)
    s.send(signal.SIGUSR2)
    wait_until(lambda: "ferry: pool: ready, generation 1" in s.err)


# -- failures ----------------------------------------------------------------------------------------------------------

def test_one_that_is_killed_is_started_again(supervise):
    s = supervise("--restart-delay", "100ms", "--", HELLO)
    old, = s.programs()
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: not alive(old))
    assert wait_until(lambda: b"ello" in (ask(s.folder / "s") or b""))  # waits in the backlog meanwhile
    new, = s.programs()
    assert new != old
    assert "signal 9 (Killed)" in s.err


def test_one_that_dies_at_start_is_given_up(supervise, folder):
    s = supervise("--fatal", "4", "--restart-delay", "20ms:50ms", "--", script(folder, "exit 3"), ready=False)
    assert s.process.wait(15) == 69
    assert s.out == "" and s.err.count("status 3") >= 4


def test_one_that_dies_at_start_is_tried_ever_later(supervise, folder):
    begin = time.monotonic()
    s = supervise("--fatal", "0", "--status", "unix:st", "--", script(folder, f"echo x >>{folder}/starts; exit 3"), ready=False)
    wait_until(lambda: answers(s.folder / "st") and state(s.folder / "st")["state"] == "failing")
    assert page(s.folder / "st", "/ready") == (503, "not ready\n")
    wait_until(lambda: (folder / "starts").read_text().count("x") >= 5)
    assert time.monotonic() - begin > 1.2  # pauses of 0.1, 0.2, 0.4 and 0.8 s
    assert s.stop() == 0  # in the pause


def test_one_that_never_is_ready(supervise, folder):
    s = supervise("--fatal", "2", "--ready", "notify", "--ready-timeout", "300ms", "--restart-delay", "20ms", "--stop-timeout",
                  "500ms", "--", script(folder, "exec sleep 1000"), ready=False)
    assert s.process.wait(15) == 69
    assert s.out == ""


def test_one_that_ignores_the_signal_is_killed(supervise, folder):
    s = supervise("--stop-timeout", "700ms", "--", script(folder, "trap '' TERM; while :; do sleep 1000; done"))
    pids = children(s.process.pid)
    begin = time.monotonic()
    assert s.stop() == 0
    assert 0.6 < time.monotonic() - begin < 5
    assert not [p for p in pids if alive(p)]


def test_another_stop_signal(supervise, folder):
    s = supervise("--stop-signal", "USR1", "--", script(folder, f"trap 'echo got >{folder}/got; exit' USR1; trap '' TERM\n"
                                                         "while :; do sleep 0.05; done"))
    assert s.stop() == 0
    assert (folder / "got").read_text() == "got\n"


LEAKY = """
import os, socket, time
s = socket.socket(fileno=0)
kept = []
while True:
    c, _ = s.accept()
    kept.append(bytearray(os.urandom(1 << 20)) * 4)
    c.close()
"""


def test_one_that_leaks_is_replaced(supervise, folder):
    (folder / "leaky.py").write_text(LEAKY)
    s = supervise("--max-rss", "60M", "--status", "unix:st", "--", "/usr/bin/python3", folder / "leaky.py")
    old, = s.programs()
    for _ in range(30):
        connect(s.folder / "s").close()
    wait_until(lambda: state(s.folder / "st")["recycled"] == 1 and old not in s.programs(), 15)


def test_one_that_does_not_answer_is_ended(supervise, folder):
    """It is there, and accepts nothing."""
    stuck = script(folder, f"if mkdir {folder}/once 2>/dev/null; then exec sleep 1000; else exec {HELLO}; fi")
    s = supervise("--ping", "--ping-interval", "300ms", "--ping-timeout", "300ms", "--ping-threshold", "2", "--stop-timeout",
                  "1s", "--status", "unix:st", "--", stuck)
    old, = s.programs()
    wait_until(lambda: not alive(old), 15)
    assert wait_until(lambda: b"ello" in (ask(s.folder / "s") or b""))
    assert state(s.folder / "st")["unhealthy"] >= 1


# -- reload ------------------------------------------------------------------------------------------------------------

def generation(s):
    seen = state(s.folder / "st")
    return seen["generation"] if not seen["reloading"] and all(
        p["generation"] == seen["generation"] for p in seen["processes"]) else 0


def test_a_new_generation_takes_over(supervise):
    s = supervise("--processes", "2", "--status", "unix:st", "--ready-time", "100ms", "--", HELLO)
    old = s.programs()
    s.send(signal.SIGHUP)
    wait_until(lambda: generation(s) == 2)
    assert not set(old) & set(s.programs()) and len(s.programs()) == 2
    assert b"ello" in ask(s.folder / "s")


def test_the_old_one_stays_when_the_new_one_fails(supervise, folder):
    program = folder / "program"
    program.symlink_to(HELLO)
    s = supervise("--status", "unix:st", "--ready-time", "200ms", "--", program)
    old = s.programs()
    program.unlink()
    script(folder, "exit 1", "program")
    s.send(signal.SIGHUP)
    wait_until(lambda: state(s.folder / "st")["reloads_failed"] == 1)
    assert s.programs() == old and b"ello" in ask(s.folder / "s")
    program.unlink()
    program.symlink_to(HELLO)
    s.send(signal.SIGHUP)
    wait_until(lambda: state(s.folder / "st")["reloads"] == 1)
    assert s.programs() != old and b"ello" in ask(s.folder / "s")


def test_no_request_is_lost_in_a_hundred_reloads(supervise):
    s = supervise("--processes", "2", "--status", "unix:st", "--ready-time", "30ms", "--quiet", "--", HELLO)
    with Load(s.folder / "s") as load:
        for n in range(100):
            s.send(signal.SIGHUP)
            wait_until(lambda: generation(s) >= n + 2, 20, 0.005)
    assert not load.failed, load.failed[:5]
    assert load.good > 1000
    assert state(s.folder / "st")["reloads"] == 100


def test_no_request_is_lost_behind_a_gateway(supervise, serve):
    """The same through `ferry serve`, whose connections are kept."""
    s = supervise("--processes", "2", "--status", "unix:st", "--ready-time", "30ms", "--quiet", "--", HELLO)
    ferry = serve("-a", f"unix:{s.folder}/s", "--threads", 2, "--access-log", "off")
    over, good, bad = threading.Event(), itertools.count(), []

    def run_client():
        with ferry.client() as c:
            while not over.is_set():
                r = c.request("GET", "/")
                if r is None or r.status != 200:
                    bad.append(r and r.status)
                next(good)

    threads = [threading.Thread(target=run_client) for _ in range(6)]
    for t in threads:
        t.start()
    for n in range(30):
        s.send(signal.SIGHUP)
        wait_until(lambda: generation(s) >= n + 2, 20, 0.005)
    over.set()
    for t in threads:
        t.join()
    assert not bad and next(good) > 500


# -- a disorderly end --------------------------------------------------------------------------------------------------

DEAF = "trap '' TERM HUP\n"


@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.parametrize("killed", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_nothing_outlives_those_that_were_killed(supervise, folder, killed, deaf):
    program = script(folder, f"{DEAF}setsid sleep 1000 & sleep 1000 & exec {HELLO}" if deaf else f"exec {HELLO}")
    if deaf:  # hello handles SIGTERM itself
        program = script(folder, f"{DEAF}(setsid sleep 1000 &) ; sleep 1000 & while :; do sleep 1; done")
    s = supervise("--processes", "2", "--stop-timeout", "1s", "-P", "pid", "--status", "unix:st", "--", program)
    chain, pids = s.chain(), children(s.process.pid)
    assert len(pids) >= (8 if deaf else 4)
    for i in killed:
        os.kill(chain[i], signal.SIGKILL)
    wait_until(lambda: not [p for p in pids if alive(p)], 15)
    assert s.process.wait(20) == (-signal.SIGKILL if 0 in killed else 1)
    assert sorted(p.name for p in s.folder.iterdir()) == ["err", "out"]
    if 2 in killed:
        assert "its manager was ended by signal 9 (Killed); what it started is ended" in s.err


def test_all_of_its_name_are_killed(supervise, folder):
    """As killall does: the one that is left has another name."""
    s = supervise("--stop-timeout", "1s", "--", script(folder, f"{DEAF}while :; do sleep 1; done"))
    pids = children(s.process.pid)
    for pid in [s.process.pid, *pids]:
        if comm(pid) == "ferry":
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not [p for p in pids if alive(p)], 15)
    s.process.wait(20)
    assert not (s.folder / "s").exists()


def test_random_processes_are_killed_under_load(supervise):
    """Requests are lost only with the processes that had them."""
    s = supervise("--processes", "4", "--restart-delay", "10ms:50ms", "--fatal", "0", "--quiet", "--", HELLO)
    kills, end = 0, time.monotonic() + 60
    with Load(s.folder / "s") as load:
        while kills < 30:
            assert time.monotonic() < end
            programs = s.programs()
            if programs:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(programs[kills % len(programs)], signal.SIGKILL)
                    kills += 1
            time.sleep(0.03)
        wait_until(lambda: len(s.programs()) == 4)
        before = load.good
        wait_until(lambda: load.good > before + 100)
    assert not [f for f in load.failed if isinstance(f, OSError) and not isinstance(f, ConnectionError)], load.failed
    assert len(load.failed) <= kills * 8, load.failed


# -- its own starter ---------------------------------------------------------------------------------------------------

@pytest.fixture
def systemd(folder):
    """A socket as systemd has it, and who spoke on it."""
    path = folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(path))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        s.settimeout(10)
        yield s


def hear(s, what):
    """The pid of who says it."""
    while True:
        data, ancillary, _, _ = s.recvmsg(4096, 1024)
        if what in data.decode().split("\n"):
            return int.from_bytes(ancillary[0][2][:4], "little")


def test_systemd_is_told(supervise, systemd):
    s = supervise("--ready-time", "100ms", "--", HELLO, env={"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "400000"})
    assert hear(systemd, "READY=1") == s.process.pid
    assert hear(systemd, "WATCHDOG=1") == s.process.pid
    assert hear(systemd, "STATUS=hello: ready, 1 processes, 0 connections waiting") == s.process.pid
    s.send(signal.SIGHUP)
    assert hear(systemd, "RELOADING=1") == s.process.pid
    assert hear(systemd, "READY=1") == s.process.pid
    s.send(signal.SIGTERM)
    assert hear(systemd, "STOPPING=1") == s.process.pid
    assert "NOTIFY_SOCKET" not in s.err


# -- other languages ---------------------------------------------------------------------------------------------------

@pytest.mark.skipif(not have("php-cgi"), reason="php-cgi is not installed")
def test_php(supervise, folder):
    index = folder / "index.php"
    index.write_text("<?php echo 'pid ', getmypid();")
    s = supervise("--processes", "2", "--max-requests", "5", "--ready", "time", "--ready-time", "100ms",
                  f"--ping={index}=/index.php", "--", shutil.which("php-cgi"))
    seen = set()
    for _ in range(40):
        answer = ask(s.folder / "s", SCRIPT_FILENAME=str(index))
        seen.add(int(re.search(rb"pid (\d+)$", answer)[1]))
    assert len(seen) > 4


PERL = """#!/usr/bin/perl
use FCGI;
my $r = FCGI::Request();
while ($r->Accept() >= 0) { print "Content-Type: text/plain\\r\\n\\r\\nhello from perl\\n"; }
"""


@pytest.mark.skipif(run("perl", "-MFCGI", "-e1").returncode != 0 if have("perl") else True, reason="FCGI.pm is not installed")
def test_perl(supervise, folder):
    program = folder / "app.pl"
    program.write_text(PERL)
    program.chmod(0o755)
    s = supervise("--processes", "2", "--ready-time", "100ms", "--status", "unix:st", "--", program)
    with Load(s.folder / "s", 4) as load:
        wait_until(lambda: load.good > 20, 30)
        s.send(signal.SIGHUP)
        wait_until(lambda: generation(s) == 2)
        before = load.good
        wait_until(lambda: load.good > before + 20, 30)
    assert len(load.failed) <= 2, load.failed  # FCGI.pm dies by SIGTERM, and what it was at work on with it


PYTHON = '''#!/usr/bin/python3
"""FastCGI in the standard library alone: one request to a connection, and after SIGTERM the one at hand is finished."""
import select, signal, socket, struct
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
s = socket.socket(fileno=0)
s.setblocking(False)
stop = False
while not stop:
    select.select([s], [], [], 0.05)
    stop = signal.SIGTERM in signal.sigpending()
    try:
        c, _ = s.accept()
    except BlockingIOError:
        continue
    c.setblocking(True)
    data = b""
    while not data.endswith(struct.pack(">BBHHBB", 1, 5, 1, 0, 0, 0)):
        more = c.recv(65536)
        data += more
        if not more:
            break
    body = b"Content-Type: text/plain\\r\\n\\r\\nhello from python\\n"
    c.sendall(struct.pack(">BBHHBB", 1, 6, 1, len(body), 0, 0) + body + struct.pack(">BBHHBB", 1, 6, 1, 0, 0, 0)
              + struct.pack(">BBHHBBIB3x", 1, 3, 1, 8, 0, 0, 0, 0))
    c.close()
'''


def test_python(supervise, folder):
    program = folder / "app.py"
    program.write_text(PYTHON)
    program.chmod(0o755)
    s = supervise("--processes", "2:4", "--ready-time", "200ms", "--status", "unix:st", "--", program)
    with Load(s.folder / "s", 4) as load:
        for n in range(5):
            s.send(signal.SIGHUP)
            wait_until(lambda: generation(s) == n + 2, 20)
        wait_until(lambda: load.good > 100, 30)
    assert not load.failed, load.failed
