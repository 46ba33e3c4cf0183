# SPDX-License-Identifier: MIT
"""The command line of ferry: what each option does, seen from outside, and what is said when it cannot be done."""
import ctypes
import errno
import fcntl
import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest
from conftest import BUILD, IO, Client, have, needs_php_cgi, wait_until

FERRY = str(BUILD / "ferry")
APP = pathlib.Path(__file__).with_name("little_app.py")
NOBODY = 65534
OPTIONS = ("--listen --app --spawn --script --index --server-name --php --threads --io --multiplex --access-log --max-body "
           "--max-head --print-config --verbose --quiet --help").split()


def run(*args, **kw):
    """ferry, to its end."""
    return subprocess.run([FERRY, *map(str, args)], **{"stdin": subprocess.DEVNULL, "capture_output": True, "text": True,
                                                       "timeout": 20, **kw})


def fails(*args, **kw):
    """What it says about why it cannot start: one line."""
    p = run("serve", *args, **kw)
    assert p.returncode == 1, p
    assert p.stdout == ""
    assert re.fullmatch(r"ferry: [^\n]+\n", p.stderr), p.stderr
    return p.stderr[len("ferry: "):-1]


def params(r):
    return json.loads(r.body)


@pytest.fixture
def app(serve, folder):
    """app(*args) starts ferry with the little application behind it, a copy that every user may run."""
    return lambda *args, **kw: serve("--spawn", shutil.copy(APP, folder / "little_app"), *args, **kw)


# -- what it says of itself --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("args", [["help"], ["--help"], ["-h"], ["help", "help"]])
def test_help_lists_the_commands(args):
    p = run(*args)
    assert (p.returncode, p.stderr) == (0, "")
    for word in ("usage: ferry", "serve", "help", "version"):
        assert word in p.stdout


@pytest.mark.parametrize("args", [["help", "serve"], ["serve", "--help"], ["serve", "-h"], ["serve", "-q", ".", "--help"]])
def test_help_of_serve_lists_its_options(args):
    p = run(*args)
    assert (p.returncode, p.stderr) == (0, "")
    assert "usage: ferry serve [DIR]" in p.stdout
    for option in OPTIONS:
        assert f" {option}" in p.stdout


@pytest.mark.parametrize("arg", ["version", "--version", "-V"])
def test_version(arg):
    p = run(arg)
    assert (p.returncode, p.stderr) == (0, "")
    assert re.fullmatch(r"ferry \d+\.\d+\.\d+\n", p.stdout)


