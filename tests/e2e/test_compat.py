# SPDX-License-Identifier: MIT
"""What gofast, spinx and javif89/fastcgi were tested for, or should have been: with a configuration file before real
php-fpm, and before an application in Python's standard library alone."""
import base64
import contextlib
import hashlib

import pytest

from conftest import BUILD, Client, needs_php_fpm, wait_until
from phpsite import in_threads, php_fpm
from test_gateway_programs import SETTINGS, Program
from test_supervise import PYTHON

INDEX = """<?php header("X-Hello: 1", false); header("X-Hello: 2", false); header("X-Foo: 3", false); header("X-Foo: 4", false);
http_response_code(201); echo "hello index";"""
FORM = """<?php foreach ($_GET as $k => $v) echo "GET $k=$v\\n"; foreach ($_POST as $k => $v) echo "POST $k=$v\\n";
foreach ($_FILES as $k => $f) echo "FILE $k=", $f["name"], " ", hash_file("sha256", $f["tmp_name"]), "\\n";"""
ERRORS = """<?php for ($i = 1; $i <= 3; $i++) { error_log("to the log $i"); if (!isset($_GET["error_only"])) echo "line $i\\n"; }"""
TELL = """<?php header("Content-Type: application/json"); echo json_encode($_SERVER + ["body" => base64_encode(file_get_contents("php://input"))]);"""

needs_php = needs_php_fpm


class Site(Program):
    def __init__(self, folder, text):
        (folder / "ferry.conf").write_text(SETTINGS + text)
        super().__init__(folder, [str(BUILD / "ferry"), "run", "-c", str(folder / "ferry.conf")])

    def at(self, host, target):
        with Client(self.port) as c:
            return c.request("GET", target, host=host)


@contextlib.contextmanager
def ending(site):
    try:
        yield site
    finally:
        site.end()


@pytest.fixture
def root(folder):
    root = folder / "www"
    (root / "hello").mkdir(parents=True)
    (root / "a").mkdir()
    (root / "index.php").write_text(INDEX)
    (root / "hello" / "index.php").write_text(TELL)
    (root / "form.php").write_text(FORM)
    (root / "error.php").write_text(ERRORS)
    (root / "tell.php").write_text(TELL)
    (root / "big.php").write_text("<?php header('X-Big: ' . str_repeat('x', 8192)); echo 'big';")
    (root / ".env").write_text("SECRET=1")
    (root / "index.php~").write_text("SECRET")
    (root / "a" / ".env").write_text("SECRET=2")
    (folder / "www-secret").mkdir()
    (folder / "www-secret" / "x.php").write_text("<?php echo 'secret';")
    return root


@pytest.fixture
def site(folder, root):
    """One php-fpm process is all there is: whoever holds it or leaks a connection is found out."""
    with php_fpm(folder / "fpm", "pm.max_children=1") as (_, php), ending(Site(folder, f"""
        application "php" {{ connect = "{php}" }}
        site {{
            listen = "127.0.0.1:0"
            root   = "{root}"
            route "/strip/*" {{ strip_prefix {{ prefix = /strip }} php {{ application = php }} }}
            route "*" {{ files {{}} php {{ application = php }} }}
        }}""")) as s:
        yield s


@needs_php
def test_the_front_page_and_its_fields(site):
    for target in ("/", "/index.php", "/no/such/page"):
        answer = site.ask(target)
        assert (answer.status, answer.body) == (201, b"hello index")
        assert [v for n, v in answer.fields if n in ("X-Hello", "X-Foo")] == ["1", "2", "3", "4"]


@needs_php
def test_forms(site):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert site.ask("/form.php?a=1&b=two").body == b"GET a=1\nGET b=two\n"
    assert site.ask("/form.php?q=1", form, b"a=1&b=two").body == b"GET q=1\nPOST a=1\nPOST b=two\n"


@needs_php
def test_an_upload_arrives_byte_for_byte(site):
    content = bytes(range(256)) * 5000
    body = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x.bin"\r\n\r\n' + content + b"\r\n--b--\r\n"
    said = site.ask("/form.php", {"Content-Type": "multipart/form-data; boundary=b"}, body).text
    assert said == f"FILE f=x.bin {hashlib.sha256(content).hexdigest()}\n"


@needs_php
def test_json_arrives_byte_for_byte(site):
    body = b'{"name": "\xc3\xa9", "n": [1, 2]}\x00\xff'
    said = site.json("/tell.php?x=1", {"Content-Type": "application/json"}, body)
    assert said["CONTENT_TYPE"] == "application/json" and said["CONTENT_LENGTH"] == str(len(body))
    assert said["REQUEST_URI"] == "/tell.php?x=1"
    assert base64.b64decode(said["body"]) == body


@needs_php
def test_the_error_stream_changes_no_answer(site):
    for _ in range(3):
        assert site.ask("/error.php").body == b"line 1\nline 2\nline 3\n"
        assert site.ask("/error.php?error_only=1").body == b""
    wait_until(lambda: site.err.read_text().count("to the log 3") == 6)


@needs_php
def test_one_process_serves_one_after_the_other(site):
    for _ in range(20):
        assert site.ask("/").status == 201
    assert site.ask("/big.php")["X-Big"] == "x" * 8192


