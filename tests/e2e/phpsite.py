# SPDX-License-Identifier: MIT
"""What the tests with real PHP share: PHP sites to serve, php-fpm run by the test itself, measuring."""
import contextlib
import glob
import hashlib
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

import pytest
from conftest import BUILD, IO, Ferry, wait_until

SCRIPTS = pathlib.Path(__file__).parent / "php"
MIB = 1 << 20
PROGRAM = (BUILD / "ferry").read_bytes() if (BUILD / "ferry").exists() else b""
SANITIZED = ("address,undefined" if b"__asan_init" in PROGRAM else  # as the compiler's -fsanitize names them
             "thread" if b"__tsan_init" in PROGRAM else None)
NOBODY = 65534


def find(*patterns):
    """The program by the first of these names that exists, or None."""
    for pattern in patterns:
        for folder in ("/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"):
            for path in sorted(glob.glob(f"{folder}/{pattern}"), reverse=True):
                if os.access(path, os.X_OK):
                    return path
    return None


PHP = {"php-fpm": find("php-fpm", "php-fpm[0-9]*"), "php-cgi": find("php-cgi", "php-cgi[0-9]*")}


def need(name):
    if not PHP[name]:
        pytest.skip(f"{name} is not installed")
    return PHP[name]


each_php = pytest.mark.parametrize("php", list(PHP))


@contextlib.contextmanager
def short_folder():
    """A folder that everybody may enter, with a short name: unix sockets have room for about a hundred bytes."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="ferry-e2e-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def make_site(folder, *scripts):
    """A copy of tests/e2e/php, or of some of its scripts, that every user may read."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in ([SCRIPTS / s for s in scripts] if scripts else SCRIPTS.iterdir()):
        target = folder / source.name
        shutil.copyfile(source, target)
        target.chmod(0o644)
    folder.chmod(0o755)
    return folder


def end_well(ferry):
    """Ends a ferry, which must have held and end as it should."""
    if ferry.process.poll() is None:
        assert ferry.stop() == 0, ferry.err
    for word in ("AddressSanitizer", "runtime error:", "ThreadSanitizer", "this must hold and does not", "LeakSanitizer"):
        assert word not in ferry.err, ferry.err


@contextlib.contextmanager
def serving(folder, *args, ends=None, **kw):
    """A ferry, ended well; `ends` is the exit status of one that does not even start."""
    folder.mkdir(exist_ok=True)
    ferry = Ferry(folder, args, **kw)
    try:
        assert ferry.port or ferry.process.wait(10) == ends, ferry.err
        yield ferry
    except BaseException:
        print(ferry.err)
        ferry.stop(signal.SIGKILL)
        raise
    end_well(ferry)


class Site:
    """A site and the ferry that serves it, with its log seen piece by piece."""

    def __init__(self, php, root, ferry, scratch):
        self.php = php  # "php-fpm" or "php-cgi"
        self.root = root
        self.ferry = ferry
        self.scratch = scratch  # a folder that PHP may write to
        self.client, self.get, self.post = ferry.client, ferry.get, ferry.post

    def json(self, *args, **kw):
        import json
        r = self.get(*args, **kw)
        assert r.status == 200 and r.complete, (r.status, r.body)
        return json.loads(r.body)

    @contextlib.contextmanager
    def log(self):
        """A function that returns what was logged since."""
        seen = len(self.ferry.err)
        yield lambda: self.ferry.err[seen:]

    def logged(self, since, pattern, seconds=5):
        """The match of a pattern in what was logged, which may take a moment to come."""
        try:
            return wait_until(lambda: re.search(pattern, since(), re.M), seconds)
        except AssertionError:
            raise AssertionError(f"{pattern!r} is not in the log:\n{since()}") from None


# -- bodies ------------------------------------------------------------------------------------------------------------

PATTERN_BLOCK = b"".join(struct.pack(">I", i * 2654435761 & 0xffffffff) for i in range(4096))


def pattern(n):
    """n bytes in which a missing or doubled piece shows, in pieces."""
    while n > 0:
        yield PATTERN_BLOCK[:n]
        n -= len(PATTERN_BLOCK)


def pattern_sha256(n):
    h = hashlib.sha256()
    for piece in pattern(n):
        h.update(piece)
    return h.hexdigest()


# -- processes ---------------------------------------------------------------------------------------------------------

def memory(pid, what):
    """VmRSS or VmHWM in bytes."""
    return int(re.search(rf"^{what}:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1]) * 1024


@contextlib.contextmanager
def bounded_memory(ferry, mib):
    """The worker's memory must never rise more than so much above what it is now."""
    pid = ferry.worker()
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak becomes what it is now
    before = memory(pid, "VmRSS")
    yield
    risen = memory(pid, "VmHWM") - before
    if not SANITIZED:
        assert risen < mib * MIB, f"memory rose by {risen / MIB:.1f} MiB"


def in_threads(n, work, seconds=60):
    """work(i) for i < n, at the same time; the results in order, or the first exception."""
    results, errors = [None] * n, []
    gate = threading.Barrier(n)

    def run(i):
        try:
            gate.wait()
            results[i] = work(i)
        except BaseException as e:  # noqa: B902  it is raised again below
            errors.append(e)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(n)]
    end = time.monotonic() + seconds
    for t in threads:
        t.start()
    for t in threads:
        t.join(max(0, end - time.monotonic()))
        assert not t.is_alive(), "still running"
    if errors:
        raise errors[0]
    return results


def listens(address):
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as s:
        return s.connect_ex(address) == 0


@contextlib.contextmanager
def php_fpm(folder, pool="", ready=None):
    """A php-fpm of the test's own, with settings for its pool: yields (process, address). `ready` is where it will
    listen when that is not its unix socket."""
    folder.mkdir(exist_ok=True)
    conf, path, log = folder / "fpm.conf", folder / "fpm.sock", folder / "fpm.log"
    settings = {"listen": path, "listen.mode": "0666", "pm": "static", "pm.max_children": "1"}
    root = os.geteuid() == 0
    if root:
        settings |= {"user": "root", "group": "root"}
    settings |= dict(line.split("=", 1) for line in pool.split())
    conf.write_text(f"[global]\nerror_log = {log}\ndaemonize = no\n[test]\n"
                    + "".join(f"{k} = {v}\n" for k, v in settings.items()))
    process = subprocess.Popen([need("php-fpm"), "-F", "-y", str(conf), "-d", "error_log=", "-d", "log_errors=1"]
                               + (["-R"] if root else []),
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True)
    try:
        wait_until(lambda: listens(ready or str(path)) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield process, f"unix:{path}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its workers too, when a test has killed it
        process.wait(10)


# -- fixtures, imported by the tests that use them ---------------------------------------------------------------------

@pytest.fixture(scope="module", params=list(PHP))
def site(request):
    """tests/e2e/php, served by ferry with php-fpm, and again with php-cgi."""
    program = need(request.param)
    with short_folder() as folder:
        root = make_site(folder / "site")
        scratch = folder / "scratch"
        scratch.mkdir()
        scratch.chmod(0o777)
        with serving(folder / "run", root, "--php", program, "--threads", 2) as ferry:
            yield Site(request.param, root, ferry, scratch)


__all__ = ["IO", "MIB", "NOBODY", "PHP", "SANITIZED", "SCRIPTS", "Site", "bounded_memory", "each_php", "end_well",
           "find", "in_threads", "make_site", "memory", "need", "pattern", "pattern_sha256", "php_fpm", "serving",
           "short_folder", "site"]
