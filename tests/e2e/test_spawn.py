# SPDX-License-Identifier: MIT
"""`ferry spawn` as spawn-fcgi: the same letters before both programs, and what ferry does better."""
import ctypes
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
from conftest import alive, have, open_files, wait_until
from spawning import (FERRY, HELLO, ROOT, SPAWN_FCGI, answers, ask, children, comm, connect, environment, free_port, run, script,
                      session, status, stop)

needs_root = pytest.mark.skipif(not ROOT, reason="needs root")
needs_spawn_fcgi = pytest.mark.skipif(not SPAWN_FCGI, reason="spawn-fcgi is not installed")

PROGRAMS = [pytest.param([FERRY, "spawn"], id="ferry"),
            pytest.param([SPAWN_FCGI], id="spawn-fcgi", marks=needs_spawn_fcgi)]
both = pytest.mark.parametrize("spawn", PROGRAMS)

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def started():
    """The pids that a test has started, to be ended."""
    pids = []
    yield pids
    stop(pids)


@pytest.fixture
def start(started):
    """start(program, *args): runs it, and expects that all is well: the pids it told."""
    def start(spawn, *args, n=1, **kw):
        p = run(*spawn, *args, **kw)
        pids = [int(x) for x in re.findall(r"^(?:ferry|spawn-fcgi): child spawned successfully: PID: (\d+)$", p.stdout,
                                           re.M)]
        started.extend(pids)
        assert (p.returncode, len(pids), p.stdout.count("\n")) == (0, n, n), p
        return pids
    return start


# -- it stands in for spawn-fcgi: each of these holds for both -----------------------------------------------------------

@both
def test_a_program_behind_a_unix_socket(spawn, start, folder):
    begin = time.monotonic()
    pid, = start(spawn, "-s", folder / "s", "--", HELLO, cwd=folder)
    assert time.monotonic() - begin < 2
    assert b"ello" in ask(folder / "s")
    assert session(pid) == pid and os.getpgid(pid) == pid
    has = open_files(pid)
    assert has[0].startswith("socket:") and has[1] == has[2] == "/dev/null"
    assert os.readlink(f"/proc/{pid}/cwd") == str(folder)


@both
@pytest.mark.parametrize("args, host", [([], "127.0.0.1"), (["-a", "127.0.0.1"], "127.0.0.1"), (["-a", "::1"], "::1"),
                                        (["-a", "::"], "127.0.0.1"), (["-a", "0.0.0.0"], "127.0.0.1")])
def test_a_program_behind_a_port(spawn, start, args, host):
    port = free_port()
    start(spawn, *args, "-p", port, "--", HELLO)
    with socket.create_connection((host, port), 5):
        pass


@both
@pytest.mark.parametrize("umask, args, mode", [
    (0o022, [], 0o640), (0o002, [], 0o660), (0o077, [], 0o600), (0o077, ["-M", "0666"], 0o666), (0o022, ["-M", "600"], 0o600),
    (0, ["-M", "0777"], 0o777)])
def test_the_mode_of_the_socket(spawn, start, folder, umask, args, mode):
    start(spawn, "-s", folder / "s", *args, "--", HELLO, umask=umask)
    assert (folder / "s").stat().st_mode & 0o7777 == mode


@both
def test_several_processes_and_their_pid_file(spawn, start, folder):
    pids = start(spawn, "-s", folder / "s", "-F", "3", "-P", folder / "pid", "--", HELLO, n=3, umask=0o022)
    assert (folder / "pid").read_text() == "\n".join(map(str, pids))
    assert (folder / "pid").stat().st_mode & 0o7777 == 0o644
    assert len({open_files(p)[0] for p in pids}) == 1


@both
def test_an_old_pid_file_is_written_anew(spawn, start, folder):
    (folder / "pid").write_text("1234567890\n1234567890\n")
    pid, = start(spawn, "-s", folder / "s", "-P", folder / "pid", "--", HELLO)
    assert (folder / "pid").read_text() == str(pid)


