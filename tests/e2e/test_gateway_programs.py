# SPDX-License-Identifier: MIT
"""The six gateways of docs/from-gofast.md: each as a C program (examples/gateway) and as a configuration file
(docs/gateway), with real php-fpm and the examples behind them."""
import base64
import contextlib
import json
import re
import signal
import subprocess

import pytest

from conftest import BUILD, IO, ROOT, Client, has_read, needs_php_fpm, wait_until
from gateways import listens_at
from phpsite import listens, php_fpm

# LeakSanitizer cannot look from within a sandbox; where it is not built in, the sandbox is to be there.
SANDBOX = "off" if b"__asan_init" in (BUILD / "ferry").read_bytes() else "auto"
SETTINGS = f"io = {IO or 'auto'}\nsandbox = {SANDBOX}\n"

INDEX = """<?php header("Content-Type: application/json"); header("X-Hello: 1", false); header("X-Hello: 2", false);
echo json_encode($_SERVER + ["body" => file_get_contents("php://input")]);"""

IN_C = {"single-file": ["php", "index"], "php-site": ["php", "root"], "custom-auth": ["php", "root"],
        "with-authorizer": ["authorizer", "php", "root"], "file-filter": ["filter", "root"], "pool": ["php", "root"]}


class Program:
    """A gateway in C, or `ferry run` with a configuration file: its port."""

    def __init__(self, folder, argv):
        self.out, self.err = folder / "gateway.out", folder / "gateway.err"
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        wait_until(lambda: self.out.read_text().endswith("\n") or self.process.poll() is not None, 30)
        found = re.search(r":(\d+)/", self.out.read_text())
        assert found, self.err.read_text()
        self.port = int(found[1])

    def ask(self, target, fields=(), body=b"", method=None):
        with Client(self.port) as c:
            return c.request(method or ("POST" if body else "GET"), target, fields, body)

    def json(self, *args, **kw):
        answer = self.ask(*args, **kw)
        assert answer.status == 200, (answer.status, answer.body)
        return json.loads(answer.body)

    def end(self):
        self.process.terminate()
        assert self.process.wait(30) == 0, self.err.read_text()
        said = self.err.read_text()
        for word in ("Sanitizer", "runtime error", "this must hold and does not"):
            assert word not in said, said


@contextlib.contextmanager
def example(folder, name):
    path = folder / f"{name}.sock"
    process = subprocess.Popen([str(BUILD / "examples" / name), f"unix:{path}"], stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens_at(path))
        yield f"unix:{path}"
    finally:
        process.terminate()
        assert process.wait(20) == 0


@pytest.fixture
def world(folder):
    """Where everything is: {word of IN_C: address or path}."""
    root = folder / "www"
    (root / "public").mkdir(parents=True)
    (root / "index.php").write_text(INDEX)
    (root / "public" / "index.php").write_text(INDEX)
    (root / "style.css").write_text("body { color: teal }")
    (root / "notes.txt").write_text("one line\n")
    with contextlib.ExitStack() as all_:
        _, php = all_.enter_context(php_fpm(folder / "fpm", "pm.max_children=4"))
        yield {"root": root, "index": root / "index.php", "php": php,
               "authorizer": all_.enter_context(example(folder, "authorizer")),
               "filter": all_.enter_context(example(folder, "filter"))}


@pytest.fixture
def start(folder, world):
    """start("in C" or "configured", NAME)"""
    running = []

    def go(how, name):
        if how == "in C":
            argv = [BUILD / "examples" / name, "127.0.0.1:0"] + [world[w] for w in IN_C[name]]
        else:
            text = (ROOT / "docs" / "gateway" / f"{name}.conf").read_text()
            for old, new in (("unix:/run/php/php8.2-fpm.sock", world["php"]), ("unix:/run/auth.sock", world["authorizer"]),
                             ("unix:/run/filter.sock", world["filter"]), ("/srv/bin/", f"{BUILD}/examples/"),
                             ("/srv/www", str(world["root"])), ('":8080"', '"127.0.0.1:0"')):
                text = text.replace(old, new)
            assert "/srv/" not in text and "/run/" not in text.replace(str(folder), "")
            (folder / "ferry.conf").write_text(SETTINGS + text)
            argv = [BUILD / "ferry", "run", "-c", folder / "ferry.conf"]
        running.append(Program(folder, [str(a) for a in argv]))
        return running[-1]

    yield go
    for p in running:
        if p.process.poll() is None:
            p.end()


both = pytest.mark.parametrize("how", ["in C", "configured"])
pytestmark = needs_php_fpm


