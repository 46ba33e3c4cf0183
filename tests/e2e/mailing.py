# SPDX-License-Identifier: MIT
"""What the mail tests share: a running `ferry mail`, scripts that are functions, and dialogues as text.

A dialogue is a text of lines `what is sent => what is answered`:

    EHLO client.example        => 250
    MAIL FROM:<a@b.example>    => 250 2.1.0
    |Subject: x\\r\\n\\r\\nhi\\r\\n.\\r\\n => 250 2.0.0
    QUIT                       => 221, close

`\\r`, `\\n`, `\\0`, `\\t` and `\\xNN` mean those bytes; a line ends with CR LF unless it begins with `|`, which sends what
follows as it is. What is answered is one reply: its code, perhaps the enhanced code, perhaps a part of its text behind
`~`; `close`: the connection ends; `nothing`: no answer (the next one may still come); several with commas.
"""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import urllib.parse

import fakeapp
from conftest import BUILD, IO, alive, children_of, wait_until

PROBLEMS = ("AddressSanitizer", "runtime error:", "ThreadSanitizer", "this must hold and does not", "LeakSanitizer")
SANITIZED = any(library in pathlib.Path(BUILD / "ferry").read_bytes() for library in (b"libasan", b"libtsan"))


# -- the client --------------------------------------------------------------------------------------------------------

class Reply:
    def __init__(self, lines):
        self.lines = lines  # without CR LF
        self.code = int(lines[-1][:3])

    @property
    def text(self):
        return "\n".join(line[4:].decode("utf-8", "replace") for line in self.lines)

    @property
    def enhanced(self):
        m = re.match(rb"\d{3}[ -]([245]\.\d{1,3}\.\d{1,3}) ", self.lines[0])
        return m[1].decode() if m else ""

    def __repr__(self):
        return b"\n".join(self.lines).decode("utf-8", "replace")

    def check(self, greeting_or_helo=False):
        """What every reply must hold (RFC 5321 4.2, 4.5.3.1.5; RFC 2034)."""
        for i, line in enumerate(self.lines):
            assert len(line) + 2 <= 512, self
            assert re.match(rb"[2-5]\d\d" + (rb" " if i == len(self.lines) - 1 else rb"-"), line), self
            assert line[:3] == self.lines[0][:3], self
            m = re.match(rb"\d{3}[ -]([245])\.\d{1,3}\.\d{1,3} ", line)
            assert not m or m[1] == line[:1], f"the enhanced code is of another class: {self}"
            if greeting_or_helo and self.code // 100 == 2 or self.code // 100 == 3:
                assert not m, f"no enhanced code belongs here: {self}"
            elif not greeting_or_helo:
                assert m, f"the enhanced code lacks: {self}"


