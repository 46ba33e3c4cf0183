# SPDX-License-Identifier: MIT
"""`ferry call`: against real PHP, against the examples, and against an application that does as a script says."""
import contextlib
import hashlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import threading

import pytest
from conftest import BUILD, IO, wait_until
from fakeapp import STDERR, App, answer, end, record, stdout
from gateways import listens_at
from phpsite import MIB, PHP, SANITIZED, listens, make_site, memory, need, pattern, pattern_sha256, php_fpm, short_folder


def call(*args, input=None, text=True, **kw):
    """Text has its line ends as they are."""
    if isinstance(input, str):
        input = input.encode()
    r = subprocess.run([str(BUILD / "ferry"), "call", "--io", IO, *map(str, args)], capture_output=True, input=input,
                       **({"stdin": subprocess.DEVNULL} if input is None else {}), timeout=300, **kw)
    if text:
        r.stdout, r.stderr = r.stdout.decode(), r.stderr.decode()
    return r


def good(*args, **kw):
    """What it writes; it must go well, and say nothing."""
    r = call(*args, **kw)
    assert r.returncode == 0, r.stderr
    assert not r.stderr, r.stderr
    return r.stdout


def bad(*args, status=1, **kw):
    """What it says; it must fail so."""
    r = call(*args, **kw)
    assert r.returncode == status, (r.stdout, r.stderr)
    return r.stderr


# -- real PHP ----------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def php_cgi(folder):
    """php-cgi -b, which listens by itself."""
    folder.mkdir(exist_ok=True)
    path = str(folder / "cgi.sock")
    process = subprocess.Popen([need("php-cgi"), "-b", path, "-d", "upload_max_filesize=64M", "-d", "post_max_size=64M"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={**os.environ, "PHP_FCGI_CHILDREN": "0"})
    try:
        wait_until(lambda: listens(path) or process.poll() is not None)
        assert process.poll() is None
        yield process, f"unix:{path}"
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="module", params=list(PHP))
def php(request):
    """(address, folder of the scripts) of php-fpm, and again of php-cgi."""
    need(request.param)
    with short_folder() as folder:
        root = make_site(folder / "site")
        limits = "php_admin_value[upload_max_filesize]=64M php_admin_value[post_max_size]=64M pm.max_children=2"
        with php_fpm(folder / "run", limits) if request.param == "php-fpm" else php_cgi(folder / "run") as (_, address):
            yield address, root


def seen(php, *args, script="request.php", **kw):
    """What PHP was told."""
    address, root = php
    return json.loads(good(address, root / script, *args, **kw))


def test_get(php):
    address, root = php
    told = seen(php)
    server = told["server"]
    assert server["SCRIPT_FILENAME"] == str(root / "request.php")
    assert server["DOCUMENT_ROOT"] == str(root)
    assert server["SCRIPT_NAME"] == server["REQUEST_URI"] == "/request.php"
    assert server["REQUEST_METHOD"] == "GET"
    assert server["GATEWAY_INTERFACE"] == "CGI/1.1"
    assert server["HTTP_HOST"] == "localhost"
    assert server["HTTP_USER_AGENT"].startswith("ferry/")
    assert told["body"] == "" and told["get"] == [] and told["post"] == []


def test_a_query_and_path_info(php):
    told = seen(php, script="request.php/a b?x=1&y=%20")
    assert told["get"] == {"x": "1", "y": " "}
    assert told["server"]["PATH_INFO"] == "/a b"
    assert told["server"]["REQUEST_URI"] == "/request.php/a%20b?x=1&y=%20"


def test_a_root_and_a_uri(php):
    address, root = php
    told = json.loads(good(address, "request.php?x=1", "--root", root))
    assert told["server"]["SCRIPT_FILENAME"] == str(root / "request.php") and told["get"] == {"x": "1"}
    assert good(address, "/?x=1", "--root", root.name, cwd=root.parent) == 'front /?x=1 /index.php - {"x":"1"}\n'
    assert good(address, "index.php", "--root", root, "--uri", "/orders/17?a=b") == \
        'front /orders/17?a=b /index.php - {"a":"b"}\n'


