# SPDX-License-Identifier: MIT
"""ferry as processes: signals, crashes, the program of --spawn, and what is left when all is over: nothing."""
import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
from conftest import BUILD, Client, alive, children_of, has_read, name_of, needs_php_cgi, open_files, wait_until

FERRY = str(BUILD / "ferry")
APP = pathlib.Path(__file__).with_name("little_app.py")


def zombies(pid):
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rsplit(")", 1)[1].split()[:2]
            if int(parent) == pid and state == "Z":
                found.append(stat.parent.name)
    return found


@pytest.fixture
def app(serve, folder):
    """app(*args) starts ferry with the little application behind it; afterwards nothing of them is left."""
    started, places = [], []

    def start(*args, program=APP, **kw):
        place = folder / f"xdg{len(places)}"  # where the application's socket goes
        place.mkdir(mode=0o700)
        places.append(place)
        ferry = serve("--spawn", program, *args, env={"XDG_RUNTIME_DIR": str(place), **kw.pop("env", {})}, **kw)
        ferry.place = place
        started.append((ferry, ferry.children()))
        return ferry

    yield start
    for ferry, _ in started:
        if ferry.process.poll() is None:
            assert not zombies(ferry.process.pid) and not zombies(ferry.master())
            started.append((ferry, ferry.children()))
            assert ferry.stop(signal.SIGINT) == 0, ferry.err
    for ferry, pids in started:
        wait_until(lambda: not [p for p in pids if alive(p)])
    for place in places:
        assert list(place.iterdir()) == []


def app_pids(ferry):
    """Its children that are not the worker."""
    worker = ferry.worker()
    return [p for p in children_of(ferry.master()) if p != worker]


def app_pid(ferry):
    """The only one of them."""
    return (app_pids(ferry) or [None])[0]


def worker_but(ferry, dead=None):
    """The worker, as soon as there is one that is not the dead one."""
    def another():
        with contextlib.suppress(AssertionError):
            return ferry.worker() != dead and ferry.worker()
    return wait_until(another)


def script(folder, text, name="app"):
    path = folder / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except (ConnectionRefusedError, ConnectionResetError):  # a reset: just when it was closed
        return True
    return False


def cut(c):
    """Reads on: does it end with a reset?"""
    try:
        while c.socket.recv(65536):
            pass
    except ConnectionResetError:
        return True
    return False


def get(c, target):
    c.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")


# -- what the processes have -------------------------------------------------------------------------------------------

def files_max(pid):
    m = re.search(r"Max open files +(\d+) +(\d+)", pathlib.Path(f"/proc/{pid}/limits").read_text())
    return int(m[1]), int(m[2])


def test_the_application_gets_what_it_needs_and_no_more(app, folder):
    with open(folder / "leak", "wb") as leak:
        ferry = app("-l", f"unix:{folder}/s", "--access-log", folder / "log", fds=[leak.fileno()],
                    program=script(folder, "exec sleep 1000"))
    pid = app_pid(ferry)
    wait_until(lambda: "sleep" in pathlib.Path(f"/proc/{pid}/comm").read_text())
    has = open_files(pid)
    assert sorted(has) == [0, 1, 2]
    assert has[0].startswith("socket:") and has[1].startswith("pipe:") and has[2].startswith("pipe:")
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    assert re.search(r"SigBlk:\t0+\n", status) and re.search(r"SigIgn:\t0+\n", status)
    assert files_max(pid) == files_max(os.getpid())
    assert (ferry.place / os.listdir(ferry.place)[0] / "app.sock").stat().st_mode & 0o777 == 0o600


def test_the_worker_has_its_own_and_all_descriptors_it_may(app):
    ferry = app("--threads", 2)
    worker, pid = ferry.worker(), app_pid(ferry)
    assert open_files(pid)[0] not in open_files(worker).values(), "the application's listener"
    assert open_files(pid)[2] not in open_files(worker).values(), "the application's stderr"
    mine, theirs = open_files(worker), open_files(ferry.master())
    shared = {v for fd, v in mine.items() if fd > 2 and not v.startswith("anon_inode")} & set(theirs.values())
    assert all(v.startswith("socket:") for v in shared) and len(shared) == 2  # the listeners, one for each thread
    soft, hard = files_max(worker)
    assert soft == hard
    assert files_max(ferry.master()) == files_max(os.getpid())


