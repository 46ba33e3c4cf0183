# SPDX-License-Identifier: MIT
"""PHP as processes: started and stopped with ferry, killed, busy, run by somebody else, not there at all."""
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest
from conftest import BUILD, Client, alive, children_of, has_read, open_files, wait_until
from phpsite import PHP, each_php, in_threads, make_site, need, pattern, php_fpm, serving


def php_of(ferry):
    """The process that ferry has started as PHP."""
    worker = ferry.worker()
    mine = [p for p in children_of(ferry.master()) if p != worker]
    return mine[0] if mine else None


def socket_path(pid):
    """The path of the unix socket that a process listens on."""
    inodes = {name[8:-1] for name in open_files(pid).values() if name.startswith("socket:")}
    for line in pathlib.Path("/proc/net/unix").read_text().splitlines()[1:]:
        field = line.split()
        if field[6] in inodes and len(field) > 7 and field[3] == "00010000":
            return pathlib.Path(field[7])
    raise AssertionError("it listens on nothing")


# -- start and stop ----------------------------------------------------------------------------------------------------

@each_php
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_php_ends_with_ferry_and_leaves_nothing(folder, php, sig):
    with serving(folder / "run", make_site(folder / "site"), "--php", need(php)) as ferry:
        assert ferry.get("/exit.php").status == 200
        path, pids = socket_path(php_of(ferry)), ferry.children()
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o007 == 0
        assert len(pids) > 2
        assert ferry.stop(sig) == 0
        wait_until(lambda: not any(map(alive, pids)), 1)  # those that were killed take a moment to go
        assert not path.parent.exists()


@each_php
def test_php_ends_when_ferry_is_killed(folder, php):
    with serving(folder / "run", make_site(folder / "site"), "--php", need(php)) as ferry:
        assert ferry.get("/exit.php").status == 200
        pids = ferry.children()
        path = socket_path(php_of(ferry))
        ferry.process.kill()
        ferry.process.wait(10)
        wait_until(lambda: not [p for p in pids if alive(p)], 10)
        assert not path.parent.exists()