@both
def test_no_pid_file_where_it_cannot_be(spawn, folder):
    (folder / "fifo").mkdir()
    for place in folder / "fifo", folder / "no" / "such":
        p = run(*spawn, "-s", folder / "s", "-P", place, "--", HELLO)
        assert p.returncode != 0 and "PID" in p.stderr.upper() and not p.stdout
        assert not (folder / "s").exists()


@both
def test_the_environment(spawn, start, folder):
    pid, = start(spawn, "-s", folder / "s", "-C", "7", "--", "/bin/sleep", "100", env={"A": "a b", "PATH": "/usr/bin:/bin"})
    assert environment(pid) == {"A": "a b", "PATH": "/usr/bin:/bin", "PHP_FCGI_CHILDREN": "7"}


@both
def test_the_arguments_and_the_directory(spawn, start, folder):
    program = script(folder, f'for a; do echo "[$a]"; done >{folder}/args; pwd >>{folder}/args; exec sleep 100')
    start(spawn, "-s", folder / "s", "-d", "/usr", "--", program, "-s", "x y", "", "--help")
    assert (folder / "args").read_text() == "[-s]\n[x y]\n[]\n[--help]\n/usr\n"


@both
def test_a_command_line(spawn, start, folder):
    pid, = start(spawn, "-s", folder / "s", "-f", "sleep 100 </dev/null")
    wait_until(lambda: comm(pid) == "sleep")


@both
def test_the_program_counts_more_than_a_command_line(spawn, start, folder):
    pid, = start(spawn, "-s", folder / "s", "-f", "false", "--", "/bin/sleep", "100")
    wait_until(lambda: comm(pid) == "sleep")


@both
def test_no_fork(spawn, folder):
    """The same process becomes the program, with stdout and stderr as they are and no session of its own."""
    program = script(folder, "echo $$; echo err >&2; readlink /proc/$$/fd/0; exec sleep 100")
    p = subprocess.Popen([*spawn, "-n", "-P", folder / "pid", "-s", folder / "s", "--", program], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, cwd=folder)
    assert p.stdout.readline() == f"{p.pid}\n"
    assert p.stdout.readline().startswith("socket:")
    assert p.stderr.readline() == "err\n"
    assert os.getsid(p.pid) == os.getsid(0)
    assert not (folder / "pid").exists()
    connect(folder / "s").close()
    p.terminate()
    assert p.wait(20) == -signal.SIGTERM
    p.stdout.close()
    p.stderr.close()


@both
@pytest.mark.parametrize("code", [0, 1, 7])
def test_one_that_ends_at_once(spawn, folder, code):
    p = run(*spawn, "-s", folder / "s", "--", script(folder, f"exit {code}"))
    assert (p.returncode, p.stdout) == (code, "")
    assert re.fullmatch(rf"[a-z-]+: child exited with: {code}\n", p.stderr)


@both
def test_one_that_is_ended_at_once(spawn, folder):
    p = run(*spawn, "-s", folder / "s", "--", script(folder, "kill -9 $$"))
    assert (p.returncode, p.stdout) == (1, "")
    assert re.match(r"[a-z-]+: child signaled: 9", p.stderr)


@both
def test_a_stale_socket_is_replaced(spawn, start, folder):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(folder / "s"))
        s.listen()
    start(spawn, "-s", folder / "s", "--", HELLO)
    assert b"ello" in ask(folder / "s")


@both
def test_a_live_socket_is_not_taken(spawn, start, folder):
    start(spawn, "-s", folder / "s", "--", HELLO)
    inode = (folder / "s").stat().st_ino
    p = run(*spawn, "-s", folder / "s", "--", HELLO)
    assert p.returncode != 0 and not p.stdout and "lready" in p.stderr
    assert (folder / "s").stat().st_ino == inode
    assert b"ello" in ask(folder / "s")