class Smtp:
    """One connection, by hand."""

    def __init__(self, address, timeout=30, greeting=True, wrap=None):
        if isinstance(address, (tuple, int)):
            address = ("127.0.0.1", address) if isinstance(address, int) else address
            self.socket = socket.create_connection(address, timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(str(address))
        if wrap:
            self.socket = wrap(self.socket)
        self.buffer = b""
        self.bytewise = False
        if greeting:
            self.greeting = self.reply(first=True)
            assert self.greeting.code == 220, self.greeting

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Closes so that the other side sees a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data):
        """Whole, or a byte at a time; what the other side does not take any more is lost."""
        data = data if isinstance(data, bytes) else data.encode()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if self.bytewise:
                for i in range(len(data)):
                    self.socket.sendall(data[i:i + 1])
            else:
                self.socket.sendall(data)

    def line(self):
        while b"\n" not in self.buffer:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                assert not self.buffer, f"half a line: {self.buffer!r}"
                return None
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\n", 1)
        assert line.endswith(b"\r") and b"\r" not in line[:-1], line
        return line[:-1]

    def reply(self, first=False):
        """The next reply, or None at the end."""
        lines = []
        while True:
            line = self.line()
            if line is None:
                assert not lines, f"cut in the middle of a reply: {lines}"
                return None
            lines.append(line)
            if line[3:4] != b"-":
                reply = Reply(lines)
                reply.check(first)
                return reply

    def command(self, text):
        self.send(text if isinstance(text, bytes) else text.encode() + b"\r\n")
        return self.reply(first=re.match(r"(?i)(ehlo|helo|lhlo|xclient)\b", text) is not None
                          if isinstance(text, str) else False)

    def quiet(self, seconds=0.2):
        """Nothing comes."""
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self.buffer += self.socket.recv(65536)
            return False
        except (TimeoutError, socket.timeout):
            return not self.buffer
        finally:
            self.socket.settimeout(before)

    def closed(self, seconds=20):
        """The other side closes without another byte."""
        self.socket.settimeout(seconds)
        try:
            return not self.buffer and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except (TimeoutError, socket.timeout):
            return False

    def mail(self, body, sender="from@client.example", rcpts=("ok@example.com",), hello="EHLO client.example"):
        """A whole transaction; the last reply. `body` is not yet dot-stuffed."""
        if hello:
            assert self.command(hello).code == 250
        assert self.command(f"MAIL FROM:<{sender}>").code == 250
        for rcpt in rcpts:
            assert self.command(f"RCPT TO:<{rcpt}>").code == 250
        assert self.command("DATA").code == 354
        return self.command(stuffed(body))


def stuffed(body):
    """As it goes over the wire, with its end."""
    body = body if isinstance(body, bytes) else body.encode()
    out = re.sub(rb"(?m)^\.", b"..", body) if b"\r" not in body else \
        re.sub(rb"(\A|\r\n)\.", rb"\1..", body)
    return out + (b"" if out.endswith(b"\r\n") or not out else b"\r\n") + b".\r\n"


def unescaped(text):
    text = text.encode()
    names = {b"r": b"\r", b"n": b"\n", b"0": b"\0", b"t": b"\t", b"\\": b"\\"}
    return re.sub(rb"\\(x[0-9a-fA-F]{2}|[rn0t\\])",
                  lambda m: bytes([int(m[1][1:], 16)]) if m[1][:1] == b"x" else names[m[1]], text)


def steps(dialogue):
    for line in dialogue.strip("\n").split("\n"):
        line = line.strip(" ")
        if not line or line.startswith("#"):
            continue
        sent, _, expected = line.rpartition("=>")
        assert _, f"no => in {line!r}"
        sent = sent.rstrip(" ") if not sent.startswith("|") else sent[:-1] if sent.endswith(" ") else sent
        data = unescaped(sent[1:]) if sent.startswith("|") else unescaped(sent) + b"\r\n" if sent else b""
        yield data, [e.strip() for e in expected.split(",")]


def matches(reply, expected):
    m = re.fullmatch(r"(\d{3})(?: (\d\.\d+\.\d+))?(?: ?~(.*))?", expected)
    assert m, f"cannot be expected: {expected!r}"
    return reply is not None and reply.code == int(m[1]) and (not m[2] or reply.enhanced == m[2]) and \
        (not m[3] or m[3] in reply.text)


def expect(c, expected, said):
    first = re.match(rb"(?i)(ehlo|helo|lhlo|xclient)\b", said) is not None
    for one in expected:
        if one == "close":
            assert c.closed(), f"after {said!r} the connection is open"
        elif one == "nothing":
            assert c.quiet(), f"after {said!r} came {c.buffer!r}"
        else:
            reply = c.reply(first)
            assert any(matches(reply, each.strip()) for each in one.split("|")), f"after {said!r}: {reply!r}, not {one}"


def talk(c, dialogue, bytewise=False):
    """Goes through it."""
    c.bytewise = bytewise
    for data, expected in steps(dialogue):
        if data:
            c.send(data)
        expect(c, expected, data)
    c.bytewise = False