# -- an orderly end ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_idle_connections_do_not_keep_it(app, sig):
    ferry = app("--threads", 2)
    clients = [ferry.client() for _ in range(8)]
    for c in clients:
        assert c.request("GET", "/length").status == 200
    never_used = ferry.client()
    begin = time.monotonic()
    assert ferry.stop(sig) == 0
    assert time.monotonic() - begin < 10
    assert all(c.closed() for c in clients + [never_used])
    assert refused(ferry.port)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGHUP])
def test_requests_under_way_are_finished(app, sig):
    """A stream, a sleep, an upload and a request whose head is not all there, while no one else is let in."""
    ferry = app("--threads", 2, "--access-log", "-")
    stream, sleep, upload, slow = (ferry.client() for _ in range(4))
    get(stream, "/stream/5/200")
    get(sleep, "/sleep/800")
    upload.begin("/length", 10)
    upload.send("12345")
    slow.send("GET /length HTTP/1.1\r\nHo")
    assert b"200 OK" in stream.line()
    wait_until(lambda: has_read(ferry.port))
    ferry.process.send_signal(sig)
    wait_until(lambda: refused(ferry.port))
    ferry.process.send_signal(sig)  # again has no other effect
    upload.send("67890")
    r = upload.response()
    assert (r.status, r.text, r["Connection"]) == (200, "10", "close")
    slow.send("st: x\r\n\r\n")
    r = slow.response()
    assert (r.status, r.text) == (200, "0")
    r = sleep.response()
    assert (r.status, r.text) == (200, "slept")
    stream.buffer = b"HTTP/1.1 200 OK\r\n" + stream.buffer
    r = stream.response()
    assert r.complete and r.text == "".join(f"line {i}\n" for i in range(5))
    assert all(c.closed() for c in (stream, sleep, upload, slow))
    assert ferry.process.wait(20) == 0
    assert len(re.findall(r'" 200 .* -\n', ferry.err)) == 4


@needs_php_cgi
def test_queued_requests_are_finished(serve, folder):
    """Twenty requests and eight processes."""
    (folder / "site").mkdir()
    (folder / "site" / "index.php").write_text("<?php usleep(300000); echo 'slept';")
    ferry = serve(folder / "site", "--php", "php-cgi", "--threads", 2)
    clients = [ferry.client() for _ in range(20)]
    for c in clients:
        get(c, "/")
    wait_until(lambda: has_read(ferry.port))
    ferry.process.terminate()
    assert [c.response().text for c in clients] == ["slept"] * 20
    assert ferry.process.wait(20) == 0


@pytest.mark.parametrize("first", [None, signal.SIGTERM])
def test_sigint_cuts_what_is_under_way_and_says_so(app, first):
    ferry = app("--access-log", "-")
    stream, sleep, done = ferry.client(), ferry.client(), ferry.client()
    assert done.request("GET", "/length").status == 200
    get(stream, "/stream/100/100")
    get(sleep, "/sleep/10000")
    wait_until(lambda: stream.fill() and b"line 1" in stream.buffer)
    if first:
        ferry.process.send_signal(first)
        assert done.closed()
        time.sleep(0.2)
        assert ferry.process.poll() is None
    begin = time.monotonic()
    ferry.process.send_signal(signal.SIGINT)
    assert cut(stream) and cut(sleep)
    assert ferry.process.wait(20) == 0
    assert time.monotonic() - begin < 8
    assert re.search(r'"GET /length HTTP/1.1" 200 1 .* -\n', ferry.err)
    assert re.search(r'"GET /stream/100/100 HTTP/1.1" 200 [1-9].* shutdown\n', ferry.err)
    assert re.search(r'"GET /sleep/10000 HTTP/1.1" .* shutdown\n', ferry.err)


