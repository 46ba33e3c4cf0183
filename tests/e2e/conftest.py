# SPDX-License-Identifier: MIT
"""What the end-to-end tests share: a running `ferry serve`, and a client that sends and sees raw bytes.

FERRY_BUILD names the folder build/ferry lies in, FERRY_IO the value for --io.
"""
import atexit
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest
from gateways import listens_at

# A shell that starts the tests in the background has these ignored, and what is ignored is inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("FERRY_BUILD", "build")
IO = os.environ.get("FERRY_IO", "auto")


def for_every_user(build):
    """The programs where other users may run them too: some tests do, and a checkout may lie in a folder that is shut."""
    if os.geteuid() != 0 or all(p.stat().st_mode & 0o001 for p in build.resolve().parents):
        return build
    copy = pathlib.Path(tempfile.mkdtemp(prefix="ferry-build-"))
    copy.chmod(0o755)
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    (copy / "examples").mkdir()
    programs = [p for p in (build / "ferry", build / "ferry-mail") if p.exists()]
    for program in (*programs, *(p for p in (build / "examples").iterdir() if p.is_file())):
        shutil.copy(program, copy / program.relative_to(build))
    return copy


BUILD = for_every_user(BUILD)


def wait_until(what, seconds=30, step=0.02):
    """The first true value of what(), or an assertion error when there is none in time."""
    end = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(step)


def has_read(port):
    """Has whoever listens on this TCP port accepted all connections, and read all that was sent over them?"""
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, _, state, queues = line.split()[1:5]
        if local.endswith(f":{port:04X}") and state in ("01", "08", "0A") and int(queues.split(":")[1], 16):
            return False
    return True


class Response:
    def __init__(self, status, reason, fields, body, complete):
        self.status = status
        self.reason = reason
        self.fields = fields  # [(name, value)], in order
        self.body = body
        self.complete = complete  # ended as its framing says, not cut

    def __getitem__(self, name):
        values = [v for n, v in self.fields if n.lower() == name.lower()]
        return ", ".join(values) if values else None

    @property
    def text(self):
        return self.body.decode()