def talk_at_once(c, dialogue):
    """All of it in one write, then all answers: for what may be pipelined."""
    all_steps = list(steps(dialogue))
    c.send(b"".join(data for data, _ in all_steps))
    for data, expected in all_steps:
        expect(c, [e for e in expected if e != "nothing"], data)


# -- smuggling ---------------------------------------------------------------------------------------------------------

# Not one of them ends a message; the mail that is hidden behind it must not exist.
NO_ENDS = {"LF.LF": b"\n.\n", "LF.CRLF": b"\n.\r\n", "CRLF.LF": b"\r\n.\n", "CR.CR": b"\r.\r", "CR.LF": b"\r.\n", "CR.CRLF": b"\r.\r\n",
           "LF.CR": b"\n.\r", "CRLF.CRx": b"\r\n.\rx", "CRLF0.CRLF": b"\r\n\0.\r\n", "CRLF.0CRLF": b"\r\n.\0\r\n",
           "LFCR.CRCRLF": b"\n\r.\r\r\n"}
HIDDEN = b"MAIL FROM:<evil@b.example>\r\nRCPT TO:<ok@example.com>\r\nDATA\r\nSubject: hidden\r\n\r\nhidden"


# -- scripts -----------------------------------------------------------------------------------------------------------

class Asked(fakeapp.Request):
    """What a script was asked."""

    @property
    def path(self):
        return self.params["SCRIPT_FILENAME"]

    @property
    def fields(self):
        """Of the query or the form, as bytes; each name once."""
        text = self.body.decode("latin-1") if self.params["REQUEST_METHOD"] == "POST" else self.params["QUERY_STRING"]
        found = urllib.parse.parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=5000,
                                       encoding="latin-1")
        names = [name for name, _ in found]
        assert len(names) == len(set(names)), names
        return {name: value.encode("latin-1") for name, value in found}


def page(text, status=None, **fields):
    text = text if isinstance(text, bytes) else text.encode()
    head = (f"Status: {status}\r\n" if status else "") + "Content-Type: text/plain\r\n"
    head += "".join(f"{n.replace('_', '-')}: {v}\r\n" for n, v in fields.items())
    return head.encode() + b"\r\n" + text


def verdict_of(address):
    """What tests/e2e's validate script thinks of a recipient, by the first word of its name."""
    local = address.rsplit("@", 1)[0].strip('"')
    return "no such user" if local.startswith(("unknown", "bad")) else "PASS"


class Scripts:
    """validate, save and auth as functions of what was asked, behind one FastCGI application.

    Each gives the body of an answer, or bytes of a whole CGI response, or does the answering itself and gives None.
    """

    def __init__(self, folder):
        self.validate = lambda asked: verdict_of(asked.fields["rcpt_to"].decode())
        self.save = lambda asked: "SAVED"
        self.auth = lambda asked: "PASS" if asked.fields.get("password") == b"secret" else "no"
        self.asked, self.lock = [], threading.Lock()
        self.app = fakeapp.App(folder / "scripts.sock", request=Asked)
        self.app.default = self.answer
        self.address = self.app.address

    def answer(self, connection, asked):
        with self.lock:
            self.asked.append(asked)
        said = getattr(self, asked.path.strip("/").removesuffix(".php"))(asked)
        if said is None:
            return False
        if isinstance(said, str) or not said.lower().startswith((b"content-type", b"status")):
            said = page(said)
        return connection.send(fakeapp.answer(said, asked.id))

    def of(self, name):
        with self.lock:
            return [a for a in self.asked if a.path == f"/{name}.php"]

    saved = property(lambda self: self.of("save"))
    validated = property(lambda self: self.of("validate"))

    def forget(self):
        with self.lock:
            self.asked.clear()

    def close(self):
        self.app.close()


# -- the server --------------------------------------------------------------------------------------------------------