def test_ctrl_c_reaches_all_and_ends_it_once(app):
    """A terminal signals the whole group of processes: nobody takes the worker's end for a crash."""
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        ferry = app("--threads", 2, prefix=["setsid"])
        assert ferry.get("/length").status == 200
        os.killpg(ferry.process.pid, sig)
        assert ferry.process.wait(20) == 0
        assert "worker" not in ferry.err


def test_nohup_keeps_it_running(app):
    ferry = app(prefix=["nohup"])
    ferry.process.send_signal(signal.SIGHUP)
    os.kill(ferry.worker(), signal.SIGHUP)
    time.sleep(0.2)
    assert ferry.get("/length").status == 200


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("ms", [0, 2, 5, 10, 20, 40])
def test_a_signal_while_it_starts_leaves_nothing(folder, sig, ms):
    place = folder / "xdg"
    place.mkdir(mode=0o700)
    p = subprocess.Popen([FERRY, "serve", "-l", "127.0.0.1:0", "-l", f"unix:{folder}/s", "--spawn", APP],
                         env={**os.environ, "XDG_RUNTIME_DIR": str(place)}, stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    time.sleep(ms / 1000)
    p.send_signal(sig)
    assert p.wait(10) in (0, -sig)  # before it listens, it just ends
    assert p.stderr.read() == b""
    assert list(place.iterdir()) == []
    assert not (folder / "s").exists()


# -- a disorderly end --------------------------------------------------------------------------------------------------

def test_nothing_outlives_a_master_that_was_killed(app, folder):
    ferry = app("-l", f"unix:{folder}/s", "--threads", 2)
    pids = ferry.children()
    with ferry.client() as c:
        assert c.request("GET", "/length").status == 200
        ferry.process.kill()
        ferry.process.wait(20)
        wait_until(lambda: not [p for p in pids if alive(p)])
        assert c.closed()
    assert list(ferry.place.iterdir()) == []
    assert not (folder / "s").exists()
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", ferry.port))
        s.listen()


def chain(ferry):
    """The first process, the guard, the master."""
    first = ferry.process.pid
    guard, = children_of(first)
    master, = children_of(guard)
    assert master == ferry.master() and (name_of(first), name_of(guard), name_of(master)) == ("ferry", "guard", "ferry")
    return [first, guard, master]


@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.parametrize("killed", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_nothing_outlives_those_that_were_killed(app, folder, killed, deaf):
    """Whoever of the three it is, any two at once, and also when the application ignores SIGTERM."""
    ferry = app("-l", f"unix:{folder}/s", "--threads", 2, env={"DEAF": "1"} if deaf else {})
    assert ferry.get("/length").status == 200
    pids, three = ferry.children(), chain(ferry)
    for i in killed:
        os.kill(three[i], signal.SIGKILL)
    wait_until(lambda: not [p for p in pids if alive(p)], 15)
    assert ferry.process.wait(20) == (-signal.SIGKILL if 0 in killed else 1)
    assert list(ferry.place.iterdir()) == []
    assert not (folder / "s").exists()
    if 2 in killed:
        assert "ferry: the master was ended by signal 9 (Killed); what it started is ended" in ferry.err


def test_a_daemon_that_it_has_become_ends_too(app, folder):
    """Two forks and a session of its own: out of the process group, but not out of sight."""
    program = script(folder, f"setsid sh -c 'trap \"\" TERM; (echo $$ >{folder}/daemon; exec sleep 1000) &' &\n"
                             "exec sleep 1000")
    ferry = app(program=program)
    wait_until(lambda: (folder / "daemon").exists() and (folder / "daemon").read_text())
    daemon = next(p for p in ferry.children() if name_of(p) == "sleep" and os.getsid(p) != os.getsid(app_pid(ferry)))
    assert ferry.stop() == 0
    assert not alive(daemon)


def test_without_an_application_there_are_no_guards(serve, hello):
    ferry = serve("-a", hello)
    assert [name_of(p) for p in ferry.children()] == ["ferry"]


def test_a_master_that_was_killed_frees_its_port_while_a_request_is_finished(app):
    ferry = app()
    with ferry.client() as c:
        c.begin("/length", 4)
        ferry.process.kill()
        ferry.process.wait(20)
        wait_until(lambda: refused(ferry.port))
        c.send("1234")
        assert c.response().status in (200, 502, 503)  # the application has ended as well


def test_a_crash_of_the_worker_under_load(app):
    """Others connect again and go on; the application stays."""
    ferry = app("--threads", 2)
    pid, over, good = app_pid(ferry), threading.Event(), [0] * 6

    def load(i):
        while not over.is_set():
            with contextlib.suppress(ConnectionError, AssertionError), ferry.client(timeout=10) as c:
                while not over.is_set():
                    r = c.request("GET", "/length")
                    if r is None:
                        break
                    assert r.status == 200
                    good[i] += 1

    threads = [threading.Thread(target=load, args=[i]) for i in range(6)]
    for t in threads:
        t.start()
    worker = None
    for _ in range(2):
        worker = worker_but(ferry, worker)
        before = list(good)
        wait_until(lambda: all(b < g for b, g in zip(before, good)))
        os.kill(worker, signal.SIGABRT)
        wait_until(lambda: not alive(worker))
    before = list(good)
    wait_until(lambda: all(b < g for b, g in zip(before, good)))
    over.set()
    for t in threads:
        t.join()
    assert app_pid(ferry) == pid
    assert ferry.err.count("the worker was ended by signal 6 (Aborted); starting another in 0.") == 2
    assert ferry.out.count("\n") == 1


def test_a_worker_that_keeps_crashing_is_started_ever_later(app):
    ferry = app()
    dead = None
    for pause in ("0.1", "0.2", "0.4", "0.8"):
        dead = worker_but(ferry, dead)
        os.kill(dead, signal.SIGKILL)
        wait_until(lambda: f"(Killed); starting another in {pause} s\n" in ferry.err)
    assert ferry.stop() == 0  # in the pause


def test_a_worker_that_ends_by_itself_is_replaced(app):
    ferry = app()
    with ferry.client() as c:
        c.begin("/length", 4)
        os.kill(ferry.worker(), signal.SIGTERM)
        time.sleep(0.1)
        c.send("1234")
        assert c.response().text == "4"
    wait_until(lambda: "the worker ended with status 0; starting another in 0.1 s" in ferry.err)
    assert wait_until(lambda: ferry.get("/length")).status == 200


# -- the program of --spawn --------------------------------------------------------------------------------------------

def test_its_lines_are_told_as_its_own(app):
    ferry = app()
    assert ferry.get("/say/hi%20there").status == 200
    wait_until(lambda: "ferry: app: hi%20there\n" in ferry.err and "ferry: app: err hi%20there\n" in ferry.err)


def test_its_lines_are_escaped_and_whole(app, folder):
    program = script(folder, "head -c 8000 /dev/zero | tr '\\0' x; printf '\\033[2J\\n'; exec sleep 1000")
    ferry = app(program=program)
    wait_until(lambda: f"ferry: app: {'x' * 8000}?[2J\n" in ferry.err)


def test_it_is_started_again_ever_later(app, folder):
    ferry = app(program=script(folder, "exit 3"))
    for pause in ("0.1", "0.2", "0.4"):
        wait_until(lambda: re.search(rf"ferry: {folder}/app: process \d+ ended with status 3; "
                                     rf"started again in {pause} s\n", ferry.err))
    assert ferry.stop() == 0  # in the pause


def test_requests_wait_for_it(app):
    """Killed, it is back soon, and who comes meanwhile sees nothing of it."""
    ferry = app()
    pid = app_pid(ferry)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid))
    assert ferry.get("/length").status == 200
    assert f"{APP}: process {pid} was ended by signal 9 (Killed); started again in 0.1 s" in ferry.err


