# SPDX-License-Identifier: MIT
"""`ferry serve DIR` with real PHP: what scripts are told, and what comes back. Each with php-fpm and with php-cgi."""
import base64
import hashlib
import json
import re
import socket
import subprocess
import time
import urllib.parse

import pytest
from conftest import wait_until
from phpsite import (MIB, NOBODY, bounded_memory, each_php, in_threads, make_site, need, pattern, pattern_sha256, serving,
                     site)

assert site  # a fixture


# -- what a script is told ---------------------------------------------------------------------------------------------

def test_a_query_arrives(site):
    told = site.json("/request.php?a=1&b=%C3%A9+x&c[]=3&c[]=4")
    assert told["get"] == {"a": "1", "b": "é x", "c": ["3", "4"]}
    assert told["server"]["QUERY_STRING"] == "a=1&b=%C3%A9+x&c[]=3&c[]=4"
    assert told["server"]["REQUEST_METHOD"] == "GET"
    assert told["sapi"] == {"php-fpm": "fpm-fcgi", "php-cgi": "cgi-fcgi"}[site.php]


def test_a_script_knows_where_it_is(site):
    with site.ferry.client() as c:
        mine = c.socket.getsockname()
        told = json.loads(c.request("GET", "/request.php?x", host="example.org:81").body)
    s = told["server"]
    root = str(site.root)
    expected = {
        "GATEWAY_INTERFACE": "CGI/1.1", "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_SCHEME": "http",
        "DOCUMENT_ROOT": root, "SCRIPT_FILENAME": root + "/request.php", "SCRIPT_NAME": "/request.php",
        "PHP_SELF": "/request.php", "REQUEST_URI": "/request.php?x", "DOCUMENT_URI": "/request.php",
        "HTTP_HOST": "example.org:81", "SERVER_NAME": "example.org", "SERVER_ADDR": "127.0.0.1",
        "SERVER_PORT": str(site.ferry.port), "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": str(mine[1]),
        "REDIRECT_STATUS": "200"}
    assert {k: s.get(k) for k in expected} == expected
    assert s["SERVER_SOFTWARE"].startswith("ferry/")
    assert not {"HTTPS", "PATH_INFO", "CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_CONNECTION"} & set(s)
    assert told["dir"] == root


def test_a_form_arrives(site):
    form = {"name": "Zoë", "text": "a&b=c\r\nd", "empty": ""}
    body = urllib.parse.urlencode(form).encode()
    r = site.post("/request.php", body, {"Content-Type": "application/x-www-form-urlencoded"})
    told = json.loads(r.body)
    assert told["post"] == form
    assert told["server"]["CONTENT_LENGTH"] == str(len(body))
    assert told["server"]["CONTENT_TYPE"] == "application/x-www-form-urlencoded"


def test_json_arrives_as_it_is(site):
    body = json.dumps({"list": list(range(3000)), "text": "é"}).encode()
    told = json.loads(site.post("/request.php", body, {"Content-Type": "application/json"}).body)
    assert told["body"].encode() == body and told["post"] == []


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "REPORT"])
def test_other_methods_with_a_body_arrive(site, method):
    with site.ferry.client() as c:
        c.send(f"{method} /body.php HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345")
        r = c.response()
    assert r.text.startswith(f"{method} CONTENT_LENGTH=5 read=5 ")


def test_a_post_without_a_byte_has_a_length(site):
    assert site.post("/body.php", b"").text.startswith("POST CONTENT_LENGTH=0 read=0 ")


def test_path_info(site):
    s = site.json("/request.php/a/b%20c/../d?q=1")["server"]
    assert s["SCRIPT_NAME"] == "/request.php"
    assert s["PATH_INFO"] == "/a/d"
    assert s["PATH_TRANSLATED"] == f"{site.root}/a/d"
    assert s["SCRIPT_FILENAME"] == f"{site.root}/request.php"
    assert s["REQUEST_URI"] == "/request.php/a/b%20c/../d?q=1"
    assert s["PHP_SELF"] == "/request.php/a/d"


def test_path_info_is_decoded(site):
    assert site.json("/request.php/%C3%A9%20%3F%25")["server"]["PATH_INFO"] == "/é ?%"