@pytest.mark.parametrize("args", [["help"], ["version"], ["help", "serve"]])
def test_what_cannot_be_written_is_a_failure(args):
    with open("/dev/full", "w") as full:
        p = run(*args, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert p.returncode == 1
    assert "No space left" in p.stderr


@pytest.mark.parametrize("args, word", [
    ([], "usage: ferry"), (["sevre"], "'sevre'"), (["help", "sevre"], "'sevre'"), (["serve", "--colour"], "--colour"),
    (["serve", "-l"], "argument"), (["serve", "-x"], "'x'"), (["serve", "--index", ".."], "--index"),
    (["serve", "--server-name", ""], "--server-name"), (["serve", "--threads", "65"], "1 to 64"),
    (["serve", "-l", "localhost"], "--listen localhost"), (["serve", "-l", "unix:" + "x" * 108], "107 bytes"),
    (["serve", "-a", "fd:0"], "--app fd:0"), (["serve", "-a", ":9", "--spawn", "x"], "--app"),
    (["serve", "-a", ":9", "--php", "php-cgi"], "--php"), (["serve", "--max-head", "0"], "--max-head"),
    (["serve", "--max-body", "1T"], "--max-body"), (["serve"] + ["-l", "127.0.0.1:0"] * 17, "16 addresses")])
def test_a_wrong_command_line_is_64_and_says_what(args, word):
    p = run(*args)
    assert p.returncode == 64
    assert p.stdout == ""
    assert word in p.stderr


# -- where it listens --------------------------------------------------------------------------------------------------

class Net:
    """A network of its own: ports 8080 to 8089 are nobody else's there."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.fd = None

    def up(self):
        ours = os.readlink("/proc/self/ns/net")
        try:
            wait_until(lambda: self.holder.poll() is not None or os.readlink(f"/proc/{self.holder.pid}/ns/net") != ours, 5)
            self.fd = os.open(f"/proc/{self.holder.pid}/ns/net", os.O_RDONLY)
            self.do(self.raise_lo)
            return True
        except OSError:
            return False

    @staticmethod
    def raise_lo():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP

    def do(self, what):
        """what(), in there: sockets made and programs started stay in it."""
        result = []

        def enter():
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(self.fd, 0x40000000) != 0:
                result.append(OSError(ctypes.get_errno(), "setns"))
                return
            try:
                result.append(what())
            except BaseException as e:  # told to the one who waits
                result.append(e)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if isinstance(result[0], BaseException):
            raise result[0]
        return result[0]

    def listen(self, address, share=False):
        def it():
            s = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
            if share:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            s.bind(address)
            s.listen()
            return s
        return self.do(it)

    def get(self, port, host):
        def it():
            with Client(port, host=host) as c:
                return c.request("GET", "/").body
        return self.do(it)


@pytest.fixture
def net():
    net = Net()
    up = net.up()
    if up:
        yield net
        os.close(net.fd)
    net.holder.stdin.close()
    net.holder.wait()
    if not up:
        pytest.skip("no network namespaces here")


def test_the_default_is_a_port_from_8080_on_both_loopback_addresses(serve, hello):
    ferry = serve("-a", hello, listen=False)
    assert 8080 <= ferry.port <= 8089
    assert ferry.out == f"http://localhost:{ferry.port}/\n"
    for host in ("127.0.0.1", "::1"):
        with ferry.client(host=host) as c:
            assert c.request("GET", "/").body == b"hello, ferry"


@pytest.mark.parametrize("threads", [1, 2])
def test_a_busy_default_port_makes_it_the_next_one(serve, hello, net, threads):
    busy = [net.listen(("::1", 8080)), net.listen(("127.0.0.1", 8081), share=True), net.listen(("0.0.0.0", 8082))]
    ferry = net.do(lambda: serve("-a", hello, "--threads", threads, listen=False))
    assert ferry.port == 8083
    for host in ("127.0.0.1", "::1"):
        assert net.get(8083, host) == b"hello, ferry"
    with pytest.raises(ConnectionRefusedError):  # what it tried before is free again
        net.get(8080, "127.0.0.1")
    for s in busy:
        s.close()


def test_all_default_ports_busy_is_an_error(hello, net):
    busy = [net.listen(("127.0.0.1", port)) for port in range(8080, 8090)]
    assert "8080 to 8089" in net.do(lambda: fails("-a", hello))
    for s in busy:
        s.close()


def test_several_that_start_at_once_get_a_port_each(folder, hello, net):
    started = []

    def start(i):
        with open(folder / f"out{i}", "wb") as out:
            started.append(subprocess.Popen([FERRY, "serve", "-q", "--threads", "2", "-a", hello], stdout=out,
                                            stdin=subprocess.DEVNULL))

    for i in range(8):
        net.do(lambda: start(i))
    outs = [wait_until(lambda: (folder / f"out{i}").read_text()) for i in range(8)]
    for p in started:
        p.terminate()
    assert [p.wait(10) for p in started] == [0] * 8
    assert len(set(outs)) == 8, outs


def test_without_ipv6_there_is_ipv4(serve, hello, net):
    net.do(lambda: pathlib.Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1"))
    ferry = net.do(lambda: serve("-a", hello, listen=False))
    assert ferry.port == 8080
    assert net.get(8080, "127.0.0.1") == b"hello, ferry"


def test_a_low_port_is_refused_with_a_hint(hello, net):
    why = net.do(lambda: fails("-l", "127.0.0.1:80", "-a", hello, user=NOBODY, group=NOBODY, extra_groups=[]))
    assert "127.0.0.1:80" in why and "ports below 1024" in why


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_asked_for_and_busy_is_an_error(hello, threads, share, host):
    with socket.socket() as s:
        if share:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind((host, 0))
        s.listen()
        address = f"127.0.0.1:{s.getsockname()[1]}"
        assert f"cannot listen on {address}: another program" in fails("-l", address, "-a", hello, "--threads", threads)


def test_an_address_of_another_machine_is_an_error(hello):
    assert "192.0.2.1:8080: this machine does not have" in fails("-l", "192.0.2.1:8080", "-a", hello)


def listening(ferry):
    return re.findall(r"listening on (.*)", ferry.err)


def test_several_listeners(serve, hello, folder):
    ferry = serve("-l", f"unix:{folder}/a.sock", "-l", "[::1]:0", "-l", ":0", "-v", "-a", hello, listen=False)
    unix, v6, v4 = listening(ferry)
    assert unix == f"unix:{folder}/a.sock"
    assert re.fullmatch(r"\[::1\]:\d+", v6) and re.fullmatch(r"0\.0\.0\.0:\d+", v4)
    assert ferry.out == f"http://{v6}/\n"  # the first that a browser can open; localhost may mean IPv4 alone
    for port, host in ((f"{folder}/a.sock", None), (int(v6[6:]), "::1"), (int(v4[8:]), "127.0.0.1")):
        with Client(port, host=host) as c:
            assert c.request("GET", "/").body == b"hello, ferry"


@pytest.mark.parametrize("threads", [1, 3])
def test_a_unix_socket(app, folder, threads):
    path = folder / "with space.sock"
    ferry = app("-l", path, "--threads", threads, listen=False)
    assert ferry.out == f"unix:{path}\n"
    assert path.stat().st_mode & 0o777 == 0o666
    clients = [Client(path) for _ in range(20)]
    for c in clients:
        assert c.request("GET", "/params").status == 200
    with Client(path) as c:
        got = params(c.request("GET", "/params", host="unix.example"))
        assert (got["SERVER_NAME"], got["REMOTE_ADDR"]) == ("unix.example", "")
        assert c.request("POST", "/length", body=b"x" * 100_000).text == "100000"
    for c in clients:
        c.close()
    assert ferry.stop() == 0
    assert not path.exists()


def test_a_unix_socket_that_nobody_answers_on_is_replaced(serve, hello, folder):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(folder / "stale"))
        s.listen()
    serve("-l", f"unix:{folder}/stale", "-a", hello, listen=False)
    with Client(folder / "stale") as c:
        assert c.request("GET", "/").status == 200


def test_a_unix_socket_of_somebody_else_is_left_alone(serve, hello, folder):
    ferry = serve("-l", f"unix:{folder}/live", "-a", hello, listen=False)
    assert f"unix:{folder}/live: another program" in fails("-l", f"unix:{folder}/live", "-a", hello)
    with Client(folder / "live") as c:
        assert c.request("GET", "/").status == 200
    # Whoever took the path over keeps it when the first one ends.
    (folder / "live").unlink()
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(folder / "live"))
        s.listen()
        assert ferry.stop() == 0
        assert (folder / "live").exists()


def test_a_file_is_no_unix_socket(hello, folder):
    (folder / "file").write_text("precious")
    assert "a file that is no socket" in fails("-l", f"unix:{folder}/file", "-a", hello)
    assert (folder / "file").read_text() == "precious"
    assert "No such file or directory" in fails("-l", f"unix:{folder}/missing/sock", "-a", hello)


def test_a_failed_start_leaves_no_socket(hello, folder):
    fails("-l", f"unix:{folder}/a", "-l", "192.0.2.1:8080", "-a", hello)
    fails("-l", f"unix:{folder}/a", "--spawn", "/nonexistent")
    fails("-l", f"unix:{folder}/a", "-a", hello, "--access-log", folder)
    assert not (folder / "a").exists()


def test_an_inherited_listener(serve, hello):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        ferry = serve("-l", f"fd:{s.fileno()}", "-a", hello, listen=False, fds=[s.fileno()])
        assert ferry.out == f"http://localhost:{s.getsockname()[1]}/\n"
        assert ferry.get("/").status == 200
        assert ferry.stop() == 0
        with socket.create_connection(s.getsockname()):  # it is still open here
            pass


def test_a_descriptor_that_does_not_listen_is_an_error(hello):
    assert "fd:99: it is not open" in fails("-l", "fd:99", "-a", hello)
    # Not even when a listener of its own has just that number.
    assert "it is not open" in fails("-l", "127.0.0.1:0", "-l", "127.0.0.1:0", "-l", "fd:6", "-a", hello)
    with socket.socket() as s:
        assert "does not listen" in fails("-l", f"fd:{s.fileno()}", "-a", hello, pass_fds=[s.fileno()])


# -- what it serves ----------------------------------------------------------------------------------------------------

def test_the_current_directory_is_the_default(serve, folder):
    (folder / "cwd").mkdir()
    (folder / "cwd" / "page.html").write_text("here")
    assert serve(cwd=folder / "cwd").get("/page.html").text == "here"


@pytest.mark.parametrize("name", ["public", "web", "docroot", "htdocs"])
def test_a_public_folder_is_found_by_its_front_controller(app, folder, name):
    (folder / "site" / name).mkdir(parents=True)
    (folder / "site" / "file.txt").write_text("outside")
    (folder / "site" / name / "file.txt").write_text("inside")
    (folder / "site" / name / "other.php").write_text("")
    assert app(folder / "site").get("/file.txt").text == "outside"
    (folder / "site" / name / "index.php").write_text("")
    ferry = app(folder / "site")
    assert ferry.get("/file.txt").text == "inside"
    assert params(ferry.get("/params"))["DOCUMENT_ROOT"] == str(folder / "site" / name)
    (folder / "site" / "index.php").write_text("")
    assert app(folder / "site").get("/file.txt").text == "outside"
    # --index says what a front controller is called.
    (folder / "site" / name / "app.php").write_text("")
    assert app(folder / "site", "--index", "app.php").get("/file.txt").text == "inside"


def test_index_names_the_front_controller(app, folder):
    (folder / "site").mkdir()
    for name in ("index.php", "app.php"):
        (folder / "site" / name).write_text("")
    assert params(app(folder / "site").get("/params"))["SCRIPT_NAME"] == "/index.php"
    assert params(app(folder / "site", "--index", "app.php").get("/params"))["SCRIPT_NAME"] == "/app.php"


def test_script_runs_for_every_request(app, folder):
    (folder / "app").mkdir()
    (folder / "app" / "run.php").write_text("")
    (folder / "app" / "page.html").write_text("a page")
    for script in ("app/run.php", folder / "app" / "run.php", "app/../app/run.php"):
        ferry = app("--script", script, cwd=folder)
        assert params(ferry.get("/params"))["SCRIPT_FILENAME"] == str(folder / "app" / "run.php")
    ferry = app("--script", "app/run.php", folder / "app", cwd=folder)
    assert ferry.get("/page.html").status == 200
    assert ferry.get("/page.html").text == ""  # not the file: the script


def test_a_script_that_is_not_there(app, folder):
    assert "cannot run nope.php: No such file" in fails("--script", "nope.php", "--spawn", APP)
    assert f"cannot run {folder}: Is a directory" in fails("--script", folder, "--spawn", APP)


def test_a_script_where_the_application_is(serve, hello):
    """An application elsewhere has files that are not here; a relative name would mean nothing to it."""
    assert serve("--script", "/srv/there/run.php", "-a", hello).get("/").status == 200
    assert "cannot run there/run.php" in fails("--script", "there/run.php", "-a", hello)


def test_server_name(app):
    assert params(app().get("/params", host="a.example:99"))["SERVER_NAME"] == "a.example"
    assert params(app("--server-name", "b.example").get("/params", host="a.example"))["SERVER_NAME"] == "b.example"


def test_a_directory_that_cannot_be_served(folder):
    (folder / "file").write_text("")
    (folder / "shut").mkdir(mode=0o700)
    for path, why in ((folder / "no", "No such file"), (folder / "file", "Not a directory"), ("", "No such file"),
                      (folder / "a\nb\x1b[2J", "No such file"), ("x" * 300, "File name too long")):
        assert why in fails(path, "-l", "127.0.0.1:0")
    if os.geteuid() == 0:
        assert f"cannot serve {folder}/shut: Permission denied" in fails(
            folder / "shut", "-l", "127.0.0.1:0", user=NOBODY, group=NOBODY, extra_groups=[])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_it_runs_for_any_user(app, folder):
    (folder / "site").mkdir()
    (folder / "site" / "index.php").write_text("")
    (folder / "site" / "page.html").write_text("a page")
    ferry = app(folder / "site", user=NOBODY)
    assert ferry.get("/page.html").text == "a page"
    assert ferry.get("/params").status == 200


@pytest.mark.parametrize("name", ["with space", "new\nline", "100%41", "ünï", "deep"])
def test_any_path_can_be_served(app, folder, name):
    site = folder / name
    site.mkdir()
    if name == "deep":
        before = os.getcwd()
        os.chdir(site)
        try:
            for _ in range(14):  # about 3000 bytes
                os.mkdir("d" * 210)
                os.chdir("d" * 210)
            site = pathlib.Path(os.getcwd())
        finally:
            os.chdir(before)
    (site / "index.php").write_text("")
    (site / "page.html").write_text("a page")
    ferry = app(site)
    assert ferry.get("/page.html").text == "a page"
    assert params(ferry.get("/params"))["SCRIPT_FILENAME"].encode("latin-1").decode() == f"{site}/index.php"
    assert ferry.out.count("\n") == 1


def test_a_huge_directory_costs_no_time(serve, folder):
    site = folder / "site"
    site.mkdir()
    for i in range(100_000):
        path = f"{site}/f{i}"
        if i % 20_000:
            os.link(first, path)  # quicker than a file of its own
        else:
            first = path
            (site / f"f{i}").write_text("many")
    begin = time.monotonic()
    ferry = serve(site)
    assert time.monotonic() - begin < 5
    assert ferry.get("/f99999").text == "many"
    ferry.stop()
    shutil.rmtree(site)


@needs_php_cgi
def test_scripts_are_found_in_a_huge_directory(serve, folder):
    site = folder / "site"
    site.mkdir()
    for i in range(6000):
        (site / f"f{i}").touch()
    (site / "index.php").write_text("<?php echo 'run';")
    assert serve(site, "--php", "php-cgi").get("/").text == "run"
    (site / "index.php").unlink()
    (site / "zzz.php").write_text("<?php echo 'run';")
    assert serve(site).get("/zzz.php").text == "run"


# -- limits ------------------------------------------------------------------------------------------------------------

def head_of(n):
    start = "GET /length HTTP/1.1\r\nHost: x\r\nX-Fill: "
    return start + "x" * (n - len(start) - 4) + "\r\n\r\n"


@pytest.mark.parametrize("option, limit", [("1000", 1000), ("2k", 2048), (None, 65536)])
def test_max_head(app, option, limit):
    ferry = app(*(["--max-head", option] if option else []))
    for n, status in ((limit, 200), (limit + 1, 431)):
        with ferry.client() as c:
            c.send(head_of(n))
            assert c.response().status == status


@pytest.mark.parametrize("option, limit", [("1000", 1000), ("1M", 1 << 20)])
def test_max_body(app, option, limit):
    ferry = app("--max-body", option)
    for n, status in ((limit, 200), (limit + 1, 413)):
        assert ferry.post("/length", b"x" * n).status == status
        with ferry.client() as c:
            c.send("POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            c.send(b"%x\r\n" % n + b"x" * n + b"\r\n0\r\n\r\n")
            assert c.response().status == status


# -- what it tells -----------------------------------------------------------------------------------------------------

def test_the_access_log_goes_where_it_should(app, folder):
    """Also: the ready line is all there is on stdout."""
    line = re.compile(r'127\.0\.0\.1 - - \[.*\] "GET /length HTTP/1\.1" 200 1 "-" "-" [\d.]+ [\d.]+ -\n')
    log = folder / "access.log"
    for args, in_log, in_err in ((["--access-log", log], 1, 0), (["--access-log", "-"], 0, 1), ([], 0, 1),
                                 (["--access-log", "off"], 0, 0), (["-q"], 0, 0), (["-q", "--access-log", log], 1, 0),
                                 (["--access-log", "access.log"], 1, 0)):
        log.write_text("")
        ferry = app(*args, cwd=folder)
        assert ferry.get("/length").status == 200
        assert ferry.stop() == 0
        assert len(line.findall(log.read_text())) == in_log, args
        assert len(line.findall(ferry.err)) == in_err, args
        assert ferry.out == f"http://localhost:{ferry.port}/\n"
        if "-q" in args:
            assert ferry.err == ""


def test_an_access_log_that_cannot_be_written_is_named(hello, folder):
    assert f"access log {folder}/no/log: No such file" in fails("-l", "127.0.0.1:0", "-a", hello, "--access-log",
                                                                folder / "no" / "log")


def test_lines_that_a_full_device_does_not_take_are_told_once(serve, hello):
    """And how many, at the end: all of them, for no request of these is in the log."""
    ferry = serve("-a", hello, "--access-log", "/dev/full", "--threads", 1)
    with ferry.client() as c:
        for i in range(600):
            assert c.request("GET", f"/{i}").status == 200
    said = "lines of the access log /dev/full are lost: No space left on device"
    wait_until(lambda: said in ferry.err)
    assert ferry.stop() == 0
    assert ferry.err.count(said) == 1
    assert "at the end 600 lines of the access log /dev/full were lost: No space left on device" in ferry.err
    assert ferry.err.count("/dev/full") == 2


def test_lines_that_a_reader_leaves_are_told_with_their_number_when_they_go_again(serve, hello, folder):
    log = folder / "log.pipe"
    os.mkfifo(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    ferry = serve("-a", hello, "--access-log", log, "--threads", 1)
    os.close(reader)
    with ferry.client() as c:
        for i in range(600):
            assert c.request("GET", f"/{i}").status == 200
    wait_until(lambda: f"lines of the access log {log} are lost: Broken pipe" in ferry.err)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    # Without another request: it tries again by itself.
    found = wait_until(lambda: re.search(f"access log {log} are written again: (\\d+) were lost", ferry.err), 60)
    lines = wait_until(lambda: os.read(reader, 1 << 20)).count(b"\n")
    os.close(reader)
    assert lines + int(found[1]) == 600 and lines > 0


def test_sigusr1_opens_the_access_log_anew_and_loses_no_line(serve, hello, folder):
    log = folder / "access.log"
    ferry = serve("-a", hello, "--access-log", log, "--threads", 2)
    over, counts = threading.Event(), [0] * 4

    def load(i):
        with ferry.client() as c:
            while not over.is_set():
                assert c.request("GET", f"/{i}").status == 200
                counts[i] += 1

    threads = [threading.Thread(target=load, args=[i]) for i in range(4)]
    for t in threads:
        t.start()
    for n in range(5):
        time.sleep(0.1)
        log.rename(folder / f"access.log.{n}")
        ferry.process.send_signal(10)
        wait_until(log.exists)
    over.set()
    for t in threads:
        t.join()
    # A log that cannot be opened anew: the old one stays.
    log.rename(folder / "access.log.5")
    log.mkdir()
    ferry.process.send_signal(10)
    wait_until(lambda: f"the old one stays: {log}: Is a directory" in ferry.err)
    assert ferry.get("/last").status == 200
    assert ferry.stop() == 0
    lines = "".join((folder / f"access.log.{n}").read_text() for n in range(6)).splitlines()
    assert len(lines) == sum(counts) + 1
    for i, n in enumerate(counts):
        assert sum(f'"GET /{i} HTTP' in line for line in lines) == n
    assert all(line.endswith(" -") for line in lines)


# Call 425 is io_uring_setup; the filter lets everything pass but that, which gets ENOSYS.
WITHOUT_URING = """
import ctypes, errno, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
code = b"".join(struct.pack("HBBI", *i) for i in [
    (0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050000 | errno.ENOSYS), (0x06, 0, 0, 0x7FFF0000)])
class Prog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(Prog(len(code) // 8, code)), 0, 0):
    sys.exit("no seccomp here")
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_verbose_tells_the_back_end_and_why(serve, hello):
    without = [sys.executable, "-c", WITHOUT_URING]
    if subprocess.run([*without, FERRY, "version"], capture_output=True).returncode:
        pytest.skip("no seccomp here")
    ferry = serve("-v", "--threads", 2, "-a", hello, io="epoll")
    assert "ferry: 2 threads on epoll\n" in ferry.err
    ferry = serve("-v", "--threads", 1, "-a", hello, io="auto", prefix=without)
    assert re.search(r"ferry: 1 thread on epoll: the kernel refuses io_uring: (Function not impl.*|ENOSYS.*)\n", ferry.err)
    assert ferry.get("/").status == 200
    assert "epoll" not in serve("-a", hello, io="auto", prefix=without).err  # nobody asked
    p = subprocess.run([*without, FERRY, "serve", "-l", "127.0.0.1:0", "-a", hello, "--io", "uring"], capture_output=True,
                       text=True, timeout=20)
    assert p.returncode == 1
    assert re.fullmatch(r"ferry: .*io_uring; try --io epoll: .*\n", p.stderr)


def test_io_uring_is_taken_where_it_works(serve, hello):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(425, 0, 0)
    if ctypes.get_errno() in (errno.EPERM, errno.ENOSYS):
        pytest.skip("io_uring is refused here")
    assert re.search(r"threads? on io_uring\n", serve("-v", "-a", hello, io=None).err)


def test_threads(serve, hello):
    def tasks(n):
        ferry = serve("-v", "-a", hello, *(["--threads", n] if n else []))
        assert f"ferry: {n or len(os.sched_getaffinity(0))} thread" in ferry.err
        clients = [ferry.client() for _ in range(20)]
        for c in clients:
            assert c.request("GET", "/").status == 200
            c.close()
        return sum(not (t / "comm").read_text().startswith("iou-")  # the kernel's own
                   for t in pathlib.Path(f"/proc/{ferry.worker()}/task").iterdir())
    one = tasks(1)  # and the main one; a sanitizer has others
    assert tasks(3) == one + 2
    assert tasks(None) == one + len(os.sched_getaffinity(0)) - 1


@pytest.mark.skipif(not have("taskset"), reason="taskset is not installed")
def test_there_is_a_thread_for_each_processor_that_it_may_use(serve, hello):
    cpu = min(os.sched_getaffinity(0))
    assert "ferry: 1 thread on" in serve("-v", "-a", hello, prefix=["taskset", "-c", str(cpu)]).err


# -- without stdout or stderr ------------------------------------------------------------------------------------------

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.parametrize("how", ["stdout", "stderr", "all", "pipe"])
def test_it_serves_without_its_outputs(folder, hello, how):
    """And what is written to them goes nowhere else, above all to no connection."""
    port = free_port()
    argv = [FERRY, "serve", "-v", "-l", f"127.0.0.1:{port}", "-a", hello, "--io", IO, "--threads", "1"]
    closed = {"stdout": [1], "stderr": [2], "all": [0, 1, 2], "pipe": []}[how]
    reader, writer = os.pipe()
    process = subprocess.Popen(argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer,
                               preexec_fn=lambda: [os.close(fd) for fd in closed])
    os.close(reader)
    os.close(writer)

    def answered():
        try:
            with Client(port) as c:
                for _ in range(3):
                    r = c.request("GET", "/")
                    assert (r.status, r.body) == (200, b"hello, ferry")
                c.socket.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    c.socket.recv(1)
                return True
        except ConnectionRefusedError:
            return False
    try:
        wait_until(answered)
        for fd in closed:
            assert os.readlink(f"/proc/{process.pid}/fd/{fd}") == "/dev/null"
    finally:
        process.terminate()
        assert process.wait(10) == 0