def test_several_of_it_share_the_requests(app):
    ferry = app("--processes", "3")
    wait_until(lambda: len(app_pids(ferry)) == 3)
    seen = set()
    load = [threading.Thread(target=lambda: seen.update(ferry.get("/pid").text for _ in range(50))) for _ in range(8)]
    for thread in load:
        thread.start()
    for thread in load:
        thread.join()
    assert seen and seen <= {str(pid) for pid in app_pids(ferry)}
    old = app_pids(ferry)[0]
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: len(app_pids(ferry)) == 3 and old not in app_pids(ferry))
    assert ferry.get("/length").status == 200


@pytest.mark.parametrize("argv, why", [
    (["--processes", "2"], "--processes is for the program of --spawn"),
    (["--processes", "0", "--spawn", "x"], "--processes 0: must be N or MIN:MAX, of 1 to 1024"),
    (["--processes", "3:2", "--spawn", "x"], "--processes 3:2: must be N or MIN:MAX, of 1 to 1024"),
    (["--processes", "1:", "--spawn", "x"], "--processes 1:: must be N or MIN:MAX, of 1 to 1024"),
    (["--processes", "1025", "--spawn", "x"], "--processes 1025: must be N or MIN:MAX, of 1 to 1024")])
def test_a_wrong_number_of_processes_is_an_error(argv, why):
    p = subprocess.run([FERRY, "serve", *argv], capture_output=True, text=True, timeout=20)
    assert (p.returncode, p.stdout, p.stderr) == (64, "", f"ferry: {why}\n")


