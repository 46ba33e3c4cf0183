# SPDX-License-Identifier: MIT
"""Authorizers and filters behind `ferry run`: examples, PHP, and scripted ones that answer as they should not."""
import json
import os
import re
import subprocess
import threading

import pytest
from conftest import BUILD, IO, Client, needs_php_fpm, wait_until
from fakeapp import ABORT, DATA, App, answer, end, stdout
from gateways import listens_at

ANN = {"Authorization": "Basic YW5uOnNlY3JldA=="}
BOB = {"Authorization": "Basic Ym9iOmh1bnRlcjI="}


# LeakSanitizer cannot look from within a sandbox; where it is not built in, the sandbox is to be there.
SANDBOX = "off" if b"__asan_init" in (BUILD / "ferry").read_bytes() else "auto"


class Run:
    """A running `ferry run` with this configuration, on one port."""

    def __init__(self, folder, text):
        conf = folder / "ferry.conf"
        conf.write_text(f"threads = 1\nio = {IO}\nsandbox = {SANDBOX}\n{text}")
        self.out_path, self.err_path = folder / "run.out", folder / "run.err"
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen([str(BUILD / "ferry"), "run", "-c", str(conf)], stdout=out, stderr=err,
                                            stdin=subprocess.DEVNULL)
        wait_until(lambda: re.search(r":\d+", self.out_path.read_text()) or self.process.poll() is not None, 20)
        assert self.process.poll() is None, self.err
        self.port = int(re.search(r":(\d+)", self.out_path.read_text()).group(1))

    @property
    def err(self):
        return self.err_path.read_text(errors="replace")

    def ask(self, target, fields=(), method="GET", body=b""):
        with Client(self.port, timeout=60) as c:
            return c.request(method, target, fields, body)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(30) == 0, self.err
        for word in ("AddressSanitizer", "runtime error:", "this must hold and does not", "LeakSanitizer"):
            assert word not in self.err, self.err


@pytest.fixture
def run(folder):
    running = []

    def start(text):
        running.append(Run(folder, text))
        return running[-1]

    yield start
    for r in running:
        if r.process.poll() is None:
            r.stop()


@pytest.fixture
def example(folder):
    """example(name) starts a program of examples/ on a unix socket: its address."""
    running = []

    def start(name):
        path = folder / f"{name}.sock"
        running.append(subprocess.Popen([str(BUILD / "examples" / name), f"unix:{path}"], stdin=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL))
        wait_until(lambda: listens_at(path))
        return f"unix:{path}"

    yield start
    for process in running:
        process.terminate()
        process.wait(10)


@pytest.fixture
def apps(folder):
    """apps(name): a scripted application."""
    made = []

    def start(name):
        made.append(App(folder / f"{name}.sock"))
        return made[-1]

    yield start
    for app in made:
        app.close()


def tells(app):
    """The application answers with what it was told, as JSON."""
    app.default = lambda c, rq: c.send(answer(b"Content-Type: application/json\r\n\r\n" + json.dumps(
        {"params": rq.params, "body": rq.body.decode("latin-1")}).encode(), rq.id))
    return app


def says(app, block, asked=None):
    """The authorizer answers each request with this header block, once its params are there."""
    def behave(c, rq):
        if asked is not None:
            asked.append(dict(rq.params))
        return c.send(answer(block(rq) if callable(block) else block, rq.id))

    app.on = type("Any", (dict,), {"get": lambda self, path: (behave, True)})()
    return app


def config(authorizer, responder, options=""):
    return f"""
application auth {{ connect = "{authorizer}" }}
application app {{ connect = "{responder}" }}
site {{
    listen = 127.0.0.1:0
    access-log = off
    route "*" {{ authorize {{ application = auth {options} }}  application {{ application = app }} }}
}}
"""


# -- the example ---------------------------------------------------------------------------------------------------------

def test_the_example_decides(run, example, apps):
    app = tells(apps("app"))
    r = run(config(example("authorizer"), app.address))
    answer = r.ask("/page")
    assert (answer.status, answer.text) == (401, "Who are you?\n")
    assert answer["WWW-Authenticate"] == 'Basic realm="the harbour", charset="UTF-8"'
    answer = r.ask("/page", BOB)
    assert (answer.status, answer.text) == (403, "You may not come in.\n")
    assert not app.seen  # nobody was asked for a page

    answer = r.ask("/page?q=1", ANN)
    assert answer.status == 200
    params = json.loads(answer.body)["params"]
    assert params["REMOTE_USER"] == "ann" and params["AUTH_TYPE"] == "Basic"
    assert params["PATH_INFO"] == "/page" and params["QUERY_STRING"] == "q=1"
    assert answer["Variable-REMOTE_USER"] is None


