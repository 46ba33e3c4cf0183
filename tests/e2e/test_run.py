# SPDX-License-Identifier: MIT
"""`ferry run`: sites and routes of a configuration, reload, privileges, the sandbox; `ferry serve --print-config`."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
from conftest import BUILD, IO, Client, Ferry, children_of, name_of, needs_php_fpm, wait_until

FERRY = str(BUILD / "ferry")
HELLO = str(BUILD / "examples" / "hello")
APP = pathlib.Path(__file__).with_name("little_app.py")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


class Run(Ferry):
    """A running `ferry run`, with its configuration in a file. A sandbox keeps LeakSanitizer from looking."""

    def __init__(self, folder, text, *args):
        self.folder, self.conf = folder, folder / "ferry.conf"
        self.out_path, self.err_path = folder / "ferry.out", folder / "ferry.err"
        self.write(text)
        leaks = "detect_leaks=0:" if "sandbox = off" not in text else ""
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(
                [FERRY, "run", "-c", str(self.conf), *args], stdout=out, stderr=err, stdin=subprocess.DEVNULL, cwd=folder,
                env={**os.environ, "ASAN_OPTIONS": leaks + os.environ.get("ASAN_OPTIONS", "")})
        wait_until(lambda: self.out.count("\n") or self.process.poll() is not None, 30)
        self.ports = [int(p) for p in re.findall(r":(\d+)/", self.out)]
        self.port = self.ports[0] if self.ports else None

    def write(self, text):
        self.conf.write_text(f"io = {IO}\nthreads = 2\n{text}")

    def reload(self, text=None, said="in force"):
        """Until it is done, in one way or the other."""
        before = self.err.count(said)
        if text is not None:
            self.write(text)
        self.process.send_signal(signal.SIGHUP)
        try:
            wait_until(lambda: self.err.count(said) > before, 60)
        except AssertionError:
            raise AssertionError(self.err[-2000:]) from None

    def at(self, target, host="localhost", port=None, **kw):
        with Client(port or self.port) as c:
            return c.request("GET", target, host=host, **kw)

    def workers(self):
        return [p for p in children_of(self.master()) if is_ferry(p)]


def is_ferry(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe") == str(BUILD / "ferry")
    except OSError:
        return False


def status_of(pid):
    """/proc/PID/status as a dict."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {k: v.split() for k, v in (line.split(":", 1) for line in lines)}


@pytest.fixture
def run(folder):
    running = []

    def start(text, *args):
        at = folder / f"run{len(running)}"
        at.mkdir()
        ferry = Run(at, text, *args)
        running.append(ferry)
        return ferry

    yield start
    for ferry in running:
        if ferry.process.poll() is None:
            assert ferry.stop(seconds=60) == 0, ferry.err
        for word in ("AddressSanitizer", "runtime error:", "LeakSanitizer", "this must hold and does not"):
            assert word not in ferry.err, ferry.err


@pytest.fixture
def site(folder):
    root = folder / "site"
    root.mkdir()
    (root / "a.txt").write_text("a file")
    return root


def check(folder, text, *args):
    conf = folder / "check.conf"
    conf.write_text(text)
    return subprocess.run([FERRY, "run", "-t", "-c", str(conf), *args], capture_output=True, text=True, timeout=30)


# -- the command line --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("args, word", [([], "-c FILE"), (["-c"], "argument"), (["-c", "x", "y"], "no arguments"),
                                        (["--colour"], "--colour")])
def test_bad_usage_is_64(args, word):
    p = subprocess.run([FERRY, "run", *args], capture_output=True, text=True, timeout=20)
    assert p.returncode == 64 and word in p.stderr


def test_help():
    p = subprocess.run([FERRY, "help", "run"], capture_output=True, text=True, timeout=20)
    assert p.returncode == 0
    for option in ("--config", "--check", "--verbose", "--quiet", "--help"):
        assert option in p.stdout


