# SPDX-License-Identifier: MIT
"""The simple filters behind `ferry run`, sandbox and all: redirects, rewrites, try_files, names of clients."""
import http.client
import socket
import struct
import threading

import pytest
from test_authorizer import Run


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


def name_of(text):
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


class Dns:
    """A name server on loopback: (name, type) to the data of the answer."""

    def __init__(self, zone):
        self.zone, self.asked = zone, 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            question, peer = self.socket.recvfrom(2000)
            if question == b"stop":
                return
            self.asked += 1
            labels, at = [], 12
            while question[at]:
                labels.append(question[at + 1:at + 1 + question[at]].decode())
                at += 1 + question[at]
            kind, = struct.unpack(">H", question[at + 1:at + 3])
            data = self.zone.get((".".join(labels).lower(), kind))
            reply = question[:2] + struct.pack(">HHHHH", 0x8580 if data else 0x8583, 1, 1 if data else 0, 0, 0)
            reply += question[12:at + 5]
            if data:
                reply += struct.pack(">HHHIH", 0xc00c, kind, 1, 60, len(data)) + data
            self.socket.sendto(reply, peer)

    def stop(self):
        self.socket.sendto(b"stop", ("127.0.0.1", self.port))
        self.thread.join(30)
        assert not self.thread.is_alive()
        self.socket.close()


@pytest.fixture
def dns():
    server = Dns({("7.8.9.127.in-addr.arpa", 12): name_of("client.test"),
                  ("client.test", 1): socket.inet_aton("127.9.8.7"),
                  ("8.8.9.127.in-addr.arpa", 12): name_of("client.test")})  # which it is not
    yield server
    server.stop()


def ask_from(address, port):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=(address, 0))
    try:
        c.request("GET", "/")
        return c.getresponse().getheader("X-Client")
    finally:
        c.close()


def test_the_name_of_a_client(run, dns):
    r = run(f"""site {{
        listen = "127.0.0.1:0"
        route "*" {{
            remote_host {{ servers = "127.0.0.1:{dns.port}" timeout = 30s }}
            header "X-Client" {{ value = "<$param_REMOTE_HOST>" }}
            deny 404 {{ }}
        }}
    }}""")
    assert ask_from("127.9.8.7", r.port) == "<client.test>"
    assert ask_from("127.9.8.8", r.port) == "<>"
    asked = dns.asked
    assert asked >= 3
    assert ask_from("127.9.8.7", r.port) == "<client.test>"
    assert ask_from("127.9.8.8", r.port) == "<>"
    assert dns.asked == asked


def test_redirects_stay_on_their_host(run):
    r = run("""site {
        listen = "127.0.0.1:0"
        route "/login" { redirect "/enter?next=$http_referer" { status = 303 } }
        route "/sure/*" { redirect "https://$host$uri" { status = 308 } }
        route "*" { redirect "$uri" { } }
    }""")
    assert r.ask("/sure/a%20b?c=d%0d%0aX:y")["Location"] == "https://localhost/sure/a%20b?c=d%0d%0aX:y"
    assert r.ask("//evil.example/x")["Location"] == "/evil.example/x"
    assert r.ask("/\\evil.example/x")["Location"] == "/%5Cevil.example/x"
    answer = r.ask("/login", [("Referer", "https://evil.example/?a=b&c")])
    assert answer.status == 303
    assert answer["Location"] == "/enter?next=https%3A//evil.example/%3Fa%3Db%26c"


def test_rewrites_and_try_files(run, folder):
    root = folder / "root"
    root.mkdir()
    (root / "a.txt").write_text("a")
    (root / "b c.txt").write_text("b")
    (root / "none.txt").write_text("none")
    r = run(f"""site {{
        listen = "127.0.0.1:0"
        root = "{root}"
        route "/old/*" {{ rewrite "^/old/([^/]*)$" {{ to = "/$1.txt" }} files {{ }} }}
        route "/shop/*" {{ strip_prefix "/shop" {{ }} files {{ }} }}
        route "/gone/*" {{ try_files {{ paths = {{ "$path.txt", "=410" }} }} }}
        route "*" {{ try_files {{ paths = {{ "$path", "$path.txt", "/none.txt" }} }} files {{ }} }}
    }}""")
    for target, text in (("/old/a", "a"), ("/old/b%20c", "b"), ("/shop/a.txt", "a"), ("/a.txt", "a"), ("/a", "a"),
                         ("/b%20c", "b"), ("/x", "none"), ("/", "none")):
        answer = r.ask(target)
        assert (answer.status, answer.text) == (200, text), target
    assert r.ask("/gone/a").status == 410
    assert r.ask("/old/x/y").status == 404
