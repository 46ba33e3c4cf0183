# SPDX-License-Identifier: MIT
"""What the tests of `ferry spawn` share: programs to start, what one sees of a process, and a FastCGI client in few lines."""
import os
import pathlib
import shutil
import socket
import struct
import subprocess

from conftest import BUILD, alive, have, wait_until

FERRY = str(BUILD / "ferry")
HELLO = str(BUILD / "examples" / "hello")
SPAWN_FCGI = shutil.which("spawn-fcgi")
ROOT = os.geteuid() == 0


def script(folder, text, name="app"):
    path = folder / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def stat(pid):
    """The fields of /proc/PID/stat behind the name, or None when it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None


def session(pid):
    return int(stat(pid)[3])


def children(pid):
    """All processes below it."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in task.read_text().split():
                found += [int(child)] + children(int(child))
        except OSError:
            pass
    return found


def comm(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None


def status(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def environment(pid):
    text = pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode()
    return dict(v.split("=", 1) for v in text.split("\0") if v)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def connect(address, timeout=10):
    if isinstance(address, int):
        return socket.create_connection(("127.0.0.1", address), timeout)
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(timeout)
    try:
        s.connect(str(address))
    except BaseException:
        s.close()
        raise
    return s


def record(kind, body, request=1):
    return struct.pack(">BBHHBB", 1, kind, request, len(body), 0, 0) + body


def pair(name, value):
    name, value = name.encode(), value.encode()
    return b"".join(bytes([len(x)]) if len(x) < 128 else struct.pack(">I", len(x) | 1 << 31)
                    for x in (name, value)) + name + value


def ask(address, uri="/", timeout=10, **params):
    """One GET: what came on FCGI_STDOUT, or None when the connection ended before END_REQUEST."""
    params = {"REQUEST_METHOD": "GET", "REQUEST_URI": uri, "SCRIPT_NAME": uri, "SERVER_PROTOCOL": "HTTP/1.1",
              "GATEWAY_INTERFACE": "CGI/1.1", "QUERY_STRING": "", **params}
    body = b"".join(pair(n, v) for n, v in params.items())
    with connect(address, timeout) as s:
        s.sendall(record(1, struct.pack(">HB5x", 1, 0)) + record(4, body) + record(4, b"") + record(5, b""))
        data, out = b"", b""
        while True:
            while len(data) >= 8:
                _, kind, _, length, padding, _ = struct.unpack(">BBHHBB", data[:8])
                if len(data) < 8 + length + padding:
                    break
                if kind == 6:
                    out += data[8:8 + length]
                if kind == 3:
                    return out
                data = data[8 + length + padding:]
            try:
                more = s.recv(65536)
            except ConnectionResetError:
                return None
            if not more:
                return None
            data += more


def answers(address):
    """Somebody listens there: for wait_until."""
    try:
        connect(address).close()
    except OSError:
        return False
    return True


def run(*argv, **kw):
    kw.setdefault("timeout", 30)
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, stdin=subprocess.DEVNULL, **kw)


def stop(pids):
    for pid in pids:
        if alive(pid):
            os.kill(pid, 9)
    for pid in pids:
        wait_until(lambda: not alive(pid))


__all__ = [n for n in dir() if not n.startswith("_")]
assert have  # what tests take from here
