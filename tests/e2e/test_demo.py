# SPDX-License-Identifier: MIT
"""What `./dev demo` starts: ferry, with examples/demo as a program of its own behind a unix socket."""
import html
import os
import pathlib
import re
import signal
import socket
import struct
import time
import zlib

import pytest
from conftest import BUILD, alive, open_files, wait_until
from phpsite import MIB, bounded_memory, in_threads, pattern, serving, short_folder

DEMO = BUILD / "examples" / "demo"


@pytest.fixture(scope="module")
def demo():
    with short_folder() as folder, serving(folder / "run", "--spawn", DEMO, "--threads", 2, "--max-head", "200k") as ferry:
        yield ferry


def params(response):
    """The params that the page shows, in order."""
    table = response.text.split("<table class=params>")[-1].split("</table>")[0]
    return [(html.unescape(n), html.unescape(v)) for n, v in re.findall(r"<tr><th scope=row>(.*?)<td>(.*?)\n?(?=<tr>|$)", table, re.S)]


def test_the_page_shows_its_params(demo):
    r = demo.get("/?a=1&b=%3Cb%3E", {"X-Markup": "<script>alert('no')</script>"}, host="demo.example:80")
    assert r.status == 200 and r.complete and r["Content-Type"] == "text/html; charset=utf-8"
    shown = params(r)
    told = dict(shown)
    assert len(told) == len(shown)
    assert told["QUERY_STRING"] == "a=1&b=%3Cb%3E" and told["REQUEST_URI"] == "/?a=1&b=%3Cb%3E"
    assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == ("", "/")
    assert (told["HTTP_HOST"], told["SERVER_NAME"]) == ("demo.example:80", "demo.example")
    assert told["HTTP_X_MARKUP"] == "<script>alert('no')</script>" and "<script>alert" not in r.text
    assert "SCRIPT_FILENAME" not in told and "DOCUMENT_ROOT" not in told and "CONTENT_LENGTH" not in told


def test_the_whole_path_is_its_path_info(demo):
    told = dict(params(demo.get("/some%20where/../over//there/?x")))
    assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == ("", "/over/there/")
    assert told["REQUEST_URI"] == "/some%20where/../over//there/?x"


def test_a_header_field_of_70_000_bytes_arrives(demo):
    value = "".join(f"{i:06d}," for i in range(10_000))
    told = dict(params(demo.get("/", {"X-Large": value, "X-After": "here"})))
    assert len(value) == 70_000 and told["HTTP_X_LARGE"] == value and told["HTTP_X_AFTER"] == "here"


def test_a_head_past_the_limit_is_431_and_one_at_it_is_not(demo):
    def head(size):
        start = "GET / HTTP/1.1\r\nHost: x\r\n"
        pad = size - len(start) - len("X-N: \r\n\r\n")
        lines, n = [], 0
        while pad > 60_000:
            lines.append(f"X-{n}: " + "p" * (50_000 - len(f"X-{n}: \r\n")) + "\r\n")
            pad, n = pad - 50_000, n + 1
        return (start + "".join(lines) + "X-N: " + "p" * pad + "\r\n\r\n").encode()

    limit = 200 * 1024
    assert len(head(limit)) == limit
    with demo.client() as c:
        c.send(head(limit))
        assert c.response().status == 200
    with demo.client() as c:
        c.send(head(limit + 1))
        assert c.response().status == 431
        assert c.closed()


def test_a_form_comes_back(demo):
    body = b"line=%3Cb%3E+%26+%E2%82%AC&text=Ahoy%21"
    r = demo.post("/echo", body, {"Content-Type": "application/x-www-form-urlencoded"})
    assert params(r) == [("line", "<b> & €"), ("text", "Ahoy!")]
    assert params(demo.get("/echo?line=1&n=%41")) == [("line", "1"), ("n", "A")]
    assert demo.post("/echo", b"a=" + b"x" * 70_000).status == 413


def test_the_stream_comes_line_by_line(demo):
    with demo.client() as c:
        begin = time.monotonic()
        c.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.head()[0] == 200
        for n in range(1, 4):
            size = int(c.line(), 16)
            assert c.take(size).decode().startswith(f"line {n} of 10, ")
            c.take(2)
            assert b"line 10 of 10" not in c.buffer
        assert time.monotonic() - begin > 0.6
    # It hears that its reader left when the next line cannot be sent.
    wait_until(lambda: "demo: the reader left after line" in demo.err)


def test_many_streams_share_the_program(demo):
    def lines(_):
        with demo.client() as c:
            c.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            assert c.head()[0] == 200
            c.take(20)
            c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    began = time.monotonic()
    in_threads(100, lines)
    assert time.monotonic() - began < 20  # one after the other, it would be a minute
    wait_until(lambda: "<dt>streams running<dd>0<" in demo.get("/facts").text)


def test_an_upload_passes_through_in_bounded_memory(demo):
    n = 40 * MIB
    head = (b'--b\r\nContent-Disposition: form-data; name="file"; filename="large.bin"\r\n\r\n', b"\r\n--b--\r\n")
    crc = 0
    with bounded_memory(demo, 16), demo.client(timeout=60) as c:
        c.send("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
               f"Content-Length: {n + sum(map(len, head))}\r\n\r\n")
        c.send(head[0])
        for piece in pattern(n):
            c.send(piece)
            crc = zlib.crc32(piece, crc)
        c.send(head[1])
        r = c.response()
    assert r.status == 200
    assert f"<td>large.bin<td>{n}<td><code>{crc:08x}</code>" in r.text


def program_of(ferry):
    return next(p for p in ferry.children() if pathlib.Path(f"/proc/{p}/exe").resolve() == DEMO.resolve())


def run_folder(ferry):
    """The folder with the program's socket, from what its master has mapped to the listening socket."""
    fds = open_files(program_of(ferry)).values()
    for line in pathlib.Path("/proc/net/unix").read_text().splitlines()[1:]:
        field = line.split()
        if f"socket:[{field[6]}]" in fds and len(field) > 7 and field[3] == "00010000":
            return pathlib.Path(field[7]).parent
    raise AssertionError("it listens on nothing")


def test_a_program_that_dies_is_started_again(folder):
    with serving(folder / "run", "--spawn", DEMO) as ferry:
        assert ferry.get("/facts").status == 200
        old = program_of(ferry)
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: not alive(old))
        assert ferry.get("/facts").status == 200  # waits until it is there again
        assert program_of(ferry) != old
        assert f"{DEMO}: process {old} was ended by signal 9 (Killed)" in ferry.err


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_program_ends_with_ferry_and_leaves_nothing(folder, sig):
    with serving(folder / "run", "--spawn", DEMO) as ferry:
        assert ferry.get("/facts").status == 200
        path, pids = run_folder(ferry), ferry.children()
        assert path.stat().st_mode & 0o777 == 0o700 and len(pids) == 4  # a guard, the master, the worker, the program
        assert ferry.stop(sig) == (-sig if sig == signal.SIGKILL else 0)
        wait_until(lambda: not any(map(alive, pids)))
        wait_until(lambda: not path.exists())


def test_a_program_that_is_not_there_is_named(folder):
    with serving(folder / "run", "--spawn", "/nowhere/demo", ends=1) as ferry:
        assert ferry.process.wait(10) == 1
        assert "/nowhere/demo" in ferry.err and ferry.out == ""