@both
def test_a_port_in_use_is_not_taken(spawn, start):
    port = free_port()
    start(spawn, "-a", "127.0.0.1", "-p", port, "--", HELLO)
    p = run(*spawn, "-a", "127.0.0.1", "-p", port, "--", HELLO)
    assert p.returncode != 0 and not p.stdout and p.stderr


@both
@pytest.mark.parametrize("args", [
    ["--", "/bin/true"], ["-s", "s"], ["-s", "s", "-p", "1", "--", "/bin/true"], ["-p", "x", "--", "/bin/true"],
    ["-s", "x" * 200, "--", "/bin/true"], ["-a", "999.1.1.1", "-p", "1", "--", "/bin/true"]])
def test_wrong_usage(spawn, folder, args):
    p = run(*spawn, *args, cwd=folder)
    assert p.returncode == (64 if spawn[0] == FERRY else 255) and not p.stdout and p.stderr.count("\n") == 1
    assert list(folder.iterdir()) == []


@both
def test_help_and_version(spawn):
    for args in ["-h"], ["-v"]:
        p = run(*spawn, *args)
        assert p.returncode == 0 and p.stdout and not p.stderr


@both
@needs_root
@pytest.mark.parametrize("args, uid, gid, groups, owner, group", [
    (["-u", "www-data"], 33, 33, [33], 33, 33),
    (["-u", "33"], 33, 33, [33], 33, 33),
    (["-u", "www-data", "-g", "nogroup"], 33, 65534, [65534], 33, 65534),
    (["-u", "12345", "-g", "23456"], 12345, 23456, None, 12345, 23456),
    (["-g", "nogroup"], 0, 65534, [], 0, 65534),
    (["-U", "www-data"], 0, 0, None, 33, 33),
    (["-u", "nobody", "-U", "www-data", "-G", "nogroup"], 65534, 65534, [65534], 33, 65534),
    (["-u", "nobody", "-G", "www-data"], 65534, 65534, [65534], 65534, 33)])
def test_users_and_groups(spawn, start, folder, args, uid, gid, groups, owner, group):
    folder.chmod(0o755)
    pid, = start(spawn, "-s", folder / "s", *args, "--", "/bin/sleep", "100")
    seen = status(pid)
    assert seen["Uid"].split() == [str(uid)] * 4 and seen["Gid"].split() == [str(gid)] * 4
    if groups is not None:
        assert set(map(int, seen["Groups"].split())) - {gid} == set(groups) - {gid}
    st = (folder / "s").stat()
    assert (st.st_uid, st.st_gid) == (owner, group)


@both
@needs_root
@pytest.mark.parametrize("args", [["-u", "root"], ["-u", "0"], ["-g", "root"], ["-u", "no-such-user"],
                                  ["-g", "no-such-group"], ["-U", "no-such-user"], ["-U", "0"]])
def test_who_it_must_not_be(spawn, folder, args):
    p = run(*spawn, "-s", folder / "s", *args, "--", "/bin/sleep", "100")
    assert p.returncode != 0 and not p.stdout and args[1] in p.stderr or "id to 0" in p.stderr
    assert not (folder / "s").exists()


def make_root(folder):
    """A directory that a program can be run in: sleep, and what it is linked with."""
    root = folder / "root"
    for name in "bin", "run", "dev":
        (root / name).mkdir(parents=True)
    os.mknod(root / "dev" / "null", 0o20666, os.makedev(1, 3))
    (root / "dev" / "null").chmod(0o666)
    files = ["/bin/sleep", *re.findall(r"(/\S+) \(0x", run("ldd", "/bin/sleep").stdout)]
    for file in files:
        (root / file.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / file.lstrip("/"))
    return root