def test_a_bad_configuration_is_78_with_file_and_line(folder, site):
    text = f'site {{\n  listen = "127.0.0.1:0"\n  rooot = {site}\n  route * {{ files {{}} }}\n}}\n'
    p = check(folder, text)
    assert p.returncode == 78 and p.stdout == ""
    assert f"{folder}/check.conf:3: " in p.stderr and "root" in p.stderr
    p = subprocess.run([FERRY, "run", "-c", str(folder / "check.conf")], capture_output=True, text=True, timeout=30)
    assert p.returncode == 78 and "check.conf:3: " in p.stderr
    assert subprocess.run([FERRY, "run", "-c", "/no/such/file"], capture_output=True, timeout=30).returncode == 78


def test_what_only_a_filter_knows_is_checked_too(folder, site):
    p = check(folder, f'site {{ listen = "127.0.0.1:0"\n root = {site}\n route * {{\n deny {{ status = 200 }} }} }}\n')
    assert p.returncode == 78 and "check.conf:4: deny" in p.stderr


def test_a_good_one_is_good_and_nothing_is_started(folder, site):
    p = check(folder, f'application a {{ spawn = /no/such }}\nsite {{ listen = "127.0.0.1:1"\n root = {site}\n'
              'route "/a/*" { application a {} }\n route * { files {} } }\n')
    assert (p.returncode, p.stderr) == (0, "") and "is good" in p.stdout


# -- sites and routes --------------------------------------------------------------------------------------------------

def test_sites_by_name_and_port_and_routes(run, folder, site, hello):
    (folder / "two").mkdir()
    (folder / "two" / "a.txt").write_text("another")
    (folder / "gone.html").write_text("<p>our own page")
    (folder / "part.conf").write_text('route /red { redirect { to = "/a.txt" status = 307 } }\n')
    ferry = run(f'''
application hello {{ connect = "{hello}" }}
application little {{ spawn = {{ {APP} }} env {{ LITTLE = here }} }}
site one.test {{
    listen = {{ "127.0.0.1:0", "{folder}/one.sock" }}
    root = {site}
    access-log = {folder}/one.log
    log-format = json
    params {{ MY_PARAM = "from the site" }}
    error-page 404 {{ file = {folder}/gone.html }}
    include {folder}/part.conf
    route /no {{ deny {{ status = 403 }} }}
    route "/hello/*" {{ application hello {{}} }}
    route "/params/*" {{ set_param {{ name = ONE_MORE value = more }} application little {{}} }}
    route * {{ files {{}} }}
}}
site "*.two.test" {{ listen = "{folder}/one.sock" root = {folder}/two
    route * {{ files {{}} }} }}
''')
    assert ferry.port, ferry.err
    assert ferry.at("/a.txt", "one.test").body == b"a file"
    sock = f"{folder}/one.sock"
    assert ferry.at("/a.txt", "one.test", sock).body == b"a file"
    assert ferry.at("/a.txt", "x.two.test", sock).body == b"another"
    assert ferry.at("/hello/x", "one.test").body == b"hello, ferry"
    assert ferry.at("/no", "one.test").status == 403
    r = ferry.at("/red", "one.test")
    assert r.status == 307 and r["Location"].endswith("/a.txt")
    r = ferry.at("/gone", "one.test")
    assert r.status == 404 and r.body == b"<p>our own page"
    got = json.loads(ferry.at("/params/x", "one.test").body)
    assert got["MY_PARAM"] == "from the site" and got["ONE_MORE"] == "more"
    lines = wait_until(lambda: len((folder / "one.log").read_text().splitlines()) >= 7 and
                       (folder / "one.log").read_text().splitlines())
    assert [json.loads(line)["status"] for line in lines].count(404) == 1


def test_logs_are_opened_anew_without_a_gap(run, folder, site):
    log = folder / "log"
    ferry = run(f'site {{ listen = "127.0.0.1:0" root = {site} access-log = {log}\n route * {{ files {{}} }} }}\n')
    assert ferry.at("/a.txt").status == 200
    wait_until(lambda: "/a.txt" in log.read_text())
    log.rename(folder / "log.1")
    ferry.process.send_signal(signal.SIGUSR1)
    wait_until(log.exists, 30)
    wait_until(lambda: ferry.at("/a.txt?new").status == 200 and "?new" in log.read_text(), 30)