@pytest.mark.parametrize("name, why", [
    ("/no/such", "/no/such cannot be executed: No such file or directory"),
    ("no-such-program", "no-such-program is in no folder of PATH; elsewhere, name its folder too: ./no-such-program"),
    ("/etc/passwd", "/etc/passwd cannot be executed: Permission denied")])
def test_one_that_cannot_be_started_is_an_error(folder, name, why):
    p = subprocess.run([FERRY, "serve", "-l", "127.0.0.1:0", "--spawn", name], capture_output=True, text=True, timeout=20,
                       env={**os.environ, "XDG_RUNTIME_DIR": str(folder)}, stdin=subprocess.DEVNULL)
    assert (p.returncode, p.stdout, p.stderr) == (1, "", f"ferry: {why}\n")
    folder.chmod(0o700)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("sig, least, most", [(signal.SIGTERM, 4.5, 15), (signal.SIGINT, 0.8, 4.5)])
def test_one_that_ignores_sigterm_is_killed(app, sig, least, most):
    ferry = app(env={"DEAF": "1"})
    assert ferry.get("/length").status == 200
    pid, begin = app_pid(ferry), time.monotonic()
    assert ferry.stop(sig) == 0
    assert least < time.monotonic() - begin < most
    assert not alive(pid)


def test_sigint_hurries_a_sigterm_up(app):
    ferry = app(env={"DEAF": "1"})
    assert ferry.get("/length").status == 200
    begin = time.monotonic()
    ferry.process.terminate()
    time.sleep(0.3)
    assert ferry.stop(signal.SIGINT) == 0
    assert time.monotonic() - begin < 4.5  # SIGTERM's patience is 5 s


def test_what_it_leaves_behind_is_killed(app, folder):
    """Children of its group that do not end with it."""
    program = script(folder, f"sleep 1000 & echo $! >{folder}/child; exec sleep 1000")
    ferry = app(program=program)
    child = int(wait_until(lambda: (folder / "child").exists() and (folder / "child").read_text().strip()))
    os.kill(app_pid(ferry), signal.SIGKILL)
    wait_until(lambda: not alive(child))


def test_listening_goes_on_over_a_unix_socket_until_the_end(app, folder):
    ferry = app("-l", f"unix:{folder}/s", listen=False)
    with Client(folder / "s") as c:
        c.begin("/length", 4)
        ferry.process.terminate()

        def is_refused():
            with socket.socket(socket.AF_UNIX) as s:
                return s.connect_ex(str(folder / "s")) != 0
        wait_until(is_refused)
        c.send("1234")
        assert c.response().text == "4"
    assert ferry.process.wait(20) == 0
    assert not (folder / "s").exists()