@needs_php
def test_browsers_that_leave_take_nothing_along(site):
    for _ in range(100):
        with Client(site.port) as c:
            c.send("GET /tell.php HTTP/1.1\r\nHost: x\r\n\r\n")
    assert site.ask("/").status == 201


@needs_php
def test_no_header_of_a_client_changes_what_runs(site, root):
    said = site.json("/tell.php", {"Script-Filename": "/etc/passwd", "Document-Root": "/", "Remote-Addr": "1.2.3.4",
                                   "Proxy": "http://evil", "Path": "/evil", "X_Foo": "1"})
    assert said["SCRIPT_FILENAME"] == f"{root}/tell.php" and said["DOCUMENT_ROOT"] == str(root)
    assert said["REMOTE_ADDR"] == "127.0.0.1" and said["HTTP_REMOTE_ADDR"] == "1.2.3.4"
    assert "HTTP_PROXY" not in said and "HTTP_X_FOO" not in said and said.get("PATH") != "/evil"


@needs_php
def test_a_folder_leads_to_its_index(site, root):
    assert site.json("/hello/")["SCRIPT_FILENAME"] == f"{root}/hello/index.php"
    said = site.json("/strip/hello/?q=1")
    assert said["SCRIPT_FILENAME"] == f"{root}/hello/index.php" and said["REQUEST_URI"] == "/strip/hello/?q=1"


@needs_php
@pytest.mark.parametrize("target", ["/.env", "/a/.env", "/%2e%65nv", "/./.env", "/a/../.env", "//.env", "/a//.env",
                                    "/.git/config", "/index.php~", "/../www-secret/x.php", "/..%2fwww-secret/x.php"])
def test_what_nobody_may_see(site, target):
    answer = site.ask(target)
    assert answer.status in (400, 404) and b"SECRET" not in answer.body and b"secret" not in answer.body


@needs_php
def test_sites_by_name_and_files_that_are_tried(folder, root):
    (root / "other").mkdir()
    (root / "other" / "page.html").write_text("a page")
    with php_fpm(folder / "fpm", "pm.max_children=2") as (_, php), ending(Site(folder, f"""
        application "php" {{ connect = "{php}" }}
        site "a.test" "b.test" {{
            listen = "127.0.0.1:0"
            route "*" {{ php {{ application = php  root = "{root}" }} }}
        }}
        site "*.c.test" {{
            listen = "127.0.0.1:0"
            root   = "{root}/other"
            route "/favicon.ico" {{ deny {{ status = 404 }} }}
            route "*" {{ try_files {{ paths = {{ "$path", "$path.html", "=404" }} }} files {{}} }}
        }}""")) as s:
        # Both sites share the one listener, since they name it alike.
        assert s.at("a.test", "/").body == b"hello index"
        assert s.at("B.TEST:80", "/").body == b"hello index"
        assert s.at("x.c.test", "/page.html").body == b"a page"
        assert s.at("x.c.test", "/page").body == b"a page"
        assert s.at("x.c.test", "/none").status == 404
        assert s.at("x.c.test", "/favicon.ico").status == 404
        assert s.at("unknown.test", "/").status == 404


@needs_php
def test_params_of_a_site_and_of_its_filters(folder, root):
    with php_fpm(folder / "fpm", "pm.max_children=2") as (_, php), ending(Site(folder, f"""
        application "php" {{ connect = "{php}" }}
        site {{
            listen = "127.0.0.1:0"
            params {{ APP_ENV = production }}
            route "*" {{
                basic_params {{}}
                map_header {{}}
                file_endpoint {{ file = "{root}/tell.php" }}
                call {{ application = php }}
            }}
        }}""")) as s:
        said = s.json("/x", {"App-Env": "none"})
        assert said["APP_ENV"] == "production" and said["REQUEST_URI"] == "/x"


@needs_php
@pytest.mark.parametrize("balance, used", [("hash", 1), ("sticky", 1), ("round-robin", 2)])
def test_a_client_keeps_its_address(folder, root, balance, used):
    """By default the key is the client's address."""
    with php_fpm(folder / "fpm1", "env[WHO]=one") as (_, one), php_fpm(folder / "fpm2", "env[WHO]=two") as (_, two), \
            ending(Site(folder, f"""
            threads = 1
            application many {{ connect = {{ "{one}", "{two}" }}  balance = {balance} }}
            site {{
                listen = "127.0.0.1:0"
                route "*" {{ php {{ application = many  root = "{root}" }} }}
            }}""")) as s:
        assert len({s.json("/tell.php")["WHO"] for _ in range(20)}) == used


def test_an_application_in_python(folder):
    program = folder / "app.py"
    program.write_text(PYTHON)
    program.chmod(0o755)
    with ending(Site(folder, f"""
        application "python" {{ spawn = {{ "{program}" }}  processes = {{ 2, 2 }} }}
        site {{ listen = "127.0.0.1:0"  route "*" {{ application {{ application = python }} }} }}""")) as s:
        assert all(in_threads(20, lambda i: s.ask(f"/{i}").body == b"hello from python\n"))


@needs_php
def test_one_process_and_200_clients(site):
    """All are answered, one after the other."""
    assert in_threads(200, lambda i: site.ask("/").status, 120) == [201] * 200