def test_sigterm_lets_a_script_finish(folder):
    with serving(folder / "run", make_site(folder / "site"), "--php", need("php-fpm")) as ferry, ferry.client() as c:
        c.send("GET /stream.php?n=4&ms=150 HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: has_read(ferry.port))
        ferry.process.terminate()
        r = c.response()
        assert r.complete and r.text == "line 1\nline 2\nline 3\nline 4\n"
        assert c.closed()
        c.close()
        assert ferry.process.wait(10) == 0


# -- killed ------------------------------------------------------------------------------------------------------------

@each_php
def test_php_killed_under_load(folder, php):
    """Every answer is whole, or 502, or visibly cut; and then it goes on."""
    body = b"".join(pattern(60_000))
    with serving(folder / "run", make_site(folder / "site"), "--php", need(php), "--threads", 2) as ferry:
        over, seen = threading.Event(), []

        def load(_):
            while not over.is_set():
                with ferry.client() as c:
                    for _ in range(20):
                        r = c.request("GET", "/bytes.php?n=60000")
                        assert r is not None, "no answer at all"
                        seen.append((r.status, r.complete, r.body == body))
                        if not r.complete or over.is_set():
                            break

        def kill(_):
            time.sleep(0.3)
            for round in range(3):
                master = php_of(ferry)
                assert master, ferry.err
                children = ferry.children(master)
                if round == 1:
                    for pid in children[:len(children) // 2]:  # some workers, not the one above them
                        os.kill(pid, signal.SIGKILL)
                else:
                    os.kill(master, signal.SIGKILL)
                time.sleep(0.5)
                wait_until(lambda: php_of(ferry))
            over.set()

        in_threads(9, lambda i: kill(i) if i == 8 else load(i))
        for status, complete, whole in seen:
            assert (status, whole) == (200, True) if complete and status == 200 else status in (200, 502), status
        assert sum(1 for s in seen if s == (200, True, True)) > 50
        wait_until(lambda: ferry.get("/bytes.php?n=60000").body == body)
        assert re.search(rf"{php}[ .0-9]*: process \d+ was ended by signal 9 \(Killed\); started again", ferry.err)


@each_php
def test_nobody_waits_for_a_connection_that_lies_idle_in_another_thread(folder, php):
    """Bursts take all connections there may be; who comes next, perhaps in the other thread, is served at once."""
    with serving(folder / "run", make_site(folder / "site"), "--php", need(php), "--threads", 2) as ferry:
        for _ in range(60):
            clients = [ferry.client() for _ in range(24)]
            for c in clients:
                c.send("POST /body.php HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
            for c in clients:
                c.send("def")
            for c in clients:
                assert c.response().status == 200
                c.close()
            began = time.monotonic()
            assert ferry.get("/exit.php").status == 200
            assert time.monotonic() - began < 5


@each_php
def test_requests_wait_while_php_is_started_again(folder, php):
    with serving(folder / "run", make_site(folder / "site"), "--php", need(php)) as ferry:
        assert ferry.get("/exit.php").status == 200
        old = php_of(ferry)
        pids = [old] + ferry.children(old)
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: not any(map(alive, pids)))  # its workers are ended too
        for _ in range(5):
            r = ferry.get("/exit.php")
            assert r.status == 200, ferry.err
        assert php_of(ferry) not in (old, None)


def test_php_outlives_the_worker(folder):
    with serving(folder / "run", make_site(folder / "site"), "--php", need("php-fpm")) as ferry:
        php, worker = php_of(ferry), ferry.worker()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: "starting another" in ferry.err)

        def answers():
            try:
                return ferry.get("/exit.php").status == 200
            except (OSError, AttributeError):
                return False
        wait_until(answers)
        assert php_of(ferry) == php


# -- a php-fpm of somebody else's ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("backlog", [511, 1])
def test_64_clients_and_two_threads_share_one_php_process(folder, backlog):
    """No kept connection pins the only process: everybody is served, soon, and nothing fails."""
    root = make_site(folder / "site")
    with php_fpm(folder / "fpm", f"pm.max_children=1 listen.backlog={backlog}") as (_, address), \
            serving(folder / "run", root, "-a", address, "--threads", 2) as ferry:
        slowest = [0] * 64

        def client(i):
            with ferry.client() as c:
                for n in range(8):
                    began = time.monotonic()
                    r = c.request("GET", f"/sleep.php?ms=1&c={i}&n={n}")
                    slowest[i] = max(slowest[i], time.monotonic() - began)
                    assert r is not None and r.status == 200 and r.text.startswith("slept "), (r and r.status, r and r.body)

        in_threads(64, client)
        assert max(slowest) < 10
        # One after the other on new connections, which land in either thread.
        began = time.monotonic()
        for _ in range(30):
            assert ferry.get("/exit.php").status == 200
        assert time.monotonic() - began < 9


def test_a_full_backlog_waits(folder):
    """Where connect says EAGAIN, the request waits, and is served when there is room."""
    root = make_site(folder / "site")
    with php_fpm(folder / "fpm", "pm.max_children=1 listen.backlog=1") as (_, address), \
            serving(folder / "run", root, "-a", address, "--threads", 2) as ferry:
        plugs = []
        with ferry.client() as busy, ferry.client() as waits:
            busy.send("GET /sleep.php?ms=1200 HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.2)
            with pytest.raises(BlockingIOError):
                for _ in range(10):
                    plugs.append(socket.socket(socket.AF_UNIX))
                    plugs[-1].setblocking(False)
                    plugs[-1].connect(address[5:])
            waits.send("POST /body.php HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
            waits.socket.settimeout(0.4)
            with pytest.raises(TimeoutError):
                waits.socket.recv(1, socket.MSG_PEEK)
            waits.socket.settimeout(10)
            for plug in plugs:
                plug.close()
            assert busy.response().status == 200
            r = waits.response()
            assert r.status == 200 and r.text.startswith("POST CONTENT_LENGTH=3 read=3 ")


def test_processes_that_end_after_a_few_requests_fail_nobody(folder):
    """pm.max_requests closes kept connections just when the next request is sent. Once that was seen, requests that
    may not be repeated do not go there."""
    root = make_site(folder / "site")
    with php_fpm(folder / "fpm", "pm.max_children=3 pm.max_requests=4") as (_, address), \
            serving(folder / "run", root, "-a", address, "--threads", 2) as ferry:
        def client(_):
            with ferry.client() as c:
                for method in ["GET"] * 40 + ["POST"] * 80:
                    r = c.request(method, "/exit.php")
                    assert r.status == 200 and r.complete, (method, r.status, r.body)
        in_threads(8, client)


def test_a_client_that_left_frees_the_only_process(folder):
    root = make_site(folder / "site")
    (folder / "notes").mkdir()
    (folder / "notes").chmod(0o777)
    with php_fpm(folder / "fpm") as (_, address), serving(folder / "run", root, "-a", address) as ferry:
        with ferry.client() as c:
            c.send(f"GET /forever.php?note={folder}/notes/n HTTP/1.1\r\nHost: x\r\n\r\n")
            assert c.head()[0] == 200
        began = time.monotonic()
        assert ferry.get("/exit.php").status == 200
        assert time.monotonic() - began < 9
        assert (folder / "notes" / "n").read_text() == "aborted"


@pytest.mark.parametrize("reset", [True, False])
def test_an_upload_that_is_broken_off_frees_the_only_process(folder, reset):
    root = make_site(folder / "site")
    with php_fpm(folder / "fpm") as (_, address), serving(folder / "run", root, "-a", address, "--threads", 2) as ferry:
        with ferry.client() as c:
            c.send(f"POST /body.php HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 30}\r\n\r\n")
            for piece in pattern(4 << 20):
                c.send(piece)
            if reset:
                c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        began = time.monotonic()
        assert ferry.get("/exit.php").status == 200
        assert time.monotonic() - began < 9
        wait_until(lambda: re.search(r'"POST /body\.php HTTP/1\.1" 499 .* client-gone$', ferry.err, re.M))


def test_a_client_that_left_the_queue_is_forgotten(folder):
    root = make_site(folder / "site")
    with php_fpm(folder / "fpm", "access.log=" + str(folder / "fpm" / "access")) as (_, address), \
            serving(folder / "run", root, "-a", address, "--threads", 1) as ferry:
        with ferry.client() as busy:
            busy.send("GET /sleep.php?ms=4000 HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_until(lambda: has_read(ferry.port))
            with ferry.client() as leaves:
                leaves.send("GET /exit.php?left HTTP/1.1\r\nHost: x\r\n\r\n")
                wait_until(lambda: has_read(ferry.port))
                # A reset: a client that only ends its sending may still read.
                leaves.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wait_until(lambda: re.search(r"/exit\.php\?left .* client-gone$", ferry.err, re.M))
            assert busy.response().status == 200
        assert ferry.get("/exit.php?after").status == 200


def test_an_application_that_is_not_there_is_502_until_it_is(folder):
    root = make_site(folder / "site")
    fpm = folder / "fpm"
    fpm.mkdir()
    with serving(folder / "run", root, "-a", f"unix:{fpm}/fpm.sock") as ferry:
        assert ferry.get("/exit.php").status == 502
        wait_until(lambda: re.search(r'"GET /exit\.php HTTP/1\.1" 502 .* app-down$', ferry.err, re.M))
        with php_fpm(fpm) as (process, _):
            assert ferry.get("/exit.php").status == 200
            process.kill()
            process.wait(10)
        assert ferry.get("/exit.php").status in (200, 502)


def test_php_fpm_over_tcp(folder):
    root = make_site(folder / "site")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with php_fpm(folder / "fpm", f"listen=127.0.0.1:{port} pm.max_children=2", ready=("127.0.0.1", port)), \
            serving(folder / "run", root, "-a", f"127.0.0.1:{port}") as ferry:
        assert all(r.status == 200 for r in in_threads(8, lambda _: ferry.get("/exit.php")))
        assert ferry.get("/bytes.php?n=3000000").body == b"".join(pattern(3_000_000))


# -- no PHP --------------------------------------------------------------------------------------------------------------

def without_php():
    """A command in front of others: for them no PHP is installed. None where namespaces are refused."""
    hide = "".join(f"mount --bind /dev/null {os.path.realpath(p)} && " for p in PHP.values() if p)
    argv = ["unshare", "--map-root-user", "--mount", "sh", "-c", hide + 'exec "$@"', "sh"]
    try:
        ok = subprocess.run(argv + ["true"], capture_output=True, timeout=20).returncode == 0
    except OSError:
        ok = False
    return argv if ok else None


def run_without_php(folder, *args):
    argv = without_php()
    if not argv:
        pytest.skip("no mount namespaces here")
    with open(folder / "out", "wb") as out, open(folder / "err", "wb") as err:
        return subprocess.Popen(argv + [str(BUILD / "ferry"), "serve", "-l", "127.0.0.1:0", *map(str, args)], stdout=out,
                                stderr=err, stdin=subprocess.DEVNULL, cwd=folder)


def test_without_php_files_are_served_and_one_sentence_says_why(folder):
    root = make_site(folder / "site", "exit.php")
    (root / "page.html").write_text("a page")
    process = run_without_php(folder, root)
    try:
        wait_until(lambda: (folder / "out").read_text() or process.poll() is not None)
        port = int(re.search(r":(\d+)/", (folder / "out").read_text())[1])
        with Client(port) as c:
            assert c.request("GET", "/page.html").text == "a page"
            r = c.request("GET", "/exit.php")
            assert r.status == 503 and "<?php" not in r.text
    finally:
        process.terminate()
    assert process.wait(10) == 0
    lines = [line for line in (folder / "err").read_text().splitlines() if "PHP" in line]
    assert len(lines) == 1
    assert "sudo apt install php-fpm" in lines[0]


def test_without_php_a_script_asked_for_is_an_error(folder):
    root = make_site(folder / "site", "exit.php")
    process = run_without_php(folder, "--script", root / "exit.php")
    assert process.wait(10) == 1
    assert "sudo apt install php-fpm" in (folder / "err").read_text()
    assert (folder / "out").read_text() == ""


def test_without_php_and_without_files_there_is_nothing_to_serve(folder):
    process = run_without_php(folder, make_site(folder / "site", "exit.php"))
    assert process.wait(10) == 1
    lines = (folder / "err").read_text().splitlines()
    assert len(lines) == 1 and "sudo apt install php-fpm" in lines[0]
    assert (folder / "out").read_text() == ""


@pytest.mark.parametrize("program, words", [
    ("/nowhere/php-fpm", "/nowhere/php-fpm"), ("/bin/ls", "php-fpm or php-cgi"), ("/bin/true", "PHP")])
def test_a_wrong_php_is_named(folder, program, words):
    p = subprocess.run([BUILD / "ferry", "serve", make_site(folder / "site"), "-l", "127.0.0.1:0", "--php", program],
                       capture_output=True, text=True, timeout=20)
    assert p.returncode == 1 and p.stdout == ""
    assert words in p.stderr
    assert len([line for line in p.stderr.splitlines() if "PHP" in line or program in line]) == 1


def test_a_directory_without_php_starts_none(folder):
    (folder / "site").mkdir()
    (folder / "site" / "index.html").write_text("only files")
    with serving(folder / "run", folder / "site") as ferry:
        assert ferry.get("/").text == "only files"
        assert php_of(ferry) is None
        assert ferry.get("/nothing").status == 404