@both
@needs_root
@pytest.mark.parametrize("outside", [False, True])
def test_another_root(spawn, start, folder, outside):
    root = make_root(folder)
    path = folder / "s" if outside else "/run/s"
    try:
        pid, = start(spawn, "-c", root, *(["-S"] if outside else []), "-u", "www-data", "-s", path, "-d", "/run", "--",
                     "/bin/sleep", "100")
        assert os.readlink(f"/proc/{pid}/root") == str(root)
        assert os.readlink(f"/proc/{pid}/cwd") == str(root / "run")
        connect(folder / "s" if outside else root / "run" / "s").close()
    except OSError as e:
        pytest.skip(f"no device nodes here: {e}")


@both
@pytest.mark.skipif(not have("multiwatch"), reason="multiwatch is not installed")
def test_multiwatch_behind_it(spawn, folder):
    p = subprocess.Popen([*spawn, "-n", "-s", folder / "s", "--", shutil.which("multiwatch"), "-s", "TERM", "-f", "2", "--",
                          HELLO], stderr=subprocess.DEVNULL, cwd=folder)
    wait_until(lambda: answers(folder / "s"))
    assert b"ello" in ask(folder / "s")
    # What is sent to a child of it that does not run the program yet is lost.
    wait_until(lambda: [os.readlink(f"/proc/{child}/exe") for child in children(p.pid)] == [str(HELLO)] * 2)
    pids = children(p.pid)
    p.terminate()
    try:
        p.wait(10)
    finally:
        p.kill()
        stop(pids)


@both
@pytest.mark.skipif(not have("php-cgi"), reason="php-cgi is not installed")
def test_php(spawn, start, folder):
    page = folder / "index.php"
    page.write_text("<?php echo 'php ', getenv('PHP_FCGI_CHILDREN');")
    pid, = start(spawn, "-s", folder / "s", "-C", "2", "--", shutil.which("php-cgi"))
    assert ask(folder / "s", SCRIPT_FILENAME=str(page)).endswith(b"php 2")
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not alive(pid))


# -- what is different -------------------------------------------------------------------------------------------------

SPAWN = [FERRY, "spawn"]


def test_called_by_its_name_it_is_spawn_fcgi(started, folder):
    (folder / "spawn-fcgi").symlink_to(FERRY)
    p = run(folder / "spawn-fcgi", "-s", folder / "s", "--", HELLO)
    m = re.fullmatch(r"spawn-fcgi: child spawned successfully: PID: (\d+)\n", p.stdout)
    started.append(int(m[1]))
    assert p.returncode == 0 and not p.stderr
    p = run(folder / "spawn-fcgi", "-s", folder / "t", "--", "/no/such")
    assert p.stderr.startswith("spawn-fcgi: /no/such cannot be executed") and p.returncode == 1


@pytest.mark.parametrize("program, why", [
    ("/no/such", "/no/such cannot be executed: No such file or directory"),
    ("no-such-program", "no-such-program is in no folder of PATH; elsewhere, name its folder too: ./no-such-program"),
    ("/etc/passwd", "/etc/passwd cannot be executed: Permission denied")])
def test_what_cannot_be_executed_is_told_and_leaves_nothing(folder, program, why):
    begin = time.monotonic()
    p = run(*SPAWN, "-s", folder / "s", "-F", "3", "-P", folder / "pid", "--", program)
    assert (p.returncode, p.stdout, p.stderr) == (1, "", f"ferry: {why}\n")
    assert time.monotonic() - begin < 2.5  # of three
    assert list(folder.iterdir()) == []


def test_a_directory_that_is_not_there(folder):
    p = run(*SPAWN, "-s", folder / "s", "-d", "/no/such", "--", HELLO)
    assert (p.returncode, p.stderr) == (1, f"ferry: {HELLO} cannot enter its directory: No such file or directory\n")