def test_a_relative_script(php):
    address, root = php
    told = json.loads(good(address, "./request.php", cwd=root))
    assert told["server"]["SCRIPT_FILENAME"] == str(root / "request.php")


def test_json_arrives_byte_for_byte(php):
    body = '{"name": "Ada \\u00e9 \u00e9", "list": [1, 2]}\r\n'
    told = seen(php, "--json", body)
    assert told["body"] == body
    assert told["server"]["CONTENT_TYPE"] == told["server"]["HTTP_ACCEPT"] == "application/json"
    assert told["server"]["CONTENT_LENGTH"] == str(len(body.encode()))
    assert seen(php, "--json", "@-", input=body)["body"] == body


def test_forms(php):
    told = seen(php, "-d", "a=1", "--data-raw", "b=@x", "--data-urlencode", "c=\u00e4 &", "--data", "d=2")
    assert told["post"] == {"a": "1", "b": "@x", "c": "\u00e4 &", "d": "2"}
    assert told["server"]["REQUEST_METHOD"] == "POST"
    told = seen(php, "-G", "-d", "a=1", "--data-urlencode", "b=x y", script="request.php?z=0")
    assert told["get"] == {"z": "0", "a": "1", "b": "x y"}
    assert told["server"]["REQUEST_METHOD"] == "GET" and told["body"] == ""
    assert told["server"].get("CONTENT_LENGTH", "") == ""


def test_data_from_files(php, folder):
    (folder / "lines").write_bytes(b"a=b\r\nc\n")
    assert seen(php, "-d", f"@{folder}/lines")["body"] == "a=bc"
    assert seen(php, "--data-binary", f"@{folder}/lines")["body"] == "a=b\r\nc\n"
    assert seen(php, "--data-urlencode", f"n@{folder}/lines")["post"] == {"n": "a=b\r\nc\n"}
    assert seen(php, "-d", "@-", input="x=1\n")["post"] == {"x": "1"}


def test_headers_and_params(php):
    told = seen(php, "-H", "Script-Filename: /etc/passwd", "-H", "X-A: 1", "-H", "X-A: 2", "-H", "Accept:",
                "-A", "me", "-b", "a=1", "-b", "b=2", "-u", "ada:secret", "-e", "NEW=x=y", "-e", "REMOTE_ADDR=10.0.0.1",
                "-e", "-SERVER_SOFTWARE", "-e", "REMOTE_PORT=", "-H", "Host: shop:8080", "-X", "PURGE")
    server = told["server"]
    assert server["HTTP_SCRIPT_FILENAME"] == "/etc/passwd"
    assert server["SCRIPT_FILENAME"] == str(php[1] / "request.php")
    assert server["HTTP_X_A"] == "1, 2" and "HTTP_ACCEPT" not in server and server["HTTP_USER_AGENT"] == "me"
    assert told["cookie"] == {"a": "1", "b": "2"}
    assert server["PHP_AUTH_USER"] == "ada" and server["PHP_AUTH_PW"] == "secret"
    assert server["NEW"] == "x=y" and server["REMOTE_ADDR"] == "10.0.0.1" and server["REMOTE_PORT"] == ""
    assert "SERVER_SOFTWARE" not in server
    assert server["SERVER_NAME"] == "shop" and server["SERVER_PORT"] == "8080"
    assert server["REQUEST_METHOD"] == "PURGE"


def test_a_multipart_upload_of_20_mib(php, folder):
    n = 20 * MIB + 123
    with open(folder / "big file.bin", "wb") as f:
        for piece in pattern(n):
            f.write(piece)
    address, root = php
    lines = good(address, root / "upload.php", "-F", "a=b;c", "-F", f"f=@{folder}/big file.bin",
                 "-F", f"g=@{folder}/big file.bin;type=image/png;filename=x.png", "--form-string", "l=@no;type=x").split("\n")
    assert int(lines[0].split("=")[1]) > 2 * n
    assert lines[1] == f"f big file.bin 0 {n} {pattern_sha256(n)}"
    assert lines[2] == f"g x.png 0 {n} {pattern_sha256(n)}"
    assert lines[3:5] == ["a=b;c", "l=@no;type=x"]