def basic(name, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@both
def test_a_single_file(start, world, how):
    p = start(how, "single-file")
    for target in ("/", "/hello/world", "/index.php", "/nothing.css?x=1"):
        said = p.json(target)
        assert said["REQUEST_URI"] == target
        assert said["SCRIPT_NAME"] == "/index.php"
        assert said["SCRIPT_FILENAME"] == str(world["index"])
    assert p.json("/", body=b"a=b")["body"] == "a=b"
    assert [v for n, v in p.ask("/").fields if n == "X-Hello"] == ["1", "2"]


@both
def test_a_folder_with_assets(start, world, how):
    p = start(how, "php-site")
    assert p.json("/")["SCRIPT_NAME"] == "/index.php"
    assert p.json("/public/")["SCRIPT_FILENAME"] == f"{world['root']}/public/index.php"
    assert p.json("/index.php/info?q=1")["PATH_INFO"] == "/info"
    css = p.ask("/style.css")
    assert (css.status, css["Content-Type"], css.body) == (200, "text/css; charset=utf-8", b"body { color: teal }")
    assert p.ask("/.env").status == 404
    assert p.ask("/../../etc/passwd").status == 400


def test_authentication_of_ones_own_in_c(start, world):
    p = start("in C", "custom-auth")
    refused = p.ask("/")
    assert (refused.status, refused["WWW-Authenticate"], refused.body) == (401, "Bearer", b"who are you?\n")
    assert p.ask("/", {"Authorization": "Bearer sesam"}).status == 401
    assert p.json("/", {"Authorization": "Bearer sesame"})["REMOTE_USER"] == "ann"


def test_authentication_of_ones_own_by_a_program(start, world):
    p = start("configured", "custom-auth")
    assert p.ask("/").status == 401
    for _ in range(3):
        assert p.json("/", basic("ann", "secret"))["REMOTE_USER"] == "ann"
        assert p.ask("/", basic("ann", "wrong")).status == 401


@both
def test_an_authorizer(start, world, how):
    p = start(how, "with-authorizer")
    refused = p.ask("/")
    assert refused.status == 401 and refused["WWW-Authenticate"].startswith("Basic")
    assert p.ask("/", basic("bob", "hunter2")).status == 403
    said = p.json("/?q=1", basic("ann", "secret") | {"Remote-User": "root", "Variable-REMOTE_USER": "root"}, body=b"x" * 300000)
    assert said["REMOTE_USER"] == "ann" and said["AUTH_TYPE"] == "Basic"
    assert said["QUERY_STRING"] == "q=1" and said["body"] == "x" * 300000
    if how == "configured":
        assert p.json("/public/")["SCRIPT_NAME"] == "/public/index.php"


@both
def test_a_filter(start, world, how):
    p = start(how, "file-filter")
    page = p.ask("/notes.txt")
    assert page.status == 200 and b"one line" in page.body and b"<" in page.body
    assert p.ask("/nothing.txt").status == 404
    assert p.ask("/public").status == 404
    assert p.ask("/notes.txt", method="DELETE").status == 405


@both
def test_a_pool(start, world, how):
    p = start(how, "pool")
    for _ in range(30):
        assert p.json("/")["SCRIPT_NAME"] == "/index.php"


@both
@pytest.mark.parametrize("name, more", [("php-site", {}), ("pool", {}), ("with-authorizer", "Basic"), ("custom-auth", "Bearer")])
def test_styles_and_images_are_files_whatever_stands_before(start, world, how, name, more):
    p = start(how, name)
    if more:
        assert p.ask("/style.css").status == 401
        own = more == "Bearer" and how == "in C"
        more = {"Authorization": "Bearer sesame"} if own else basic("ann", "secret")
    page = p.ask("/style.css", more)
    assert (page.status, page.body) == (200, b"body { color: teal }")
    assert page["Content-Type"].startswith("text/css")
    assert p.json("/", more)["SCRIPT_NAME"] == "/index.php"


def test_it_ends_when_its_requests_have(start, world):
    (world["root"] / "slow.php").write_text("<?php usleep(700000); echo 'done';")
    p = start("in C", "php-site")
    with Client(p.port) as c:
        c.send("GET /slow.php HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: has_read(p.port))
        p.process.terminate()
        assert c.response().body == b"done"
    assert p.process.wait(20) == 0


def test_told_twice_it_ends_at_once(start, world):
    (world["root"] / "slow.php").write_text("<?php sleep(20);")
    p = start("in C", "php-site")
    with Client(p.port) as c:
        c.send("GET /slow.php HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: has_read(p.port))
        p.process.terminate()
        wait_until(lambda: not listens(("127.0.0.1", p.port)))
        p.process.send_signal(signal.SIGINT)
        assert p.process.wait(15) == 0


def test_each_is_short():
    for path in [*(ROOT / "examples" / "gateway").glob("*.c"), *(ROOT / "docs" / "gateway").glob("*.conf")]:
        assert len(path.read_text().splitlines()) < 60, path


@pytest.mark.parametrize("name", IN_C)
def test_wrong_arguments(name):
    said = subprocess.run([BUILD / "examples" / name], capture_output=True, text=True, timeout=20)
    assert said.returncode == 64 and said.stderr.startswith("usage: ")
