# SPDX-License-Identifier: MIT
"""Programs that use the library's client: the examples, with php-fpm and with ferry's own applications."""
import contextlib
import os
import pathlib
import re
import subprocess

import pytest
from conftest import BUILD, IO, ROOT, wait_until
from phpsite import SANITIZED, make_site, php_fpm, short_folder

TOOL = ROOT / os.environ.get("FERRY_BUILD", "build") / "tests" / "client_tool"
MANY = ["client_poll", "client_libevent", "client_libuv"]


def run(program, *args, seconds=300):
    """What a client said, which must have ended well or with 1."""
    done = subprocess.run([str(program), *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True,
                          env={**os.environ, "FERRY_IO": IO}, timeout=seconds)
    assert done.returncode in (0, 1), done.stderr
    for word in (b"AddressSanitizer", b"runtime error:", b"LeakSanitizer", b"this must hold and does not"):
        assert word not in done.stderr, done.stderr
    return done


def example(name):
    path = BUILD / "examples" / name
    if not path.exists():
        pytest.skip(f"{name} is not built: its library is not installed")
    return path


def fetch(address, script, *args):
    """(status, {field: value}, body, errors) of client_fetch."""
    done = run(example("client_fetch"), address, script, *args)
    assert done.returncode == 0, done.stderr
    head, body = done.stdout.split(b"\n\n", 1)
    status, *fields = head.decode().split("\n")
    return int(status), dict(f.split(": ", 1) for f in fields), body, done.stderr


@contextlib.contextmanager
def application(folder, name):
    """One of ferry's own: (process, address)."""
    path = folder / f"{name}.sock"
    process = subprocess.Popen([str(BUILD / "examples" / name), f"unix:{path}"], stdin=subprocess.DEVNULL)
    try:
        wait_until(path.exists, 60)
        yield process, f"unix:{path}"
    finally:
        process.terminate()
        assert process.wait(60) == 0


@pytest.fixture(scope="module")
def echo():
    with short_folder() as folder, application(folder, "echo") as started:
        yield started


@pytest.fixture(scope="module")
def php():
    """php-fpm with one child: (address, the folder of the scripts)."""
    with short_folder() as folder, php_fpm(folder / "fpm") as (_, address):
        yield address, make_site(folder / "site")


# -- at once, and waiting --

def test_a_fetch_from_php(php):
    address, site = php
    status, fields, body, errors = fetch(address, site / "answer.php", "QUERY_STRING=kind=code&code=418")
    assert (status, body, errors) == (418, b"coded", b"")
    assert fields["Content-type"].startswith("text/html")


def test_a_fetch_with_a_body(php, echo):
    form = "CONTENT_TYPE=application/x-www-form-urlencoded"
    assert fetch(echo[1], "", form, "hello")[0] == 400  # no msg
    status, _, body, _ = fetch(php[0], php[1] / "request.php", form, "hello")
    assert status == 200 and b'"body":"hello"' in body and b'"CONTENT_LENGTH":"5"' in body


def test_errors_stay_out_of_the_body(php):
    """Messages that php-fpm sends between the parts of the answer."""
    address, site = php
    for who in ("a", "b"):
        status, _, body, errors = fetch(address, site / "log.php", f"QUERY_STRING=who={who}")
        assert (status, body) == (200, b"logged")
        for i in range(3):
            assert f"message {i} of {who}".encode() in errors


def test_an_answer_without_a_body(php):
    status, _, body, _ = fetch(php[0], php[1] / "answer.php", "QUERY_STRING=kind=empty")
    assert (status, body) == (200, b"")


@pytest.mark.parametrize("length", [8192, 60000])
def test_long_header_fields_pass(php, length):
    address, site = php
    _, fields, body, _ = fetch(address, site / "answer.php", f"QUERY_STRING=kind=long-header&len={length}")
    assert fields["X-Long"] == "h" * length and body == b"long"
    _, _, body, _ = fetch(address, site / "request.php", f"HTTP_X_LONG={'r' * length}")
    assert b'"HTTP_X_LONG":"' + b"r" * length + b'"' in body


def test_a_failure_says_why(tmp_path):
    done = run(example("client_fetch"), f"unix:{tmp_path}/nobody.sock", "/x.php")
    assert done.returncode == 1 and b"no connection" in done.stderr and done.stdout == b""
    done = subprocess.run([str(example("client_fetch")), "nonsense", "/x.php"], capture_output=True, timeout=60)
    assert done.returncode == 64 and done.stderr


def test_php_with_one_child_never_hangs(php):
    """Each fetch lets go of the only child."""
    address, site = php
    out = run(TOOL, "again", address, site / "answer.php", "kind=code&code=201", 20).stdout
    assert out == b"answered, 201, coded\n" * 20


# -- many at once, on the loops of others --

@pytest.mark.parametrize("program", MANY)
def test_many_on_another_loop_with_echo(program, echo):
    queries = [f"msg=m{i}" for i in range(200)]
    done = run(example(program), echo[1], "x", *queries)
    assert done.returncode == 0
    answers = [line for line in done.stdout.decode().split("\n") if line]
    assert sorted(answers) == sorted(f"{q}: answered: {q[4:]}" for q in queries)


@pytest.mark.parametrize("program", MANY)
def test_many_on_another_loop_with_php(program, php):
    address, site = php
    queries = [f"ms={i % 3}" for i in range(20)]
    done = run(example(program), address, site / "sleep.php", *queries)
    assert done.returncode == 0
    answers = [line for line in done.stdout.decode().split("\n") if line]
    assert len(answers) == 20 and all(": answered: slept " in line for line in answers)


@pytest.mark.parametrize("program", MANY)
def test_nobody_answers_there(program, tmp_path):
    done = run(example(program), f"unix:{tmp_path}/nobody.sock", "x", "a", "b")
    assert done.returncode == 1
    assert done.stdout == b"a: no connection could be made: \nb: no connection could be made: \n"


# -- giving up --

def test_cancelled_before_it_starts(echo):
    out = run(TOOL, "early", echo[1]).stdout
    assert out == b"cancelled, 0 bytes, errors: ferry: cancelled\n"


def fds(process):
    return len(list(pathlib.Path(f"/proc/{process.pid}/fd").iterdir()))


@pytest.mark.parametrize("query", ["msg=sleep", "msg=now"])
def test_10000_cancelled_requests_leave_nothing_behind(echo, query):
    """Neither here nor at the application, whose answers to msg=sleep would take a minute."""
    process, address = echo
    before = fds(process)
    counted, left = run(TOOL, "cancel", address, "x", query, 10000).stdout.decode().splitlines()
    cancelled, answered, others = (int(word) for word in counted.split() if word.isdigit())
    assert cancelled + answered == 11000 and others == 0
    assert cancelled == 11000 if query == "msg=sleep" else cancelled > 0
    more_fds, more_kib = (int(left.split()[i]) for i in (0, 3))
    assert more_fds <= 3  # connections of the moment
    assert more_kib < 20000 or SANITIZED
    wait_until(lambda: fds(process) <= before, 60)
    assert fetch(address, "", "QUERY_STRING=msg=still")[2] == b"still\n"


def test_php_survives_cancelled_requests(php):
    address, site = php
    out = run(TOOL, "cancel", address, site / "sleep.php", "ms=0", 200).stdout.decode()
    assert " 0 others" in out
    assert fetch(address, site / "answer.php", "QUERY_STRING=kind=code&code=200")[2] == b"coded"


# -- the guide --

def test_the_programs_of_the_guide(echo, tmp_path):
    """docs/client.md: compiled as they stand there, and run."""
    programs = re.findall(r"^```c\n(.*?)^```", (ROOT / "docs/client.md").read_text(), re.M | re.S)
    build = TOOL.parent.parent
    outs = []
    for i, source in enumerate(programs):
        (tmp_path / f"p{i}.c").write_text(source)
        sanitize = [f"-fsanitize={SANITIZED}"] if SANITIZED else []
        subprocess.run(["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", *sanitize, "-I", ROOT / "include",
                        "-o", tmp_path / f"p{i}", tmp_path / f"p{i}.c", build / "libferry.a", "-luring", "-lcares", "-pthread"],
                       check=True, timeout=120)
        outs.append(sorted(run(tmp_path / f"p{i}", echo[1]).stdout.split()))
    assert outs == [[b"200", b"answered:", b"hello"],
                    [b"200", b"200", b"answered", b"answered", b"one", b"status", b"status", b"two"]]


# -- filters --

def test_a_filter_of_a_sparse_file_of_5_gib(folder):
    """Whose page is as long, and neither is ever in memory."""
    with open(folder / "sparse", "wb") as f:
        f.truncate(5 << 30)
    with application(folder, "filter") as (_, address):
        out = run(TOOL, "filter", address, folder / "sparse", seconds=900).stdout.decode()
    result, rest = out.split(", ", 1)
    assert result == "answered"
    assert int(rest.split()[0]) == (5 << 30) + len("<!doctype html><title>text</title>\n<pre></pre>\n")