def test_a_file_as_the_body(php, folder):
    address, root = php
    data = b"".join(pattern(3 * MIB))
    (folder / "data").write_bytes(data)
    want = f"PUT CONTENT_LENGTH={len(data)} read={len(data)} {hashlib.sha256(data).hexdigest()} -\n"
    assert good(address, root / "body.php", "-T", folder / "data") == want
    assert good(address, root / "body.php", "-T", "-", input=data, text=False) == want.encode()


def test_heads_and_bodies(php, folder):
    address, root = php
    out = good(address, root / "answer.php?kind=status", "-i")
    head, body = out.split("\r\n\r\n")
    assert head.startswith("Status: 404 Not Here") and body == "nothing"
    assert good(address, root / "answer.php?kind=status", "-I").endswith("\r\n\r\n")
    assert good(address, root / "answer.php?kind=status") == "nothing"
    assert good(address, root / "answer.php?kind=status", "-o", folder / "out") == ""
    assert (folder / "out").read_text() == "nothing"
    assert good(address, root / "answer.php?kind=no-content", "-o", folder / "none") == ""
    assert (folder / "none").read_text() == ""


def test_fail(php, folder):
    address, root = php
    r = call(address, root / "answer.php?kind=status", "-f", "-o", folder / "out")
    assert r.returncode == 1 and r.stdout == "" and "status 404" in r.stderr
    assert not (folder / "out").exists()
    assert bad(address, root / "answer.php?kind=status", "-f", "-s") == ""
    assert good(address, root / "answer.php?kind=cookies", "-f") == "sweet"


def test_errors_of_the_application_stand_apart(php):
    address, root = php
    r = call(address, root / "log.php?who=me")
    assert r.returncode == 0 and r.stdout == "logged"
    if "fpm" in address:
        assert [line for line in r.stderr.splitlines() if "message 1 of me" in line]


def test_a_script_that_php_does_not_find(php):
    address, root = php
    r = call(address, root / "none.php")
    assert r.returncode == 0 and r.stdout in ("File not found.\n", "No input file specified.\n")
    if "fpm" in address:
        assert f"ferry: php-fpm finds no script {root}/none.php: " in r.stderr.splitlines()[-1]


def test_verbose(php):
    address, root = php
    r = call(address, root / "answer.php?kind=cookies", "-v", "-d", "a=b")
    assert r.stdout == "sweet"
    for line in (f"* connected to {address} after ", "> REQUEST_METHOD = POST\n", "* a body of 3 bytes\n",
                 "< Set-Cookie: b=2%2C%203\n", "* app status 0, REQUEST_COMPLETE\n", "* status 200, a body of 5 bytes",
                 " ms until connected, "):
        assert line in r.stderr, line


def test_a_deadline(php):
    address, root = php
    assert "within 300 ms" in bad(address, root / "sleep.php?ms=2000", "-m", "0.3")


def test_values(php):
    assert "FCGI_MPXS_CONNS = 0\n" in good("--values", php[0], "-m", 60)


def test_a_load(php):
    address, root = php
    r = json.loads(good(address, root / "request.php", "-d", "a=b", "--repeat", 60, "--parallel", 2, "--report", "json"))
    assert r["requests"] == 60 and r["statuses"] == {"200": 60} and r["failed"] == {} and r["connections"] == 60


# -- examples ----------------------------------------------------------------------------------------------------------

@pytest.fixture
def example(folder):
    """example(name) starts one: its address. Each must end well."""
    started = {}

    def start(name):
        path = folder / name
        if name not in started:
            started[name] = subprocess.Popen([str(BUILD / "examples" / name), f"unix:{path}"], stdin=subprocess.DEVNULL)
            wait_until(lambda: listens_at(path))
        return f"unix:{path}"

    yield start
    for p in started.values():
        p.terminate()
    for p in started.values():
        assert p.wait(20) == 0