def test_a_body_waits_for_the_verdict(run, example, apps):
    r = run(config(example("authorizer"), tells(apps("app")).address))
    for size in (5, 300_000):
        body = bytes(i % 26 + 97 for i in range(size))
        answer = r.ask("/page", ANN, "POST", body)
        told = json.loads(answer.body)
        assert told["params"]["CONTENT_LENGTH"] == str(size)
        assert told["body"].encode() == body
    assert r.ask("/page", {}, "POST", b"a" * 300_000).status == 401
    with Client(r.port) as c:  # and the connection is good for more
        for _ in range(3):
            assert c.request("POST", "/page", ANN, b"abc").status == 200
            assert c.request("POST", "/page", BOB, b"abc").status == 403


def test_many_at_once_get_their_own_verdicts(run, example, apps):
    r = run(config(example("authorizer"), tells(apps("app")).address))
    wrong = []

    def ask(n):
        fields, want = [(ANN, 200), (BOB, 403), ({}, 401)][n % 3]
        with Client(r.port, timeout=60) as c:
            for i in range(20):
                got = c.request("GET", f"/{n}/{i}", fields)
                if got.status != want:
                    wrong.append((n, got.status))
                elif want == 200 and json.loads(got.body)["params"]["PATH_INFO"] != f"/{n}/{i}":
                    wrong.append((n, got.body))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


# -- scripted authorizers ------------------------------------------------------------------------------------------------

def test_what_is_asked(run, apps):
    asked = []
    auth = says(apps("auth"), b"Status: 200\r\n\r\n", asked)
    r = run(config(auth.address, tells(apps("app")).address))
    assert r.ask("/a/b?c", {"Content-Type": "text/plain", "X-One": "1"}, "POST", b"body").status == 200
    params, = asked
    assert params["REQUEST_METHOD"] == "POST" and params["REQUEST_URI"] == "/a/b?c" and params["HTTP_X_ONE"] == "1"
    assert not {"CONTENT_LENGTH", "CONTENT_TYPE", "PATH_INFO", "PATH_TRANSLATED", "SCRIPT_NAME"} & set(params)
    assert auth.seen[0].body == b""


def test_nothing_that_a_client_sends_passes_as_a_variable(run, apps):
    auth = says(apps("auth"), b"Status: 200\r\nVariable-X_USER: ann\r\n\r\n")
    r = run(config(auth.address, tells(apps("app")).address, "variables = { X_GROUP }"))
    for name in ("X-User", "x-user", "X_User", "X_USER", "X.User", "X-Group", "x_group", "X.GROUP", "Variable-X_USER"):
        answer = r.ask("/page", [(name, "evil"), (name.lower(), "evil")])
        params = json.loads(answer.body)["params"]
        assert params["X_USER"] == "ann", name
        assert not [n for n in params if n.endswith(("HTTP_X_USER", "X_GROUP")) or n == "HTTP_X_GROUP"], name
    r = run(config(auth.address, tells(apps("app2")).address, "as_fields = on"))
    params = json.loads(r.ask("/page", {"X-User": "evil"}).body)["params"]
    assert params["HTTP_X_USER"] == "ann"


def test_without_an_answer_nobody_passes(run, folder, apps):
    app = tells(apps("app"))
    whole = b"Status: 200\r\nVariable-A: 1\r\n\r\n"
    cases = {
        "nothing": [],
        "cut-head": [stdout(whole[:12])],
        "cut-behind-head": [stdout(whole)],
        "no-header": [answer(b"200 OK")],
        "bad-header": [answer(b"Status: 200\r\nno colon\r\n\r\n")],
        "bad-status": [answer(b"Status: yes\r\n\r\n")],
        "bad-role": [end(protocol_status=3)],
        "empty": [answer(b"")],
        "garbage": [b"HTTP/1.1 200 OK\r\n\r\n"],
    }
    auth = apps("auth")
    for name, pieces in cases.items():
        auth.says(f"/{name}", *pieces, early=True)
    r = run(config(auth.address, app.address))
    for name in cases:
        assert r.ask(f"/{name}").status in (500, 502, 503), name
    assert not app.seen

    r = run(config(f"unix:{folder}/nobody.sock", app.address))
    assert r.ask("/page").status in (502, 503)
    assert not app.seen


def test_a_silent_authorizer_is_not_waited_for(run, apps):
    app, auth = tells(apps("app")), apps("auth")
    auth.does("/page", lambda c, rq: c.wait_closed(), early=True)
    text = config(auth.address, app.address)
    r = run(text.replace("application auth {", "application auth { first-byte-timeout = 300ms "))
    assert r.ask("/page").status == 504
    assert not app.seen