def test_some_that_stay_and_some_that_end(start, started, folder):
    """The first one takes the lock and stays; the others end."""
    program = script(folder, f"mkdir {folder}/lock || exit 3; exec sleep 100")
    p = run(*SPAWN, "-s", folder / "s", "-F", "3", "-P", folder / "pid", "--", program)
    pid, = re.findall(r"PID: (\d+)", p.stdout)
    started.append(int(pid))
    assert p.returncode == 3 and p.stderr == "ferry: child exited with: 3\n" * 2
    assert (folder / "pid").read_text() == pid
    connect(folder / "s").close()


def test_nothing_else_is_inherited(start, folder):
    def ignore():
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    with open(folder / "leak", "wb") as leak:
        pid, = start(SPAWN, "-s", folder / "s", "--", "/bin/sleep", "100", pass_fds=[leak.fileno()], preexec_fn=ignore,
                     env={**os.environ, "NOTIFY_SOCKET": "/x", "LISTEN_FDS": "1"})
    assert sorted(open_files(pid)) == [0, 1, 2]
    seen = status(pid)
    assert int(seen["SigBlk"], 16) == 0 and int(seen["SigIgn"], 16) == 0
    assert "NOTIFY_SOCKET" not in environment(pid) and "LISTEN_FDS" not in environment(pid)


def test_its_limits(start, folder):
    pid, = start(SPAWN, "-s", folder / "s", "--limit", "nofile=100:200", "--limit", "core=0", "--umask", "027", "--nice", "5",
                 "--no-new-privs", "--", "/bin/sleep", "100")
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"Max open files +100 +200 ", limits) and re.search(r"Max core file size +0 +0 ", limits)
    seen = status(pid)
    assert seen["Umask"] == "0027" and seen["NoNewPrivs"] == "1"
    assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0) + 5


def test_its_environment(start, folder):
    pid, = start(SPAWN, "-s", folder / "s", "--keep-env", "KEPT,LC_*", "--env", "A=1", "--env", "A=2", "--env", "B=", "--",
                 "/bin/sleep", "100", env={"KEPT": "1", "LC_ALL": "C", "OTHER": "x"})
    assert environment(pid) == {"KEPT": "1", "LC_ALL": "C", "A": "2", "B": ""}


@pytest.mark.parametrize("args", [
    ["-F", "0"], ["-F", "x"], ["-b", "0"], ["-M", "9"], ["-M", ""], ["-C", "-1"], ["--limit", "files=1"], ["--limit", "nofile"],
    ["--env", "=x"], ["--umask", "x"], ["--nice", "100"], ["-n", "-F", "2"], ["--listen", ":80"], ["--wrong"], ["-z"]])
def test_more_wrong_usage(folder, args):
    p = run(*SPAWN, "-s", folder / "s", *args, "--", "/bin/true")
    assert p.returncode == 64 and not p.stdout and p.stderr
    assert list(folder.iterdir()) == []


def test_the_holder_of_a_socket_is_named(folder):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(folder / "s"))
        s.listen()
        p = run(*SPAWN, "-s", folder / "s", "--", HELLO)
    assert p.returncode == 1
    assert p.stderr == (f"ferry: cannot listen on unix:{folder}/s: another program (process {os.getpid()}, {comm(os.getpid())})"
                        " already does; stop it, or choose another address\n")


def test_other_files_stay(folder):
    (folder / "s").write_text("precious")
    p = run(*SPAWN, "-s", folder / "s", "--", HELLO)
    assert p.returncode == 1 and "there is a file that is no socket" in p.stderr
    assert (folder / "s").read_text() == "precious"