def test_records(example):
    """The conversation of the document, as text."""
    got = good(example("echo"), "/srv/echo", "-d", "msg=hello", "--records", "-A", "")
    assert got == '''\
Web server: {FCGI_BEGIN_REQUEST, "responder"}
Web server: {FCGI_PARAMS, "SCRIPT_FILENAME = /srv/echo"}
Web server: {FCGI_PARAMS, "QUERY_STRING = "}
Web server: {FCGI_PARAMS, "REQUEST_METHOD = POST"}
Web server: {FCGI_PARAMS, "SCRIPT_NAME = /echo"}
Web server: {FCGI_PARAMS, "DOCUMENT_ROOT = /srv"}
Web server: {FCGI_PARAMS, "SERVER_PROTOCOL = HTTP/1.1"}
Web server: {FCGI_PARAMS, "REQUEST_SCHEME = http"}
Web server: {FCGI_PARAMS, "SERVER_SOFTWARE = VERSION"}
Web server: {FCGI_PARAMS, "REMOTE_ADDR = 127.0.0.1"}
Web server: {FCGI_PARAMS, "REMOTE_PORT = 0"}
Web server: {FCGI_PARAMS, "SERVER_ADDR = 127.0.0.1"}
Web server: {FCGI_PARAMS, "SERVER_PORT = 80"}
Web server: {FCGI_PARAMS, "SERVER_NAME = localhost"}
Web server: {FCGI_PARAMS, "REQUEST_URI = /echo"}
Web server: {FCGI_PARAMS, "DOCUMENT_URI = /echo"}
Web server: {FCGI_PARAMS, "GATEWAY_INTERFACE = CGI/1.1"}
Web server: {FCGI_PARAMS, "REDIRECT_STATUS = 200"}
Web server: {FCGI_PARAMS, "HTTP_HOST = localhost"}
Web server: {FCGI_PARAMS, "HTTP_ACCEPT = */*"}
Web server: {FCGI_PARAMS, "CONTENT_TYPE = application/x-www-form-urlencoded"}
Web server: {FCGI_PARAMS, "CONTENT_LENGTH = 9"}
Web server: {FCGI_PARAMS, ""}
Web server: {FCGI_STDIN, "msg=hello"}
Web server: {FCGI_STDIN, ""}
Application: {FCGI_STDOUT, "Content-Type: text/plain; charset=utf-8\\r\\nX-Content-Type-Options: nosniff\\r\\n\\r\\nhello\\n"}
Application: {FCGI_STDOUT, ""}
Application: {FCGI_END_REQUEST, "app status 0, REQUEST_COMPLETE"}
'''.replace("VERSION", good_version())


def good_version():
    return subprocess.run([str(BUILD / "ferry"), "version"], capture_output=True, text=True).stdout.strip().replace(" ", "/")


def test_records_and_the_answer(example, folder):
    out = good(example("echo"), "/x?msg=a", "--records", "-o", folder / "out")
    assert 'Web server: {FCGI_STDIN, ""}\nApplication: {FCGI_STDOUT, "Content-Type' in out
    assert (folder / "out").read_text() == "a\n"


def test_records_of_values(example):
    out = good(example("echo"), "--values", "--records")
    assert 'Web server: {FCGI_GET_VALUES, "FCGI_MAX_CONNS"}\n' in out
    assert 'Application: {FCGI_GET_VALUES_RESULT, "FCGI_MPXS_CONNS = 1"}\n' in out


def test_a_get_ends(example):
    assert good(example("echo"), "/x?msg=hello") == "hello\n"


def test_an_upload(example, folder):
    (folder / "cat.jpg").write_bytes(b"".join(pattern(20 * MIB)))
    page = good(example("upload"), "/", "-F", "greeting=hi <b>", "-F", f"picture=@{folder}/cat.jpg")
    assert "picture<td>cat.jpg<td>image/jpeg<td>20971520 bytes" in page
    assert "hi &#60;b&#62;" in page


def test_an_authorizer(example):
    address = example("authorizer")
    out = good(address, "/srv/x.php/info", "--role", "authorizer", "-i")
    assert out.startswith("Status: 401 ")
    records = good(address, "/srv/x.php/info", "--role", "authorizer", "--records")
    for name in ("CONTENT_LENGTH", "PATH_INFO", "PATH_TRANSLATED", "SCRIPT_NAME"):
        assert f'"{name} = ' not in records
    assert '{FCGI_BEGIN_REQUEST, "authorizer"}' in records and '{FCGI_PARAMS, "SCRIPT_FILENAME = /srv/x.php"}' in records
    assert "does not play the role FILTER" in bad(address, "/x", "--role", "filter", "--data", "/dev/null")