def test_a_worker_that_crashes_is_started_again_with_what_is_in_force(run, site, folder):
    (folder / "two").mkdir()
    (folder / "two" / "a.txt").write_text("two")
    text = 'site {{ listen = "127.0.0.1:0" root = {}\n route * {{ files {{}} }} }}\n'
    ferry = run(text.format(site))
    ferry.reload(text.format(folder / "two"))
    assert ferry.at("/a.txt").body == b"two"
    wait_until(lambda: len(ferry.workers()) == 1, 30)
    os.kill(ferry.workers()[0], signal.SIGKILL)
    wait_until(lambda: "starting another" in ferry.err)

    def answered():
        try:
            return ferry.at("/a.txt").body == b"two"
        except (OSError, AttributeError):
            return False
    wait_until(answered, 30)


# -- reload ------------------------------------------------------------------------------------------------------------

def test_the_pid_file_goes_where_the_new_configuration_says(run, folder, site):
    text = f'site {{ listen = "127.0.0.1:0" root = {site}\n route * {{ files {{}} }} }}\n'
    one, two = folder / "one.pid", folder / "two.pid"
    ferry = run(f"pid-file = {one}\n{text}")
    assert one.read_text() == f"{ferry.process.pid}\n"
    ferry.reload(f"pid-file = {two}\n{text}")
    assert two.read_text() == f"{ferry.process.pid}\n" and not one.exists()
    # One that cannot be written: the file there is stays.
    ferry.reload(f"pid-file = {folder}/no/three.pid\n{text}")
    assert f"cannot write the pid file {folder}/no/three.pid: No such file" in ferry.err
    assert two.read_text() == f"{ferry.process.pid}\n"
    ferry.reload(text)
    assert not two.exists()
    ferry.reload(f"pid-file = {one}\n{text}")
    assert one.read_text() == f"{ferry.process.pid}\n"
    ferry.reload()
    assert one.exists()
    assert ferry.stop(seconds=60) == 0
    assert not one.exists()


def test_a_bad_file_leaves_all_as_it_was_and_says_why(run, site):
    text = f'site {{ listen = "127.0.0.1:0" root = {site}\n route * {{ files {{}} }} }}\n'
    ferry = run(text)
    worker = ferry.workers()
    ferry.reload(text + "nonsense = 1\n", said="stays as it was")
    assert "ferry.conf:" in ferry.err and "nonsense" in ferry.err
    ferry.reload(text.replace(str(site), str(site / "gone")), said="stays as it was")
    assert "cannot serve" in ferry.err
    ferry.reload(f"application x {{ spawn = /no/such/program }}\n{text}", said="stays as it was")
    assert "/no/such/program" in ferry.err
    ferry.reload(text.replace('"127.0.0.1:0"', '{ "127.0.0.1:0", "192.0.2.1:81" }'), said="stays as it was")
    assert "192.0.2.1:81" in ferry.err
    assert ferry.at("/a.txt").status == 200
    assert ferry.workers() == worker


def test_addresses_and_threads_come_and_go(run, site, folder):
    text = 'site {{ listen = {} root = {}\n route * {{ files {{}} }} }}\n'
    ferry = run(text.format('"127.0.0.1:0"', site))
    ferry.reload(text.format(f'{{ "127.0.0.1:0", "{folder}/b.sock" }}', site))
    assert ferry.at("/a.txt").status == 200
    assert ferry.at("/a.txt", port=f"{folder}/b.sock").status == 200
    for threads in (4, 1, 3):
        ferry.conf.write_text(f"io = {IO}\nthreads = {threads}\n" + text.format('"127.0.0.1:0"', site))
        ferry.reload()
        for _ in range(20):
            assert ferry.at("/a.txt").status == 200
    wait_until(lambda: not (folder / "b.sock").exists(), 30)


