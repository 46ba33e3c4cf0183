# SPDX-License-Identifier: MIT
"""docs/migrate.md: the two programs are those that are shown, and do the same."""
import re
import signal
import socket
import subprocess

import pytest
from conftest import BUILD, ROOT
from fcgi_client import Fcgi

PROGRAMS = {"libfcgi": BUILD / "examples" / "migrate-libfcgi",
            "ferry": BUILD / "examples" / "migrate-ferry"}


def test_the_document_shows_what_is_built():
    shown = re.findall(r"```c\n(.*?)```", (ROOT / "docs/migrate.md").read_text(), re.S)
    assert len(shown) == 2
    for name, text in zip(PROGRAMS, shown):
        source = (ROOT / f"examples/migrate/{name}.c").read_text()
        assert source.endswith(text)


CASES = {
    "no body": ({"REQUEST_METHOD": "GET"}, b""),
    "a body": ({"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "5"}, b"hello"),
    "a large body": ({"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "4000000"}, b"0123456789" * 400000),
    "a short body": ({"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "50"}, b"hello"),
    "no params": ({}, b""),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Both, each on its descriptor 0."""
    started = {}
    for name, program in PROGRAMS.items():
        if program.exists():
            s = socket.socket()
            s.bind(("127.0.0.1", 0))
            s.listen(8)
            started[name] = s, subprocess.Popen([str(program)], stdin=s, stderr=subprocess.PIPE)
    yield started
    for s, p in started.values():
        s.close()
        p.kill()
        p.communicate()


def answer_of(running, name, case):
    if name not in running:
        pytest.skip("libfcgi is not there")
    params, body = CASES[case]
    with Fcgi(running[name][0].getsockname()) as c:
        a = c.ask(params, body, keep=False)
    return a.out, a.err, a.app_status


@pytest.mark.parametrize("case", CASES)
def test_both_answer_the_same(running, case):
    out, err, status = answer_of(running, "ferry", case)
    params, body = CASES[case]
    assert out.decode() == ("Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n"
                            f"A {params.get('REQUEST_METHOD', 'request')} with {len(body)} bytes.\n")
    assert (err, status) == ((b"50 bytes were announced\n", 1) if case == "a short body" else (b"", 0))
    assert answer_of(running, "libfcgi", case) == (out, err, status)


def test_as_plain_cgi_too():
    p = subprocess.run([str(PROGRAMS["ferry"])], input=b"hello, world", capture_output=True, timeout=20,
                       env={"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "12"})
    assert p.stdout.endswith(b"\r\n\r\nA POST with 12 bytes.\n")
    assert (p.returncode, p.stderr) == (0, b"")