def test_a_client_that_leaves_while_it_is_asked_about(run, apps):
    app, auth = tells(apps("app")), apps("auth")
    came, gone = threading.Event(), threading.Event()

    def slow(c, rq):
        came.set()
        while True:
            taken = c.take()
            if taken is None or taken[0] == ABORT:
                gone.set()
                return False

    auth.does("/slow", slow, early=True)
    auth.does("/page", lambda c, rq: c.send(answer(b"Status: 200\r\n\r\n", rq.id)), early=True)
    r = run(config(auth.address, app.address))
    c = Client(r.port)
    c.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
    assert came.wait(30)
    c.close()
    assert gone.wait(30)  # the authorizer is told that nobody waits
    assert r.ask("/page").status == 200
    assert [rq.path for rq in app.seen] == ["/page"]


def test_other_answers_are_the_clients(run, apps):
    auth = says(apps("auth"), lambda rq: b"Status: 302 Found\r\nLocation: /login\r\nSet-Cookie: a=b\r\n"
                b"Variable-SECRET: x\r\nContent-Type: text/plain\r\n\r\ngo there")
    r = run(config(auth.address, tells(apps("app")).address))
    answer = r.ask("/page")
    assert (answer.status, answer.text) == (302, "go there")
    assert answer["Location"].endswith("/login") and answer["Set-Cookie"] == "a=b"
    assert answer["Variable-SECRET"] is None


def test_verdicts_are_remembered(run, apps):
    asked = []
    auth = says(apps("auth"), lambda rq: b"Status: 200\r\nVariable-USER: " +
                rq.params.get("HTTP_AUTHORIZATION", "nobody").encode() + b"\r\n\r\n", asked)
    r = run(config(auth.address, tells(apps("app")).address,
                   'cache_key = "$http_authorization" cache = 1h cache_max = 2'))
    for user in ("a", "a", "b", "a", "b"):
        params = json.loads(r.ask("/page", {"Authorization": user, "User": "evil"}).body)["params"]
        assert params["USER"] == user and "HTTP_USER" not in params
    assert len(asked) == 2
    r.ask("/page", {"Authorization": "c"})
    r.ask("/page", {"Authorization": "b"})
    assert len(asked) == 3
    r.ask("/page", {"Authorization": "a"})  # the third that was too many
    assert len(asked) == 4


@pytest.mark.parametrize("more, questions", [("cache_refused = 1h", 1), ("cache_refused = 0", 3)])
def test_refusals_are_remembered(run, apps, more, questions):
    asked = []
    auth = says(apps("auth"), lambda rq: b"Status: 401\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\nno, says the authorizer",
                asked)
    r = run(config(auth.address, tells(apps("app")).address, f'cache_key = "$http_authorization" cache = 1h {more}'))
    answers = [r.ask("/page", {"Authorization": "bad"}) for _ in range(3)]
    assert [(a.status, a["WWW-Authenticate"]) for a in answers] == [(401, 'Basic realm="x"')] * 3
    assert answers[0].text == "no, says the authorizer"
    assert ("says the authorizer" in answers[2].text) == (questions == 3)
    assert len(asked) == questions
    r.ask("/page", {"Authorization": "another"})
    assert len(asked) == questions + 1


@pytest.mark.parametrize("name", ["X-Token", "Cookie", "Authorization"])
def test_a_field_sent_twice_shares_no_verdict(run, apps, name):
    """Whatever was remembered before: who sends a field several times is judged by all of it."""
    variable = name.lower().replace("-", "_")
    asked = []
    auth = says(apps("auth"), lambda rq: b"Status: %d\r\n\r\n" % (
        200 if rq.params.get(f"HTTP_{variable.upper()}") in ("ann", "cat") else 403), asked)
    app = tells(apps("app")).address
    forgets = run(config(auth.address, app))
    remembers = run(config(auth.address, app, f'cache_key = "$http_{variable}" cache = 1h cache_refused = 1h'))
    sent = [["ann"], ["bob"], ["ann", "bob"], ["bob", "ann"], ["ann", "ann"], ["ann", "cat"], ["cat"], ["ann", ""],
            ["", "ann"], ["bob", "ann", "bob"], ["ann, bob"]]
    wants = [forgets.ask("/page", [(name, v) for v in values]).status for values in sent]
    assert wants[0] == 200 and wants[6] == 200 and 200 not in wants[1:6]
    asked.clear()
    for order in (list(zip(sent, wants)), list(zip(sent, wants))[::-1]):
        for values, want in order:
            assert remembers.ask("/page", [(name, v) for v in values]).status == want, values
    assert len(asked) <= 2 * len(sent) - sum(len(values) == 1 for values in sent)  # it did remember