def quoted(value):
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (list, tuple)):
        return "{ " + ", ".join(quoted(v) for v in value) + " }"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"' if not isinstance(value, int) else str(value)


def block(settings):
    return "".join(f"    {name.replace('_', '-')} = {quoted(value)}\n" for name, value in settings.items()
                   if value is not None)


class Mail:
    """A running `ferry mail`. `settings` are those of its mail block; by default three scripts of `scripts`."""

    def __init__(self, folder, scripts=None, args=(), top="", config=None, io=IO, fds=(), user=None, env=None,
                 ready=True, **settings):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.out_path, self.err_path = folder / "out", folder / "err"
        self.config_path = folder / "ferry.conf"
        argv = [str(BUILD / "ferry"), "mail"]
        self.scripts, self.top, self.settings = scripts, top, settings
        if config is not None or not args:
            self.write(config)
            argv += ["-c", str(self.config_path)]
        argv += [str(a) for a in args]
        if args and io:
            argv += ["--io", io]
        self.io = io
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(argv, stdout=out, stderr=err, stdin=subprocess.DEVNULL, cwd=folder, user=user,
                                            env={**os.environ, **(env or {})}, pass_fds=fds)
        if ready:
            wait_until(lambda: "\n" in self.out or self.process.poll() is not None, 30)
            assert self.process.poll() is None, self.err

    def write(self, config=None, **changed):
        """Its configuration file."""
        self.settings = {**self.settings, **changed}
        sandbox = "sandbox = off\n" if SANITIZED else ""  # LeakSanitizer cannot work in it
        self.config_path.write_text(config if config is not None else self.text(sandbox))

    def text(self, sandbox=""):
        apps, settings = "", dict(listen=["127.0.0.1:0"], hostname="mx.example.com",
                                  domains=["example.com", "*.wild.example", "[127.0.0.1]"])
        if self.scripts:
            apps = f'application scripts {{ connect = "{self.scripts.address}" }}\n'
            settings.update(application="scripts", validate="/validate.php", save="/save.php")
        settings.update(self.settings)
        io = f"io = {IO}\n" if IO != "auto" else ""
        return f"{sandbox}{io}{self.top}\n{apps}mail inbound {{\n{block(settings)}}}\n"

    @property
    def out(self):
        return self.out_path.read_text()

    @property
    def err(self):
        return self.err_path.read_text(errors="replace")

    @property
    def addresses(self):
        """Where it listens: ports, or paths of unix sockets."""
        found = []
        for line in self.out.splitlines():
            m = re.search(r":(\d+)/?$", line)
            found.append(int(m[1]) if m and "unix:" not in line else line.split("unix:", 1)[1])
        return found

    @property
    def port(self):
        return self.addresses[0]

    def client(self, **kw):
        return Smtp(self.port, **kw)

    def children(self, pid=None):
        return [p for child in children_of(pid or self.process.pid) for p in [child] + self.children(child)]

    def worker(self):
        """The process that serves: the last one below the others."""
        pid = self.process.pid
        while children_of(pid):
            pid = children_of(pid)[-1]
        return pid

    def stop(self, sig=signal.SIGTERM, seconds=40):
        pids = self.children()
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            for pid in [self.process.pid] + pids:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            raise
        wait_until(lambda: not any(map(alive, pids)), 10)
        return code

    def end(self):
        """Ends it, and looks whether all was well."""
        if self.process.poll() is None:
            assert self.stop() == 0, self.err
        for word in PROBLEMS:
            assert word not in self.err, self.err


@contextlib.contextmanager
def mailing(**settings):
    """A folder, scripts, and a server for them: (mail, scripts)."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ferry-mail-"))
    folder.chmod(0o755)
    scripts = Scripts(folder)
    try:
        mail = Mail(folder / "run", scripts, **settings)
        try:
            yield mail, scripts
        finally:
            mail.end()
    finally:
        scripts.close()
        shutil.rmtree(folder, ignore_errors=True)