def test_of_many_starters_one_wins(started, folder):
    """All find the same stale socket in the same moment."""
    for _ in range(5):
        (folder / "s").unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(str(folder / "s"))
        results = []
        threads = [threading.Thread(target=lambda: results.append(run(*SPAWN, "-s", folder / "s", "--", HELLO)))
                   for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        good = [p for p in results if p.returncode == 0]
        pids = [int(x) for p in good for x in re.findall(r"PID: (\d+)", p.stdout)]
        started.extend(pids)
        assert len(good) == 1, results
        assert all("already" in p.stderr for p in results if p.returncode != 0)
        assert b"ello" in ask(folder / "s")
        stop(pids)


def test_an_abstract_socket(start, folder):
    for option in "-s", "--listen":
        name = f"ferry-test-{os.getpid()}{option}"
        pid, = start(SPAWN, option, f"unix:@{name}", "--", HELLO)
        assert b"ello" in ask("\0" + name)
        p = run(*SPAWN, option, f"unix:@{name}", "--", HELLO)
        assert p.returncode == 1 and f"unix:@{name}: another program" in p.stderr
        stop([pid])


def test_a_socket_that_is_given(start, folder):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(folder / "s"))
        s.listen()
        start(SPAWN, "--listen", f"fd:{s.fileno()}", "--", HELLO, pass_fds=[s.fileno()])
    assert b"ello" in ask(folder / "s")
    p = run(*SPAWN, "--listen", "fd:77", "--", HELLO)
    assert p.returncode == 1 and p.stderr == "ferry: cannot listen on fd:77: it is not open\n"


def test_a_socket_of_systemd(start, folder):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(folder / "s"))
        s.listen()
        fd = s.fileno()

        def give():
            os.dup2(fd, 3)
            os.environ["LISTEN_PID"] = str(os.getpid())
        # The pid is only known in the child: a shell tells it.
        start(["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *SPAWN], "--", HELLO, preexec_fn=give, close_fds=False,
              env={**os.environ, "LISTEN_FDS": "1"})
    assert b"ello" in ask(folder / "s")
    p = run(*SPAWN, "--", HELLO, env={**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": "1"})
    assert p.returncode == 64 and "no socket given" in p.stderr


def test_the_backlog(start, folder):
    pid, = start(SPAWN, "-s", folder / "s", "-b", "3", "--", "/bin/sleep", "100")
    sockets = []
    with pytest.raises(BlockingIOError):
        for _ in range(10):
            s = socket.socket(socket.AF_UNIX)
            sockets.append(s)
            s.setblocking(False)
            s.connect(str(folder / "s"))
    assert len(sockets) == 5  # one more than the backlog has room for, and the one that failed
    for s in sockets:
        s.close()


@needs_root
def test_a_socket_that_is_swapped_gives_nothing_away(folder):
    """Whoever owns the directory puts links in the place of the socket as fast as he can."""
    secret = folder / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    place = folder / "place"
    place.mkdir()
    os.chown(place, 33, 33)
    over = threading.Event()
    libc = ctypes.CDLL(None)

    def swap():
        path, link = str(place / "s").encode(), str(place / "l").encode()
        while not over.is_set():
            libc.symlink(str(secret).encode(), link)
            libc.rename(link, path)
            libc.unlink(path)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(40):
            run(*SPAWN, "-s", place / "s", "-u", "www-data", "-M", "0666", "--", "/bin/true")
            st = secret.stat()
            assert (st.st_uid, st.st_gid, st.st_mode & 0o7777) == (0, 0, 0o600)
    finally:
        over.set()
        thread.join()


@pytest.mark.skipif(not ROOT, reason="needs root to become somebody else")
def test_an_ordinary_user_is_warned(folder, started):
    folder.chmod(0o777)
    p = run(*SPAWN, "-s", folder / "s", "-u", "nobody", "-g", "nogroup", "-c", "/", "--", HELLO, user=33, group=33,
            extra_groups=[])
    pid, = re.findall(r"PID: (\d+)", p.stdout)
    started.append(int(pid))
    assert p.returncode == 0
    assert re.findall(r"^ferry: -(.) \S+ is ignored: only root can do that$", p.stderr, re.M) == ["u", "g", "c"]
    assert status(int(pid))["Uid"].split()[0] == "33"