class Client:
    """One HTTP connection, by hand."""

    def __init__(self, port, host="127.0.0.1", timeout=20):
        """To a TCP port, or to the path of a unix socket."""
        if isinstance(port, int):
            self.socket = socket.create_connection((host, port), timeout)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(str(port))
        self.buffer = b""

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def request(self, method, target, fields=(), body=b"", host="localhost"):
        head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n"
        head += "".join(f"{n}: {v}\r\n" for n, v in (fields.items() if isinstance(fields, dict) else fields))
        if body or method in ("POST", "PUT"):
            head += f"Content-Length: {len(body)}\r\n"
        self.send(head.encode("latin-1") + b"\r\n" + body)
        return self.response(head_only=method == "HEAD")

    def begin(self, target, length):
        """A request whose head has been read for certain, and whose body is waited for."""
        self.send(f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n")
        assert (self.line(), self.line()) == (b"HTTP/1.1 100 Continue", b"")

    def fill(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        self.buffer += data
        return bool(data)

    def line(self):
        while b"\r\n" not in self.buffer:
            if not self.fill():
                return None
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def take(self, n):
        parts, have = [self.buffer[:n]], len(self.buffer[:n])
        self.buffer = self.buffer[n:]
        while have < n and self.fill():
            parts.append(self.buffer[:n - have])
            self.buffer = self.buffer[n - have:]
            have += len(parts[-1])
        return b"".join(parts)

    def head(self):
        """(status, reason, fields), or None when the connection closes first."""
        first = self.line()
        if first is None:
            return None
        m = re.fullmatch(rb"HTTP/1\.1 (\d{3}) ?(.*)", first)
        assert m, f"not a status line: {first!r}"
        fields = []
        while True:
            line = self.line()
            assert line is not None, "cut in the middle of a head"
            if not line:
                return int(m.group(1)), m.group(2).decode(), fields
            name, value = line.decode("latin-1").split(":", 1)
            fields.append((name, value.strip()))

    def response(self, head_only=False, interim=None):
        while True:
            head = self.head()
            if head is None:
                return None
            if head[0] >= 200:
                break
            if interim is not None:
                interim.append(head)
        r = Response(*head, b"", True)
        if head_only or r.status in (204, 304):
            return r
        if (r["Transfer-Encoding"] or "") == "chunked":
            r.body, r.complete = self.chunks()
        elif r["Content-Length"] is not None:
            n = int(r["Content-Length"])
            r.body = self.take(n)
            r.complete = len(r.body) == n
        else:
            while self.fill():
                pass
            r.body, self.buffer = self.buffer, b""
        return r

    def chunks(self):
        """The content of a chunked body, and whether it is whole."""
        parts = []
        while True:
            size = self.line()
            if size is None:
                return b"".join(parts), False
            n = int(size.split(b";")[0], 16)
            parts.append(self.take(n))
            if len(self.take(2)) < 2:
                return b"".join(parts), False
            if n == 0:
                return b"".join(parts), True

    def closed(self, seconds=5):
        """Does the other side close, without another byte, in time?"""
        self.socket.settimeout(seconds)
        try:
            return not self.buffer and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False


def alive(pid):
    """Does it still run? A zombie does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def open_files(pid):
    """What each of its descriptors is, by its number; but for those that it closes meanwhile."""
    files = {}
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            files[int(fd.name)] = os.readlink(fd)
    return files


def children_of(pid):
    """Those that it has started itself, or been given."""
    pids = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            pids += [int(child) for child in task.read_text().split()]
        except OSError:
            pass
    return pids


def name_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None


class Ferry:
    """A running `ferry serve` with its output in files."""

    def __init__(self, folder, args, env=None, listen=True, io=IO, cwd=None, user=None, prefix=(), fds=()):
        self.folder = folder
        self.out_path = folder / "ferry.out"
        self.err_path = folder / "ferry.err"
        argv = [*prefix, str(BUILD / "ferry"), "serve"]
        if listen:
            argv += ["-l", "127.0.0.1:0"]
        argv += (["--io", io] if io else []) + [str(a) for a in args]
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(argv, stdout=out, stderr=err, stdin=subprocess.DEVNULL, user=user, group=user,
                                            extra_groups=None if user is None else [], env={**os.environ, **(env or {})},
                                            cwd=cwd or folder, pass_fds=fds)
        self.port = None
        wait_until(lambda: self.out or self.process.poll() is not None, 20)
        m = re.search(r":(\d+)/", self.out)
        if m:
            self.port = int(m.group(1))

    @property
    def out(self):
        return self.out_path.read_text()

    @property
    def err(self):
        return self.err_path.read_text(errors="replace")

    def client(self, **kw):
        return Client(self.port, **kw)

    def get(self, target, fields=(), **kw):
        with self.client() as c:
            return c.request("GET", target, fields, **kw)

    def post(self, target, body, fields=(), **kw):
        with self.client() as c:
            return c.request("POST", target, fields, body, **kw)

    def children(self, pid=None):
        """All processes below it."""
        return [p for child in children_of(pid or self.process.pid) for p in [child] + self.children(child)]

    def master(self):
        """The pid of the process that starts and watches the others: the first one, or the one below two guards."""
        for guard in children_of(self.process.pid):
            if name_of(guard) == "guard":
                for pid in children_of(guard):
                    return pid
        return self.process.pid

    def worker(self):
        """The pid of the process that serves."""
        for pid in children_of(self.master()):
            try:
                if pathlib.Path(f"/proc/{pid}/exe").resolve() == (BUILD / "ferry").resolve():
                    return pid
            except OSError:
                pass
        raise AssertionError("no worker runs")

    def stop(self, sig=signal.SIGTERM, seconds=20):
        children = self.children()
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            for pid in [self.process.pid] + children:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            raise


@pytest.fixture
def folder():
    """A short path of our own: unix sockets have room for about a hundred bytes."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="ferry-e2e-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def serve(folder):
    """serve(*args) starts `ferry serve` on a free port; all are stopped at the end, and must end well."""
    running = []

    def start(*args, **kw):
        at = folder / f"run{len(running)}"
        at.mkdir()
        ferry = Ferry(at, args, **kw)
        running.append(ferry)
        return ferry

    yield start
    for ferry in running:
        if ferry.process.poll() is None:
            assert ferry.stop() == 0, ferry.err
        for word in ("AddressSanitizer", "runtime error:", "ThreadSanitizer", "this must hold and does not",
                     "LeakSanitizer"):
            assert word not in ferry.err, ferry.err


@pytest.fixture
def hello(folder):
    """The address of a running examples/hello."""
    path = folder / "hello.sock"
    process = subprocess.Popen([str(BUILD / "examples" / "hello"), f"unix:{path}"], stdin=subprocess.DEVNULL)
    wait_until(lambda: listens_at(path))
    yield f"unix:{path}"
    process.terminate()
    assert process.wait(10) == 0


def have(*programs):
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return all(shutil.which(p, path=path) for p in programs)


needs_php_fpm = pytest.mark.skipif(not have("php-fpm8.2") and not have("php-fpm"), reason="php-fpm is not installed")
needs_php_cgi = pytest.mark.skipif(not have("php-cgi"), reason="php-cgi is not installed")