def test_a_filter(example, folder):
    address = example("filter")
    (folder / "notes").write_text("a < b\n")
    os.utime(folder / "notes", (0, 1e9))
    out = good(address, folder / "notes", "--data", folder / "notes", "--role", "filter", "-i")
    assert "Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT\r\n" in out and "<pre>a &lt; b\n</pre>" in out
    assert "<pre>piped</pre>" in good(address, "/notes", "--data", "-", "--role", "filter", input="piped")
    records = good(address, folder / "notes", "--role", "filter", "--data", folder / "notes", "--records", "-d", "body")
    at = [records.index(f"Web server: {r}") for r in
          ('{FCGI_PARAMS, "FCGI_DATA_LAST_MOD = 1000000000"}', '{FCGI_PARAMS, "FCGI_DATA_LENGTH = 6"}', '{FCGI_STDIN, "body"}',
           '{FCGI_STDIN, ""}', '{FCGI_DATA, "a < b\\n"}', '{FCGI_DATA, ""}')]
    assert at == sorted(at)


def test_a_filter_of_a_sparse_file_of_5_gib(example, folder):
    """Its length needs more than 32 bits, and none of it is kept in memory."""
    size = (64 << 20) if SANITIZED else (5 << 30)
    with open(folder / "sparse", "wb") as f:
        f.truncate(size - 5)
        f.seek(0, os.SEEK_END)
        f.write(b"<end>")
    process = subprocess.Popen([str(BUILD / "ferry"), "call", example("filter"), str(folder / "sparse"), "--role", "filter",
                                "--data", str(folder / "sparse")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    n, tail, most = 0, b"", 0
    while piece := process.stdout.read(1 << 20):
        n += len(piece)
        tail = (tail + piece)[-100:]
        most = most or n > size // 2 and memory(process.pid, "VmHWM")
    assert process.wait(60) == 0
    assert tail.endswith(b"&lt;end></pre>\n")
    assert n == size + len("<!doctype html><title>text</title>\n<pre></pre>\n") + 3
    if not SANITIZED:
        assert 0 < most < 32 * MIB


@pytest.mark.parametrize("keep", [False, True])
def test_a_load_counts(example, keep):
    r = json.loads(good(example("echo"), "/x?msg=hello", "--repeat", 500, "--parallel", 7, "--report", "json",
                        *["--keep"] * keep))
    assert r["requests"] == 500 and r["parallel"] == 7
    assert r["statuses"] == {"200": 500} and r["failed"] == {}
    assert r["connections"] == (7 if keep else 500)
    assert r["body_bytes"] == 500 * len("hello\n")
    latency = r["latency_us"]
    assert 0 < latency["min"] <= latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99.9"] <= latency["max"]
    rows = latency["histogram"]
    assert sum(row["count"] for row in rows) == 500
    assert rows[0]["from"] <= latency["min"] and latency["max"] < rows[-1]["to"]
    assert all(a["to"] == b["from"] for a, b in zip(rows, rows[1:]))


def test_a_load_as_text(example):
    r = call(example("echo"), "/x", "--repeat", 100, "--parallel", 200)
    assert r.returncode == 0 and r.stderr == ""
    assert re.match(r"requests    100 in [\d.]+ [mu]?s, 100 at once: \d+/s\nconnections 100\nbytes       \d+ sent, \d+ received ", r.stdout)
    assert "status      400: 100\n" in r.stdout
    assert re.search(r"latency     min .* mean .* p50 .* p90 .* p99 .* p99.9 .* max ", r.stdout)
    bars = re.findall(r"^ +[\d.]+ \w+ to +[\d.]+ \w+  (#*) +(\d+)$", r.stdout, re.M)
    assert sum(int(n) for _, n in bars) == 100
    assert max(bars, key=lambda b: int(b[1]))[0] == "#" * 40
    assert call(example("echo"), "/x", "--repeat", 10, "-f").returncode == 1


def test_a_load_of_bodies(example, folder):
    (folder / "data").write_bytes(b"x=" + b"y" * 300000)
    r = json.loads(good(example("upload"), "/", "-F", f"f=@{folder}/data", "--repeat", 20, "--parallel", 4, "--keep",
                        "--report", "json"))
    assert r["statuses"] == {"200": 20} and r["bytes_sent"] > 20 * 300000


def test_progress_on_a_terminal(example):
    ours, theirs = pty.openpty()
    process = subprocess.Popen([str(BUILD / "ferry"), "call", example("echo"), "/x?msg=sleep", "--repeat", "2"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    said = b""
    while b"0 of 2, " not in said:
        said += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # the terminal ends with its last user
        while more := os.read(ours, 4096):
            said += more
    os.close(ours)
    out = process.stdout.read()
    assert process.wait(20) == 1
    assert b"interrupted after 0 of 2 requests" in said
    assert out.startswith(b"requests    0 in ")


def on_a_terminal(*args):
    ours, theirs = pty.openpty()
    process = subprocess.Popen([str(BUILD / "ferry"), "call", *map(str, args)], stdin=subprocess.DEVNULL, stdout=theirs,
                               stderr=theirs)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # the terminal ends with its last user
        while more := os.read(ours, 4096):
            said += more
    os.close(ours)
    return process.wait(20), said


def test_binary_answers_are_not_for_terminals(folder):
    app = App(folder / "app.sock")
    app.says("/x", stdout(b"Content-Type: image/png\r\n\r\n\x89\0\0"), record(STDERR, 1, b"red \x1b[31m"), end())
    code, said = on_a_terminal(app.address, "/x")
    assert code == 1 and b"binary" in said and b"\x89" not in said and b"red ?[31m" in said
    code, said = on_a_terminal(app.address, "/x", "-o", "-")
    assert code == 0 and b"\x89\0\0" in said
    app.close()


# -- an application that does as it is told ----------------------------------------------------------------------------

@pytest.fixture
def app(folder):
    app = App(folder / "app.sock")
    yield app
    app.close()


OK = b"Content-Type: text/plain\r\n\r\nok"


@pytest.mark.parametrize("pieces, why", [
    ([], "closed the connection without an answer"),
    ([stdout(OK)], "closed the connection in the middle of its answer"),
    ([end()], "is no CGI response: it is empty"),
    ([stdout(b"Content-Type: x\r\n"), end(app_status=9)], "(app status 9) is no CGI response: its head does not end"),
    ([stdout(b"no colon\r\n\r\nbody"), end()], "is no CGI response: "),
    ([b"HTTP/1.1 200 OK\r\n\r\n"], "is no FastCGI"),
    ([end(protocol_status=2)], "OVERLOADED"),
    ([end(protocol_status=3)], "does not play the role RESPONDER"),
    ([end(protocol_status=1)], "CANT_MPX_CONN"),
])
def test_what_goes_wrong_is_said(app, pieces, why):
    app.says("/x", *pieces)
    said = bad(app.address, "/x")
    assert said.startswith("ferry: ") and why in said
    assert bad(app.address, "/x", "-s") == ""
    assert app.accepted == 2


def test_a_bad_head_can_be_seen(app):
    app.says("/x", stdout(b"no colon\r\n\r\nbody"), stdout(b" and more"), end())
    r = call(app.address, "/x", "-i")
    assert r.returncode == 1 and r.stdout == "no colon\r\n\r\nbody and more"
    app.says("/y", b"HTTP/1.1 200 OK\r\n\r\n")
    r = call(app.address, "/y", "--records")
    assert r.returncode == 1 and "HTTP/1.1 200" in r.stdout


def test_the_app_status(app):
    app.says("/x", stdout(OK), end(app_status=7))
    assert good(app.address, "/x") == "ok"
    r = call(app.address, "/x", "--app-status")
    assert r.returncode == 7 and r.stdout == "ok"
    app.says("/y", stdout(OK), end(app_status=256))
    assert call(app.address, "/y", "--app-status").returncode == 1


def test_interim_answers(app):
    early = b"Status: 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    app.says("/x", stdout(early), stdout(OK), end())
    assert good(app.address, "/x") == "ok"
    assert good(app.address, "/x", "-i", text=False) == early + OK


def test_errors_in_pieces(app):
    app.says("/x", record(STDERR, 1, b"one"), stdout(OK[:10]), record(STDERR, 1, b" two\n\x1b[31m"), stdout(OK[10:]), end())
    r = call(app.address, "/x", text=False)
    assert r.stdout == b"ok" and r.stderr == b"one two\n\x1b[31m\n"


def test_an_answer_before_the_body_is_sent(app, folder):
    """The application answers and closes: it is heard, and not waited for."""
    with open(folder / "big", "wb") as f:
        f.truncate(64 << 20)
    app.says("/x", stdout(OK), end(), early=True)
    assert call(app.address, "/x", "-T", folder / "big").stdout == "ok"


def test_a_file_that_becomes_shorter(app, folder):
    with open(folder / "big", "wb") as f:
        f.truncate(64 << 20)

    def shorten(c, rq):
        os.truncate(folder / "big", 1000)
        c.wait_closed()
    app.does("/x", shorten, early=True)
    assert "cannot be read to its end" in bad(app.address, "/x", "-T", folder / "big")


def test_get_values_without_an_answer(app, folder):
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(str(folder / "silent"))
    silent.listen()
    assert "GET_VALUES is not answered" in bad("--values", folder / "silent", "-m", "200ms")
    silent.close()


def test_kept_connections_that_are_closed(app):
    """Each is closed behind an answer; what was asked meanwhile is asked again, and nothing fails."""
    app.says("/x", answer(OK), goes_on=False)
    r = json.loads(good(app.address, "/x", "--repeat", 50, "--parallel", 3, "--keep", "--report", "json"))
    assert r["statuses"] == {"200": 50} and r["failed"] == {} and r["connections"] >= 48


def test_failures_are_counted_by_kind(app):
    turns = iter(range(100))
    lock = threading.Lock()

    def behave(c, rq):
        with lock:
            turn = next(turns) % 4
        if turn == 1:
            c.send(end(rq.id, protocol_status=2))
        elif turn == 2:
            c.send(stdout(b"broken\r\n\r\n") + end())
        elif turn == 3:
            c.send(answer(b"Status: 503\r\n\r\n"))
        else:
            return False

    app.does("/x", behave)
    r = call(app.address, "/x", "--repeat", 40, "--parallel", 3, "--report", "json")
    assert r.returncode == 1
    report = json.loads(r.stdout)
    assert report["statuses"] == {"503": 10}
    assert sorted(report["failed"].values()) == [10, 10, 10] and len(report["failed"]) == 3
    r = call(app.address, "/x", "--repeat", 8, "--parallel", 3)
    assert r.returncode == 1 and re.search(r"failed      2: .*\(the connection ended in the middle", r.stdout), r.stdout


# -- applications that are not there ------------------------------------------------------------------------------------

def test_nobody_there(folder):
    assert "there is no such socket; start the application" in bad(folder / "none", "/x")
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(folder / "dead"))
    assert "nobody listens on this socket any more" in bad(folder / "dead", "/x")
    (folder / "file").write_text("")
    assert "this is no socket" in bad(folder / "file", "/x")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        assert "nothing listens on this port" in bad(f":{port}", "/x")
        assert "nothing listens on this port" in bad(f"localhost:{port}", "/x")
        r = call(f":{port}", "/x", "--repeat", 5)
        assert r.returncode == 1 and "failed      5: no connection could be made" in r.stdout
        assert "nothing listens on this port" in r.stderr
    assert bad(folder / "none", "/x", "-s") == ""
    assert "cannot be found" in bad("no-such-host.invalid:9000", "/x")


def test_a_full_queue(folder):
    """It is tried for as long as connecting may take."""
    full = socket.socket(socket.AF_UNIX)
    full.bind(str(folder / "full"))
    full.listen(0)
    waiting = []
    for _ in range(3):
        s = socket.socket(socket.AF_UNIX)
        s.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            s.connect(str(folder / "full"))
        waiting.append(s)
    assert "queue of connections is full" in bad(folder / "full", "/x", "--connect-timeout", "200ms")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_a_socket_of_somebody_else(folder):
    s = socket.socket(socket.AF_UNIX)
    s.bind(str(folder / "root"))
    os.chmod(folder / "root", 0o600)
    said = bad(folder / "root", "/x", user=65534, group=65534)
    assert "it is for user root and group root (mode 0600)" in said


# -- the command line ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("args, why", [
    ([], "takes an ADDRESS and a SCRIPT"),
    (["/a"], "takes an ADDRESS and a SCRIPT"),
    (["/a", "/x", "y"], "takes an ADDRESS and a SCRIPT"),
    (["--values"], "takes an ADDRESS"),
    (["--values", "/a", "/x"], "takes an ADDRESS"),
    (["", "/x"], "the address"),
    (["host", "/x"], "the address host"),
    (["1.2.3.400:80", "/x"], "the address 1.2.3.400:80"),
    (["fd:0", "/x"], "cannot be connected to"),
    (["/a", ""], "no script is named"),
    (["/a", "/x", "-H", "abc"], "'Name: value'"),
    (["/a", "/x", "-H", "a_b: c"], "-e sets a param"),
    (["/a", "/x", "-e", "abc"], "NAME=VALUE"),
    (["/a", "/x", "-b", "abc"], "name=value"),
    (["/a", "/x", "-F", "abc"], "NAME=VALUE"),
    (["/a", "/x", "-d", "a", "-F", "a=b"], "--data and --form cannot be used together"),
    (["/a", "/x", "-d", "a", "-T", "/dev/null"], "cannot be used together"),
    (["/a", "/x", "-G", "-F", "a=b"], "-G and --form"),
    (["/a", "/x", "-X", "A B"], "is no method"),
    (["/a", "/x", "-m", "soon"], "number of seconds"),
    (["/a", "/x", "-m", "0"], "number of seconds"),
    (["/a", "/x", "--connect-timeout", "-1"], "number of seconds"),
    (["/a", "/x", "--repeat", "0"], "from 1 to"),
    (["/a", "/x", "--parallel", "many"], "from 1 to 10000"),
    (["/a", "/x", "--repeat", "2", "--records"], "cannot be used together"),
    (["/a", "/x", "--repeat", "2", "-o", "f"], "cannot be used together"),
    (["/a", "--repeat", "2", "--values"], "cannot be used together"),
    (["/a", "/x", "--report", "xml"], "text or json"),
    (["/a", "/x", "--io", "smoke"], "uring, epoll or auto"),
    (["/a", "/x", "--role", "queen"], "responder, authorizer or filter"),
    (["/a", "/x", "--role", "filter"], "needs --data FILE"),
    (["/a", "/x", "--role", "filter", "--data", "a", "--data", "b"], "one file"),
    (["/a", "/x", "--role", "authorizer", "-d", "a"], "no body"),
    (["/a", "/x", "--uri", "x"], "begin with '/'"),
    (["/a", "/../x", "--root", "/srv"], "/../x: "),
    (["/a", "/x", "--nonsense"], "Try 'ferry call --help'"),
    (["/a", "/x", "-Z"], "Try 'ferry call --help'"),
])
def test_usage_errors(args, why):
    assert why in bad(*args, status=64)


def test_files_that_are_not_there():
    assert "cannot read /nonexistent: No such file" in bad("/a", "/x", "-d", "@/nonexistent")
    assert "cannot read /nonexistent: No such file" in bad("/a", "/x", "-F", "a=@/nonexistent")
    assert "cannot read /nonexistent: No such file" in bad("/a", "/x", "--role", "filter", "--data", "/nonexistent")


def test_an_answer_that_cannot_be_written(app):
    assert "No such file" in bad(app.address, "/x", "-o", "/nonexistent/out")
    with open("/dev/full", "w") as full:
        r = subprocess.run([str(BUILD / "ferry"), "call", app.address, "/x"], stdout=full, stderr=subprocess.PIPE, text=True,
                           timeout=60)
    assert r.returncode == 1 and "No space left" in r.stderr


def test_help():
    out = good("--help")
    assert out.startswith("usage: ferry call [OPTION...] ADDRESS SCRIPT\n")
    assert subprocess.run([str(BUILD / "ferry"), "help", "call"], capture_output=True, text=True).stdout == out