@pytest.mark.parametrize("target, answer", [
    ("/", 'front / /index.php - []'),
    ("/index.php", 'front /index.php /index.php - []'),
    ("/index.php/a/b", 'front /index.php/a/b /index.php /a/b []'),
    ("/pretty/url?x=1", 'front /pretty/url?x=1 /index.php - {"x":"1"}'),
    ("/not-there.php", 'front /not-there.php /index.php - []'),
    ("/a%20b/?q", 'front /a%20b/?q /index.php - {"q":""}')])
def test_the_front_controller_runs_what_is_not_there(site, target, answer):
    r = site.get(target)
    assert (r.status, r.text) == (200, answer + "\n")


def test_the_front_controller_takes_a_form(site):
    assert site.post("/submit/here", b"a=b").text == "front /submit/here /index.php - []\n"


def test_header_fields_become_http_names(site):
    told = site.json("/request.php", [
        ("X-One", "1"), ("x-two-words", "a, b"), ("X-Twice", "first"), ("X-Twice", "second"),
        ("Cookie", "a=1"), ("Cookie", "b=2"), ("Authorization", "Basic " + base64.b64encode(b"me:secret").decode()),
        ("X-Latin", "caf\xe9"), ("X-Empty", "")])
    s = told["server"]
    assert (s["HTTP_X_ONE"], s["HTTP_X_TWO_WORDS"], s["HTTP_X_TWICE"]) == ("1", "a, b", "first, second")
    assert s["HTTP_COOKIE"] == "a=1; b=2" and told["cookie"] == {"a": "1", "b": "2"}
    assert (s["PHP_AUTH_USER"], s["PHP_AUTH_PW"]) == ("me", "secret")
    assert s["HTTP_X_EMPTY"] == ""


def test_no_header_field_passes_for_what_it_is_not(site):
    s = site.json("/request.php", [
        ("Proxy", "http://evil.example:1"), ("X_Foo", "underscore"), ("X.Foo", "dot"), ("Content_Length", "7"),
        ("Remote_User", "admin"), ("Redirect-Status", "500"), ("X-Real", "mine"), ("X_Real", "not mine")])["server"]
    assert not {"HTTP_PROXY", "HTTP_X_FOO", "HTTP_X.FOO", "HTTP_CONTENT_LENGTH", "HTTP_REMOTE_USER", "REMOTE_USER"} & set(s)
    assert s["HTTP_X_REAL"] == "mine"
    assert s["REDIRECT_STATUS"] == "200"