# -- PHP -----------------------------------------------------------------------------------------------------------------

@needs_php_fpm
def test_php_asks_php(run, folder):
    root = folder / "site"
    root.mkdir()
    (root / "index.php").write_text('<?php echo json_encode($_SERVER);')
    (root / "note.txt").write_text("for members")
    (folder / "auth.php").write_text("""<?php
        if (($_SERVER['HTTP_X_KEY'] ?? '') !== 'open') { http_response_code(403); exit('no key: ' . $_SERVER['REQUEST_URI']); }
        header('Variable-MEMBER: yes');
        header('Variable-INPUT: ' . strlen(file_get_contents('php://input')));
    """)
    for path in (root, root / "index.php", root / "note.txt", folder / "auth.php"):
        path.chmod(0o755)
    r = run(f"""
application php {{ spawn-php = auto  chdir = "{root}" }}
site {{
    listen = 127.0.0.1:0
    access-log = off
    root = "{root}"
    route "*" {{
        authorize {{ application = php  script = "{folder}/auth.php" }}
        php {{ application = php }}
        files {{}}
    }}
}}
""")
    answer = wait_until(lambda: (a := r.ask("/note.txt")).status != 502 and a, 20)
    assert (answer.status, answer.text) == (403, "no key: /note.txt")
    assert r.ask("/note.txt", {"X-Key": "open"}).text == "for members"
    for target in ("/", "/index.php/x", "/route"):
        server = json.loads(r.ask(target, {"X-Key": "open", "Member": "no"}, "POST", b"12345").body)
        assert server["MEMBER"] == "yes" and server["INPUT"] == "0" and "HTTP_MEMBER" not in server
        assert server["SCRIPT_FILENAME"] == f"{root}/index.php" and server["CONTENT_LENGTH"] == "5"
    assert r.ask("/.env", {"X-Key": "open"}).status == 404


# -- the filter role -----------------------------------------------------------------------------------------------------

def test_files_go_through_the_example(run, folder, example):
    (folder / "files").mkdir()
    (folder / "files" / "notes.txt").write_text("salt & <water>\n" * 5000)
    (folder / "files" / ".secret").write_text("x")
    r = run(f"""
application pages {{ connect = "{example('filter')}" }}
site {{
    listen = 127.0.0.1:0
    access-log = off
    root = "{folder}/files"
    route "*" {{ filter_files {{}}  application {{ application = pages }} }}
}}
""")
    answer = r.ask("/notes.txt")
    assert answer.status == 200
    assert answer.text.count("salt &amp; &lt;water>") == 5000
    assert r.ask("/missing.txt").status == 404
    assert r.ask("/").status == 404
    assert r.ask("/.secret").status == 404
    answer = r.ask("/notes.txt", method="DELETE")
    assert answer.status == 405 and answer["Allow"] == "GET, HEAD, POST"


def test_a_filter_of_a_file_of_five_gigabytes(run, folder, apps):
    size = 5 << 30
    path = folder / "large.bin"
    with open(path, "wb") as f:
        f.truncate(size)
        f.seek(size - 4)
        f.write(b"last")
    os.utime(path, (0, 4_300_000_000))
    app = apps("app")

    def count(c, rq):
        """Reads records with as little work as can be; the file comes behind an empty STDIN."""
        got, tail, buffer = 0, b"", memoryview(bytearray(1 << 20))
        have = 0
        while True:
            n = c.socket.recv_into(buffer[have:])
            if n == 0:
                return False
            have += n
            at = 0
            while have - at >= 8:
                kind, length, padding = buffer[at + 1], buffer[at + 4] << 8 | buffer[at + 5], buffer[at + 6]
                if have - at < 8 + length + padding:
                    break
                if kind == DATA and length == 0:
                    text = f"{got} {tail.decode()} {rq.params['FCGI_DATA_LENGTH']} {rq.params['FCGI_DATA_LAST_MOD']}"
                    c.send(answer(b"Content-Type: text/plain\r\n\r\n" + text.encode(), rq.id))
                    return False
                if kind == DATA:
                    got += length
                    tail = bytes(buffer[at + 8 + length - 4:at + 8 + length])
                at += 8 + length + padding
            buffer[:have - at] = bytes(buffer[at:have])
            have -= at

    app.does("/large.bin", count, early=True)
    r = run(f"""
application app {{ connect = "{app.address}" }}
site {{
    listen = 127.0.0.1:0
    access-log = off
    root = "{folder}"
    route "*" {{ filter_files {{}}  application {{ application = app }} }}
}}
""")
    with Client(r.port, timeout=300) as c:
        assert c.request("GET", "/large.bin").text == f"{size} last {size} 4300000000"