def test_applications_that_did_not_change_keep_their_processes(run, folder):
    text = ('application a {{ spawn = {{ {app} }} env {{ X = one }} }}\napplication b {{ spawn = {{ {app} }} env {{ X = {x} }} }}\n'
            'site {{ listen = "127.0.0.1:0"\n route "/a/*" {{ application a {{}} }}\n route "/b/*" {{ application b {{}} }} }}\n')

    def pids():
        return sorted(p for p in ferry.children() if name_of(p) == "hello")  # also when another one is about to end
    ferry = run(text.format(app=HELLO, x="one"))
    assert ferry.at("/a/").body == ferry.at("/b/").body == b"hello, ferry"
    before = pids()
    assert len(before) == 2
    ferry.reload(text.format(app=HELLO, x="one"))
    assert pids() == before
    ferry.reload(text.format(app=HELLO, x="two"))
    wait_until(lambda: len(pids()) == 2, 30)  # the old one goes with the old worker
    assert len(set(before) & set(pids())) == 1
    assert ferry.at("/a/").body == ferry.at("/b/").body == b"hello, ferry"


def environment(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def test_a_reload_while_one_waits_for_its_applications(run):
    text = ('application a {{ spawn = {{ {app} }} env {{ X = x{n} }} }}\n'
            'site {{ listen = "127.0.0.1:0"\n route "/{n}" {{ application a {{}} }} }}\n')
    ferry = run(text.format(app=HELLO, n=0))
    for n in (1, 2):  # a program that was just started is waited for, so the second comes meanwhile
        ferry.write(text.format(app=HELLO, n=n))
        ferry.process.send_signal(signal.SIGHUP)
        wait_until(lambda: any(f"X=x{n}".encode() in environment(p) for p in ferry.children()))
    wait_until(lambda: ferry.at("/2").status == 200, 60)
    wait_until(lambda: ferry.err.count("in force") == 2, 60)
    ferry.reload(text.format(app=HELLO, n=3))  # and there are reloads after it
    wait_until(lambda: ferry.at("/3").status == 200)  # the old worker may have been asked still


def test_a_reload_that_fails_takes_no_connections_along(run, site):
    """The sockets of threads that never come must not be there: the kernel would give them connections."""
    text = f'site {{ listen = "127.0.0.1:0" root = {site}\n route * {{ files {{}} }} }}\n'
    ferry = run(text)
    ferry.conf.write_text(f"io = {IO}\nthreads = 8\napplication x {{ spawn = /no/such/program }}\n{text}")
    ferry.reload(said="stays as it was")
    for _ in range(40):
        assert ferry.at("/a.txt").status == 200


@pytest.mark.parametrize("keep", [False, True], ids=["connections", "kept"])
def test_no_request_fails_in_100_reloads(run, site, hello, keep):
    text = ('application a {{ connect = "{}" }}\nsite {{ listen = "127.0.0.1:0" root = {} server-name = n{}\n'
            ' route "/app/*" {{ application a {{}} }}\n route * {{ files {{}} }} }}\n')
    ferry = run(text.format(hello, site, 0))
    done, failures, counts = threading.Event(), [], []

    def load(target, want):
        n, client = 0, None
        try:
            while not done.is_set():
                if client is None:
                    client = Client(ferry.port, timeout=60)
                r = client.request("GET", target)
                assert r is not None and r.status == 200 and r.body == want and r.complete, (target, n, r and r.status)
                n += 1
                if not keep or r["Connection"] == "close":
                    client.close()
                    client = None
        except (OSError, AssertionError) as e:
            failures.append(repr(e))
        counts.append(n)

    threads = [threading.Thread(target=load, args=args) for args in
               [("/a.txt", b"a file"), ("/app/x", b"hello, ferry")] * 2]
    for t in threads:
        t.start()
    try:
        for i in range(100):
            ferry.reload(text.format(hello, site, i + 1))
            assert not failures, failures
    finally:
        done.set()
        for t in threads:
            t.join()
    assert not failures, failures
    assert min(counts) > 20
    wait_until(lambda: len(ferry.workers()) == 1, 60)


def test_the_signal_is_an_end_where_the_file_cannot_be_read_again(folder, site):
    text = f'sandbox = off\nsite {{ listen = "127.0.0.1:0" root = {site}\n route * {{ files {{}} }} }}\n'
    p = subprocess.Popen([FERRY, "run", "-c", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    p.stdin.write(text)
    p.stdin.close()
    assert p.stdout.readline().startswith("http://")
    p.send_signal(signal.SIGHUP)
    assert p.wait(30) == 0


# -- who it is and what it may -----------------------------------------------------------------------------------------

@root_only
def test_the_worker_becomes_the_user_and_the_rest_still_works(run, folder, site):
    pid_file = folder / "pid"
    (folder / "logs").mkdir(mode=0o700)
    ferry = run(f'''user = nobody
group = nogroup
pid-file = {pid_file}
application a {{ spawn = {{ {HELLO} }} }}
site {{ listen = "127.0.0.1:0" root = {site} access-log = {folder}/logs/log
    route "/a/*" {{ application a {{}} }}
    route * {{ files {{}} }} }}
''')
    assert pid_file.read_text() == f"{ferry.process.pid}\n"
    status = status_of(ferry.workers()[0])
    assert set(status["Uid"]) == set(status["Gid"]) == {"65534"}
    assert "0" not in status["Groups"]
    assert status["CapEff"] == status["CapPrm"] == ["0" * 16]
    assert ferry.at("/a/").body == b"hello, ferry"
    ferry.reload()
    (folder / "logs" / "log").rename(folder / "logs" / "old")
    ferry.process.send_signal(signal.SIGUSR1)
    wait_until((folder / "logs" / "log").exists, 30)
    with ferry.client(timeout=60) as c:  # a body that has to wait in a file
        assert c.request("POST", "/a/", body=b"x" * 20_000_000).status == 200
    (site / "mine").write_text("x")
    (site / "mine").chmod(0o600)
    assert ferry.at("/mine").status == 403
    assert ferry.stop() == 0
    assert not pid_file.exists()


@root_only
@needs_php_fpm
def test_applications_become_users_of_their_own(run, site):
    (site / "me.php").write_text("<?php echo posix_getuid(), ' ', posix_getgid();")
    ferry = run(f'''user = nobody
group = nogroup
application php {{ spawn-php = auto chdir = {site} user = www-data }}
application app {{ spawn = {{ {HELLO} }} user = daemon }}
application heir {{ spawn = {{ {HELLO} }} }}
site {{ listen = "127.0.0.1:0" root = {site}
    route "/app/*" {{ application app {{}} }}
    route "/heir/*" {{ application heir {{}} }}
    route * {{ php php {{}} files {{}} }} }}
''')
    uid, gid = (int(subprocess.check_output(["id", f"-{x}", "www-data"])) for x in "ug")
    assert ferry.at("/me.php").text == f"{uid} {gid}"
    assert ferry.at("/app/").body == b"hello, ferry"
    assert ferry.at("/heir/").body == b"hello, ferry"
    users = {status_of(p)["Uid"][0] for p in ferry.children() if name_of(p) == "hello"}
    # One that names nobody is not root, but what the workers are.
    assert users == {subprocess.check_output(["id", "-u", name], text=True).strip() for name in ("daemon", "nobody")}


@root_only
@pytest.mark.parametrize("line, word", [("user = no-such-user", "no-such-user"), ("user = root", "root"),
                                        ("group = no-such-group", "no-such-group")])
def test_users_that_cannot_be(folder, site, line, word):
    p = check(folder, f'{line}\nsite {{ listen = "127.0.0.1:0" root = {site}\n route * {{ files {{}} }} }}\n')
    assert p.returncode == 78 and word in p.stderr


def has_landlock():
    text = 'sandbox = on\nsite { listen = "127.0.0.1:0"\n route * { deny {} } }\n'
    p = subprocess.Popen([FERRY, "run", "-c", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                         text=True, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
    p.stdin.write(text)
    p.stdin.close()
    line = p.stdout.readline()
    p.terminate()
    p.wait(30)
    return line != ""


@pytest.mark.parametrize("sandbox", ["off", "on", "auto"])
def test_a_worker_in_a_sandbox_reads_its_root_and_nothing_else(run, folder, site, sandbox):
    if sandbox != "off" and not has_landlock():
        pytest.skip("this kernel has no Landlock")
    (folder / "secret.txt").write_text("a secret")
    (site / "out.txt").symlink_to(folder / "secret.txt")
    (site / "in.txt").symlink_to("a.txt")
    ferry = run(f'sandbox = {sandbox}\nsite {{ listen = "127.0.0.1:0" root = {site}\n route * {{ files {{}} }} }}\n')
    assert ferry.port, ferry.err
    assert ferry.at("/in.txt").body == b"a file"
    r = ferry.at("/out.txt")
    assert (r.status, r.body) == (200, b"a secret") if sandbox == "off" else r.status in (403, 404)
    status = status_of(ferry.workers()[0])
    assert status["Seccomp"] == (["0"] if sandbox == "off" else ["2"])
    assert status["NoNewPrivs"] == (["0"] if sandbox == "off" else ["1"])


def test_a_root_behind_a_link_may_be_switched(run, folder):
    for name in ("one", "two"):
        (folder / "releases" / name).mkdir(parents=True)
        (folder / "releases" / name / "a.txt").write_text(name)
    current = folder / "current"
    current.symlink_to("releases/one")
    ferry = run(f'site {{ listen = "127.0.0.1:0" root = {current}\n route * {{ files {{}} }} }}\n')
    assert ferry.at("/a.txt").body == b"one"
    (folder / "next").symlink_to("releases/two")
    (folder / "next").rename(current)
    wait_until(lambda: ferry.at("/a.txt").body == b"two", 30)


@pytest.mark.parametrize("to, beside, after", [("releases/one", "releases/two", True), ("one", "two", False),
                                               ("../away/one", "../away/two", False)])
def test_a_link_to_the_root_opens_no_more_than_releases(run, folder, to, beside, after):
    """What lies around the link, somebody's home it may be, stays shut; so a switch within it needs a reload."""
    if not has_landlock():
        pytest.skip("this kernel has no Landlock")
    home = folder / "home"
    home.mkdir()
    (home / "private").mkdir()
    for where, name in ((to, "one"), (beside, "two")):
        (home / where).mkdir(parents=True)
        (home / where / "a.txt").write_text(name)
        (home / where / "out").symlink_to(home / "private")
    (home / "private" / "key").write_text("secret")
    current = home / "current"
    current.symlink_to(to)
    text = f'site {{ listen = "127.0.0.1:0" root = {current}\n route * {{ files {{}} }} }}\n'
    ferry = run(text)
    assert ferry.at("/a.txt").body == b"one"
    assert ferry.at("/out/key").status in (403, 404)
    (home / "next").symlink_to(beside)
    (home / "next").rename(current)
    if after:
        wait_until(lambda: ferry.at("/a.txt").body == b"two", 30)
    else:
        wait_until(lambda: ferry.at("/a.txt").status in (403, 404), 30)
        ferry.reload(text)
        wait_until(lambda: ferry.at("/a.txt").body == b"two", 30)
    assert ferry.at("/out/key").status in (403, 404)


def test_nothing_is_left_behind(run, folder, site, monkeypatch):
    (folder / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(folder / "tmp"))
    ferry = run(f'application a {{ spawn = {{ {HELLO} }} }}\nsite {{ listen = "{folder}/s.sock" root = {site}\n'
                'route "/a/*" { application a {} }\n route * { files {} } }\n')
    assert ferry.at("/a/", port=f"{folder}/s.sock").status == 200
    assert list((folder / "tmp").iterdir())
    everybody = ferry.children()
    os.kill(ferry.master(), signal.SIGKILL)
    ferry.process.wait(30)
    wait_until(lambda: not any(is_ferry(p) or name_of(p) == "hello" for p in everybody), 30)
    wait_until(lambda: not list((folder / "tmp").iterdir()) and not (folder / "s.sock").exists(), 30)


# -- ferry serve as a configuration ------------------------------------------------------------------------------------

@pytest.mark.parametrize("more", [[], ["--index", "main.php"], ["--max-body", "5M", "--server-name", "x.test"]])
def test_what_serve_prints_serves_the_same(run, site, hello, more):
    p = subprocess.run([FERRY, "serve", "-l", "127.0.0.1:0", "-a", hello, *more, "--print-config", str(site)],
                       capture_output=True, text=True, timeout=30)
    assert p.returncode == 0, p.stderr
    ferry = run(p.stdout)
    assert ferry.port, ferry.err
    assert ferry.at("/a.txt").body == b"a file"
    assert ferry.at("/none").status == 404


def test_every_path_goes_to_the_application_there_too(run, hello):
    p = subprocess.run([FERRY, "serve", "-l", "127.0.0.1:0", "-a", hello, "--print-config"], capture_output=True, text=True,
                       timeout=30)
    ferry = run(p.stdout)
    assert ferry.at("/any/path").body == b"hello, ferry"
    assert "sandbox = off" in p.stdout


def test_a_chunked_body_is_refused_where_it_passes_the_limit_of_its_site(run, hello):
    """Not at the largest limit of all sites; and the rest is not waited for."""
    ferry = run(f'''application app {{ connect = "{hello}" }}
site small {{ listen = "127.0.0.1:0"
    body-max = 100k
    route * {{ application app {{}} }} }}
site large {{ listen = "127.0.0.1:0"
    body-max = 1G
    route * {{ application app {{}} }} }}
''')
    head = "POST / HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n"
    for chunk in (1000, 50 << 20):
        with Client(ferry.port) as c:
            c.send(head.format("small"))
            sent = 0
            while sent <= 100 << 10:
                c.send(b"%x\r\n" % chunk if not sent % chunk else b"")
                c.send(b"x" * 1000 + (b"\r\n" if chunk == 1000 else b""))
                sent += 1000
            assert c.response().status == 413
    with Client(ferry.port) as c:
        c.send(head.format("large") + "30d40\r\n")
        c.send(b"x" * 200000 + b"\r\n0\r\n\r\n")
        assert c.response().status == 200


def test_a_page_for_errors_that_is_not_there_is_told_at_the_start_and_then_seldom(run, folder, site):
    ferry = run(f'''site {{ listen = "127.0.0.1:0"
    root = {site}
    error-page 404 410 {{ file = {folder}/none.html }}
    error-page 403 {{ file = {folder}/no.html }}
    route /no {{ deny {{}} }}
    route * {{ files {{}} }} }}
''')
    for name in ("none", "no"):
        assert ferry.err.count(f"warning: cannot read the error page {folder}/{name}.html: No such file") == 1, ferry.err
    for _ in range(20):
        assert ferry.at("/none").status == 404 and ferry.at("/no").status == 403
    for name in ("none", "no"):
        said = f"the error page {folder}/{name}.html cannot be read: No such file or directory"
        wait_until(lambda: said in ferry.err)
        assert ferry.err.count(said) == 1, ferry.err


def test_what_it_prints_means_the_same_from_anywhere(folder, site):
    """Paths that were relative are whole; names to be found in PATH stay names."""
    def printed(*args):
        p = subprocess.run([FERRY, "serve", "--print-config", *args], capture_output=True, text=True, timeout=30, cwd=folder)
        assert p.returncode == 0, p.stderr
        return p.stdout

    text = printed("--spawn", "bin/app", "--access-log", "./access.log", "site")
    assert f"spawn = {folder}/bin/app\n" in text and f"access-log = {folder}/access.log\n" in text
    assert "front = /index.php\n" in text
    text = printed("--spawn", "app", "--index", "main.php", "--access-log", "off", "site")
    assert "spawn = app\n" in text and "access-log = /" not in text and "front = /main.php\n" in text
    text = printed("--php", "./php/fpm", "--access-log", "-", "site")
    assert f"spawn-php = {folder}/php/fpm\n" in text and "access-log = /" not in text
    assert 'front = ""' in printed("--spawn", "app", "--index", "index.html", "site")


def test_it_prints_and_starts_nothing(folder):
    p = subprocess.run([FERRY, "serve", "--print-config", "--spawn", "/no/such"], capture_output=True, text=True, timeout=30,
                       cwd=folder)
    assert p.returncode == 0 and "127.0.0.1:8080" in p.stdout and "/no/such" in p.stdout