def test_a_header_field_of_60_000_bytes_arrives(site):
    value = "".join(f"{i:06d}," for i in range(60_000 // 7 + 1))[:60_000]
    s = site.json("/request.php", {"X-Large": value, "X-After": "here"})["server"]
    assert s["HTTP_X_LARGE"] == value and s["HTTP_X_AFTER"] == "here"


def test_a_head_past_the_limit_is_431(site):
    r = site.get("/request.php", {"X-Large": "x" * 66_000})
    assert r.status == 431


@each_php
def test_params_beyond_64_kib_arrive(folder, serve, php):
    ferry = serve(make_site(folder / "site", "request.php"), "--php", need(php), "--max-head", "400k")
    fields = {f"X-Field-{i}": f"{i}-" + "y" * (1000 + 37 * i) for i in range(90)}
    fields["X-Large"] = "z" * 60_000
    r = ferry.get("/request.php?last", fields)
    assert r.status == 200
    s = json.loads(r.body)["server"]
    assert sum(map(len, fields.values())) > 200_000
    for name, value in fields.items():
        assert s["HTTP_" + name.upper().replace("-", "_")] == value, name
    assert s["QUERY_STRING"] == "last"


# -- bodies ------------------------------------------------------------------------------------------------------------

def multipart(parts, boundary="----ferry7d1"):
    """(fields, pieces, length) of multipart/form-data; a part is (head, pieces, length)."""
    pieces, length = [], 0
    for head, content, n in parts:
        top = f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode()
        pieces += [[top], content, [b"\r\n"]]
        length += len(top) + n + 2
    end = f"--{boundary}--\r\n".encode()
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, pieces + [[end]], length + len(end)


def send_multipart(client, target, fields, pieces, length):
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
    client.send(head + "".join(f"{k}: {v}\r\n" for k, v in fields.items()) + "\r\n")
    for piece in pieces:
        for data in piece:
            client.send(data)


def test_files_and_fields_of_one_form_arrive(site):
    small = b"\x00\r\n--\xff" * 100
    fields, pieces, length = multipart([
        ('name="text"', ["Zoë".encode()], 4), ('name="one"; filename="a b.bin"', [small], len(small)),
        ('name="two"; filename="empty.txt"', [], 0)])
    with site.ferry.client() as c:
        send_multipart(c, "/upload.php", fields, pieces, length)
        lines = c.response().text.splitlines()
    assert lines == [f"CONTENT_LENGTH={length}",
                     f"one a b.bin 0 {len(small)} {hashlib.sha256(small).hexdigest()}",
                     f"two empty.txt 0 0 {hashlib.sha256(b'').hexdigest()}", "text=Zoë"]


def test_an_upload_of_100_mib_arrives_in_bounded_memory(site):
    n = 100 * MIB
    fields, pieces, length = multipart([('name="f"; filename="large.bin"', pattern(n), n)])
    with bounded_memory(site.ferry, 64), site.ferry.client(timeout=60) as c:
        send_multipart(c, "/upload.php", fields, pieces, length)
        r = c.response()
    assert r.status == 200
    assert r.text.splitlines() == [f"CONTENT_LENGTH={length}", f"f large.bin 0 {n} {pattern_sha256(n)}"]


def test_a_chunked_upload_has_a_content_length_for_php(site):
    body = b"".join(pattern(70_000))
    with site.ferry.client() as c:
        c.send("POST /body.php HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        at, size = 0, 1
        while at < len(body):
            piece = body[at:at + size]
            c.send(f"{len(piece):X};ext=1\r\n".encode() + piece + b"\r\n")
            at, size = at + size, size * 3
        c.send("0\r\nX-Trailer: dropped\r\n\r\n")
        r = c.response()
        assert r.text == f"POST CONTENT_LENGTH=70000 read=70000 {hashlib.sha256(body).hexdigest()} -\n"
        assert c.request("GET", "/exit.php").status == 200  # the connection goes on


def test_a_long_chunked_upload_by_curl_arrives_in_bounded_memory(site):
    n = 30 * MIB
    with bounded_memory(site.ferry, 16):
        curl = subprocess.Popen(["curl", "-sS", "--max-time", "60", "-T", "-", f"http://127.0.0.1:{site.ferry.port}/body.php"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for piece in pattern(n):
            curl.stdin.write(piece)
        curl.stdin.close()
        answer = curl.stdout.read().decode()
        assert curl.wait(60) == 0
    assert answer == f"PUT CONTENT_LENGTH={n} read={n} {pattern_sha256(n)} -\n"


def test_a_body_waited_for_is_asked_for(site):
    with site.ferry.client() as c:
        c.send("POST /body.php HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert c.head()[0] == 100
        c.send("abc")
        assert c.response().text.startswith("POST CONTENT_LENGTH=3 read=3 ")


@each_php
def test_a_body_past_the_limit_is_413(folder, serve, php):
    ferry = serve(make_site(folder / "site", "body.php"), "--php", need(php), "--max-body", "100k")
    assert ferry.post("/body.php", b"x" * 102_400).text.startswith("POST CONTENT_LENGTH=102400 read=102400 ")
    with ferry.client() as c:
        c.send("POST /body.php HTTP/1.1\r\nHost: x\r\nContent-Length: 102401\r\n\r\n")
        assert c.response().status == 413
    with ferry.client() as c:
        c.send("POST /body.php HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        c.send(b"10000\r\n" + b"x" * 65_536 + b"\r\n9001\r\n")
        assert c.response().status == 413


def test_a_slow_body_takes_no_php_process(site):
    """More slow uploads than there are processes, and others are served at once."""
    clients = [site.ferry.client() for _ in range(24)]
    for c in clients:
        c.send("POST /body.php HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
    began = time.monotonic()
    assert site.get("/exit.php").status == 200
    assert time.monotonic() - began < 10
    for c in clients:
        c.send("def")
    for c in clients:
        assert c.response().text.startswith("POST CONTENT_LENGTH=6 read=6 ")
        c.close()


@pytest.mark.parametrize("n", [100, 300_000, 5 * MIB])
def test_a_script_may_leave_its_body_unread(site, n):
    with site.ferry.client() as c:
        r = c.request("POST", "/exit.php", {"Content-Type": "application/octet-stream"}, b"".join(pattern(n)))
        assert (r.status, r.complete, r.text) == (200, True, "said before\nand at the end")
        assert c.request("GET", "/exit.php").status == 200


# -- answers -----------------------------------------------------------------------------------------------------------

def test_flushed_output_arrives_as_it_is_written(site):
    with site.ferry.client() as c:
        begin = time.monotonic()
        c.send("GET /stream.php?n=4&ms=250 HTTP/1.1\r\nHost: x\r\n\r\n")
        status, _, fields = c.head()
        assert status == 200
        assert ("transfer-encoding", "chunked") in [(n.lower(), v) for n, v in fields]
        pieces = []
        while (size := int(c.line(), 16)) > 0:
            pieces.append(c.take(size))
            c.take(2)
    assert b"".join(pieces) == b"line 1\nline 2\nline 3\nline 4\n"
    assert len(pieces) > 1  # four, but for a machine that has no time for one of them until the next is there
    assert time.monotonic() - begin > 0.6


def test_an_answer_that_is_complete_at_once_has_its_length(site):
    r = site.get("/exit.php?status=0")
    assert r["Content-Length"] == "12" and r.text == "said before\n"


@pytest.mark.parametrize("query", ["", "?flush", "?status=3", "?flush&status=3"])
def test_exit_in_the_middle_is_a_whole_answer(site, query):
    with site.ferry.client() as c:
        r = c.request("GET", "/exit.php" + query)
        assert r.status == 200 and r.complete
        assert r.text == "said before\n" + ("" if "status" in query else "and at the end")
        assert c.request("GET", "/exit.php").status == 200


def test_a_fatal_error_is_500_and_in_the_log_under_its_request(site):
    with site.log() as log:
        r = site.get("/fatal.php?which=this")
    assert r.status == 500 and r.complete
    assert b"no_such_function" not in r.body
    site.logged(log, r"^ferry: app: GET /fatal\.php\?which=this: .*PHP Fatal error:  Uncaught Error: Call to undefined "
                     r"function no_such_function\(\) in .*/fatal\.php:2")
    site.logged(log, r'"GET /fatal\.php\?which=this HTTP/1\.1" 500 ')
    assert log().count("Uncaught Error") == 1
    assert "the argument" not in log()


def test_error_log_belongs_to_its_request(site):
    n = 8
    with site.log() as log:
        for r in in_threads(n, lambda i: site.get(f"/log.php?who=r{i}")):
            assert r.body == b"logged"
    wait_until(lambda: log().count("message 2 of") == n)
    said = re.findall(r"^ferry: app: GET /log\.php\?who=(r\d): (.*)$", log(), re.M)
    for i in range(n):
        lines = [line for who, line in said if who == f"r{i}"]
        assert len(lines) == 3  # each message its own, although PHP sends them as one
        text = " ".join(lines)
        assert re.findall(r"message (\d) of (r\d)", text) == [(str(k), f"r{i}") for k in range(3)]
    assert log().count("message ") == 3 * n  # and nowhere else


def test_what_scripts_log_cannot_write_to_the_terminal(site):
    with site.log() as log:
        assert site.get("/answer.php?kind=terminal").text == "done"
    site.logged(log, r"red \\x1[bB]\[31m and bell \\x07")
    assert "\x1b" not in log() and "\x07" not in log()


def test_what_scripts_write_to_stderr_is_shown(site):
    with site.log() as log:
        assert site.get("/answer.php?kind=stderr").text == "done"
    site.logged(log, r"^ferry: .*written to stderr")


def test_head_is_get_without_the_body(site):
    with site.ferry.client() as c:
        get = c.request("GET", "/answer.php?kind=length")
        head = c.request("HEAD", "/answer.php?kind=length")
        assert (head.status, head.body) == (200, b"") and head["Content-Length"] == get["Content-Length"] == "5"
        assert c.request("HEAD", "/bytes.php?n=3000000").status == 200
        assert c.request("GET", "/answer.php?kind=length").body == b"12345"


def test_location_without_a_status_is_302(site):
    r = site.get("/answer.php?kind=location")
    assert (r.status, r["Location"]) == (302, "/elsewhere?a=b")
    r = site.get("/answer.php?kind=location-201")
    assert (r.status, r["Location"], r.text) == (201, "/made", "made")


def test_the_status_is_the_scripts(site):
    r = site.get("/answer.php?kind=status")
    assert (r.status, r.reason, r.text) == (404, "Not Here", "nothing")
    for code in (400, 403, 418, 500, 503, 599):
        r = site.get(f"/answer.php?kind=code&code={code}")
        assert (r.status, r.text) == (code, "coded")
    r = site.get("/answer.php?kind=empty")
    assert (r.status, r.body, r.complete) == (200, b"", True)
    assert "Status" not in [n for n, _ in r.fields]


def test_answers_without_a_body_keep_the_connection(site):
    with site.ferry.client() as c:
        r = c.request("GET", "/answer.php?kind=not-modified")
        assert (r.status, r["ETag"], r["Transfer-Encoding"]) == (304, '"x"', None)
        r = c.request("GET", "/answer.php?kind=no-content")
        assert (r.status, r["Content-Length"], r["Transfer-Encoding"]) == (204, None, None)
        assert c.request("GET", "/exit.php").status == 200


def test_two_cookies_stay_apart(site):
    r = site.get("/answer.php?kind=cookies")
    assert [v for n, v in r.fields if n.lower() == "set-cookie"] == ["a=1", "b=2%2C%203"]


def test_fewer_bytes_than_promised_are_visibly_cut(site):
    with site.log() as log:
        with site.ferry.client() as c:
            r = c.request("GET", "/answer.php?kind=short")
            assert r.status == 200 and not r.complete and r.body == b"12345"
            assert c.closed()
    site.logged(log, r"GET /answer\.php\?kind=short .* app-cut$")


def test_paths_of_the_server_stay_inside(site):
    r = site.get("/answer.php?kind=sendfile")
    assert r.text == "own"
    assert not [n for n, _ in r.fields if n.lower() in ("x-sendfile", "x-accel-redirect", "x-powered-by-ferry")]


def test_a_long_header_field_of_the_answer_arrives(site):
    assert site.get("/answer.php?kind=long-header&len=50000")["X-Long"] == "h" * 50_000


@pytest.mark.parametrize("length", ["", "&length"])
def test_50_mib_for_a_slow_client_in_bounded_memory(site, length):
    n = 50 * MIB
    digest = hashlib.sha256()
    with bounded_memory(site.ferry, 16), site.ferry.client() as c:
        c.send(f"GET /bytes.php?n={n}{length} HTTP/1.1\r\nHost: x\r\n\r\n")
        _, _, fields = c.head()
        time.sleep(0.7)  # PHP could have written it all by now
        left = n
        if length:
            assert ("content-length", str(n)) in [(k.lower(), v) for k, v in fields]
            while left:
                data = c.take(min(left, MIB))
                assert data, "cut"
                digest.update(data)
                left -= len(data)
        else:
            while (size := int(c.line(), 16)) > 0:
                digest.update(c.take(size))
                c.take(2)
                left -= size
        assert left == 0
        c.buffer += b"" if length else c.take(2)
    assert digest.hexdigest() == pattern_sha256(n)


def test_a_script_finds_out_that_its_client_left(site):
    note = site.scratch / "note"
    with site.log() as log:
        with site.ferry.client() as c:
            c.send(f"GET /forever.php?note={note} HTTP/1.1\r\nHost: x\r\n\r\n")
            assert c.head()[0] == 200
        wait_until(note.exists)
    assert note.read_text() == "aborted"
    note.unlink()
    site.logged(log, r"GET /forever\.php.* client-gone$")


def test_more_requests_than_processes_wait(site):
    began = time.monotonic()
    answers = in_threads(40, lambda _: site.get("/sleep.php?ms=400"))
    assert all(r.status == 200 and r.text.startswith("slept ") for r in answers)
    assert len({r.text for r in answers}) > 4  # by several processes
    assert time.monotonic() - began < 14  # one after the other, it would be 16


def test_500_clients_at_once(site):
    answers = in_threads(500, lambda _: site.get("/sleep.php?ms=5"))
    assert {r.status for r in answers} == {200}


def test_a_client_may_end_its_sending_and_still_read(site):
    with site.ferry.client() as c:
        c.send("GET /stream.php?n=3&ms=60 HTTP/1.1\r\nHost: x\r\n\r\n")
        c.socket.shutdown(socket.SHUT_WR)
        r = c.response()
        assert (r.status, r.complete, r.text) == (200, True, "line 1\nline 2\nline 3\n")


def test_http_1_0(site):
    """No chunks for it: the end of a stream is the end of the connection."""
    for target, framing, body in (("/exit.php?status=0", "Content-Length: 12", b"said before\n"),
                                  ("/stream.php?n=3&ms=20", "Connection: close", b"line 1\nline 2\nline 3\n")):
        with site.ferry.client() as c:
            c.send(f"GET {target} HTTP/1.0\r\n\r\n")
            while c.fill():
                pass
        head, _, rest = c.buffer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ") and framing.encode() in head and b"chunked" not in head
        assert rest == body


def test_connections_and_pipelining(site):
    with site.ferry.client() as c:
        c.send("".join(f"GET /request.php?n={i} HTTP/1.1\r\nHost: x\r\n\r\n" for i in range(6)))
        for i in range(6):
            assert json.loads(c.response().body)["get"] == {"n": str(i)}


# -- files beside scripts ----------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def files(site):
    root = site.root
    outside = root.parent / "outside"
    for name, text in {
            "style.css": "body { color: navy }", "secret/.env": "PASSWORD=1", ".env": "PASSWORD=1", ".git/config": "[core]",
            ".htaccess": "deny", ".well-known/security.txt": "Contact: me", "up/a.jpg": "<?php echo 'ran ' . 1; ?>",
            "up/x.php.jpg": "<?php echo 'ran ' . 2; ?>", "UPPER.PHP": "<?php echo 'ran ' . 3; ?>",
            "old.php~": "<?php echo 'ran ' . 4; ?>", "old.php.bak": "<?php echo 'ran ' . 5; ?>", "lib.inc": "<?php",
            "docs/index.html": "<h1>docs</h1>", "app/index.php": "<?php echo 'app ' . $_SERVER['SCRIPT_NAME'];",
            "../outside/evil.php": "<?php echo 'ran ' . 6; ?>", "../outside/plain.txt": "stored elsewhere"}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "link.php").symlink_to(outside / "evil.php")
    (root / "linked").symlink_to(outside)
    (root / "inner.php").symlink_to(root / "request.php")
    return site


def test_a_file_has_an_etag_and_a_304(files):
    r = files.get("/style.css")
    assert (r.status, r.text, r["Content-Type"].split(";")[0]) == (200, "body { color: navy }", "text/css")
    assert r["ETag"] and r["Last-Modified"]
    with files.ferry.client() as c:
        for fields in ({"If-None-Match": r["ETag"]}, {"If-Modified-Since": r["Last-Modified"]}):
            again = c.request("GET", "/style.css", fields)
            assert (again.status, again.body, again["ETag"]) == (304, b"", r["ETag"])
        assert c.request("GET", "/style.css", {"If-None-Match": '"other"'}).status == 200
        part = c.request("GET", "/style.css", {"Range": "bytes=0-3"})
        assert (part.status, part.body) == (206, b"body")
        head = c.request("HEAD", "/style.css")
        assert (head.status, head["Content-Length"], head.body) == (200, "20", b"")


def test_files_are_only_read(files):
    r = files.post("/style.css", b"x=1")
    assert r.status == 405 and r["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/.env", "/.git/config", "/secret/.env", "/.htaccess", "/.git/", "/x/../.env", "/%2eenv",
                                  "/request.php/.hidden", "/old.php~", "/old.php.bak", "/lib.inc"])
def test_what_nobody_meant_to_publish_is_404(files, path):
    r = files.get(path)
    assert r.status == 404
    for secret in ("PASSWORD", "[core]", "deny", "<?php", "front"):
        assert secret not in r.text


def test_well_known_is_served(files):
    assert files.get("/.well-known/security.txt").text == "Contact: me"


@pytest.mark.parametrize("path", ["/up/a.jpg/x.php", "/up/a.jpg/.php", "/up/a.jpg%2Fx.php", "/up/a.jpg/x.php/y", "/up/x.php.jpg",
                                  "/up/a.jpg", "/up/x.php.jpg/index.php"])
def test_a_picture_is_never_run(files, path):
    assert "ran" not in files.get(path).text.replace("echo 'ran '", "")


def test_a_script_outside_of_the_root_is_403(files):
    for path in ("/link.php", "/linked/evil.php"):
        r = files.get(path)
        assert r.status == 403 and "ran" not in r.text
    assert files.get("/linked/plain.txt").text == "stored elsewhere"  # files may be linked in
    assert files.get("/inner.php").status == 200


def test_a_script_in_capitals_never_shows_its_source(files):
    r = files.get("/UPPER.PHP")
    assert "<?php" not in r.text
    if files.php == "php-cgi":
        assert (r.status, r.text) == (200, "ran 3")
    else:
        assert r.status == 403  # php-fpm's own security.limit_extensions


def test_a_capital_suffix_of_a_script_is_another_name(files):
    r = files.get("/request.PHP")
    assert r.text.startswith("front /request.PHP ") and "<?php" not in r.text


@pytest.mark.parametrize("path", ["/a%00.php", "/request.php%00.jpg", "/a%0d%0aX: y", "/a%0D", "/a%0Ab", "/%", "/%zz", "/../etc",
                                  "/%2e%2e/x"])
def test_bad_paths_are_400(files, path):
    assert files.get(path.replace(" ", "%20")).status == 400


def test_directories(files):
    assert files.get("/docs/").text == "<h1>docs</h1>"
    r = files.get("/docs?x=1")
    assert (r.status, r["Location"]) == (301, "/docs/?x=1")
    assert files.get("/app/").text == "app /app/index.php"
    assert files.get("/app")["Location"] == "/app/"


def test_a_new_file_and_a_gone_one_are_seen(files):
    new = files.root / "new.txt"
    assert files.get("/new.txt").text.startswith("front ")
    new.write_text("here now")
    assert files.get("/new.txt").text == "here now"
    new.unlink()
    wait_until(lambda: files.get("/new.txt").text.startswith("front "), 10, 0.2)


# -- what is served ----------------------------------------------------------------------------------------------------

@each_php
def test_script_runs_one_file_for_every_path(folder, serve, php):
    root = make_site(folder / "site")
    ferry = serve(root, "--php", need(php), "--script", root / "request.php")
    for path in ("/", "/any/path?x=1", "/index.php", "/exit.php/more"):
        s = json.loads(ferry.get(path).body)["server"]
        assert s["SCRIPT_FILENAME"] == f"{root}/request.php"
        assert s["REQUEST_URI"] == path


@each_php
def test_index_names_the_front_controller(folder, serve, php):
    root = make_site(folder / "site", "request.php", "index.php")
    ferry = serve(root, "--php", need(php), "--index", "request.php", "--server-name", "shop.example")
    for path in ("/", "/pretty"):
        s = json.loads(ferry.get(path).body)["server"]
        assert (s["SCRIPT_NAME"], s["REQUEST_URI"], s["SERVER_NAME"]) == ("/request.php", path, "shop.example")


@pytest.mark.parametrize("public", ["public", "web", "docroot", "htdocs"])
def test_the_public_folder_of_a_project_is_served(folder, public):
    php = need("php-fpm")
    project = folder / "project"
    root = make_site(project / public, "index.php")
    (project / "composer.json").write_text("{}")
    with serving(folder / "run", project, "--php", php) as ferry:
        assert ferry.get("/x").text.startswith("front /x ")
        assert "{}" not in ferry.get("/composer.json").text
    with serving(folder / "run2", "--php", php, cwd=project) as ferry:  # the current directory
        assert ferry.get("/y").text.startswith("front /y ")
    assert root.is_dir()


def test_the_root_of_a_project_hides_what_is_not_the_site(folder, serve):
    root = make_site(folder / "site", "index.php")
    for name in ("composer.json", "vendor/run.php", "config/db.yml", "storage/x.txt", "dump.sql", "public.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("CONTENT <?php echo 'ran';")
    ferry = serve(root, "--php", need("php-fpm"))
    for path in ("/composer.json", "/vendor/run.php", "/config/db.yml", "/storage/x.txt", "/dump.sql"):
        r = ferry.get(path)
        assert "CONTENT" not in r.text and "ran" not in r.text, path
    assert ferry.get("/public.txt").text.startswith("CONTENT")


@each_php
def test_php_runs_as_the_owner_of_the_site(folder, as_root, php):
    """Started by root: as the owner of the directory, or as www-data when that is root."""
    import os
    import pwd
    root = make_site(folder / "site", "request.php")
    for n, (uid, expected) in enumerate([(NOBODY, NOBODY), (0, pwd.getpwnam("www-data").pw_uid)]):
        os.chown(root, uid, 0)
        with serving(folder / f"run{n}", root, "--php", need(php)) as ferry:
            assert json.loads(ferry.get("/request.php").body)["uid"] == expected


@pytest.fixture
def as_root():
    import os
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")


@each_php
def test_ferry_runs_as_an_ordinary_user(folder, as_root, php):
    with serving(folder / "run", make_site(folder / "site", "request.php"), "--php", need(php), user=NOBODY) as ferry:
        told = json.loads(ferry.get("/request.php").body)
        assert told["uid"] == NOBODY
