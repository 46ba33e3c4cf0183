# SPDX-License-Identifier: MIT
"""Whom a connection is for: PROXY headers and XCLIENT, from those who may say it and nobody else."""
import ipaddress
import struct

import pytest
from mailing import mailing, talk

MAIL = "EHLO client.example => 250\nMAIL FROM:<a@b.example> => 250\nRCPT TO:<ok@example.com> => 250\nDATA => 354\n|x\\r\\n.\\r\\n => 250\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(command=1, family=0x11, content=None, version=2, length=None):
    content = ipaddress.ip_address("192.0.2.9").packed + ipaddress.ip_address("198.51.100.1").packed + \
        struct.pack(">HH", 4321, 25) if content is None else content
    return SIGNATURE + bytes([version << 4 | command, family]) + struct.pack(">H", len(content) if length is None else length) + content


SIX = ipaddress.ip_address("2001:db8::9").packed + ipaddress.ip_address("2001:db8::1").packed + struct.pack(">HH", 4321, 25)
GOOD = {
    "TCP4": (b"PROXY TCP4 192.0.2.9 198.51.100.1 4321 25\r\n", "192.0.2.9"),
    "TCP6": (b"PROXY TCP6 2001:db8::9 2001:db8::1 4321 25\r\n", "2001:db8::9"),
    "mapped": (b"PROXY TCP6 ::ffff:192.0.2.9 ::ffff:198.51.100.1 4321 25\r\n", "192.0.2.9"),
    "UNKNOWN": (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    "UNKNOWN with more": (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", "127.0.0.1"),
    "107 octets": (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", "127.0.0.1"),
    "2 TCP4": (v2(), "192.0.2.9"),
    "2 TCP6": (v2(family=0x21, content=SIX), "2001:db8::9"),
    "2 LOCAL": (v2(command=0), "127.0.0.1"),
    "2 UNSPEC": (v2(family=0, content=b""), "127.0.0.1"),
    "2 UNIX": (v2(family=0x31, content=bytes(216)), "127.0.0.1"),
    "2 TLVs": (v2(content=SIX[:0] + ipaddress.ip_address("192.0.2.9").packed + ipaddress.ip_address("198.51.100.1").packed +
                  struct.pack(">HH", 4321, 25) + b"\x04\0\x03abc"), "192.0.2.9"),
}
BAD = {
    "108 octets": b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", "lower case": b"proxy TCP4 192.0.2.9 198.51.100.1 4321 25\r\n",
    "two blanks": b"PROXY  TCP4 192.0.2.9 198.51.100.1 4321 25\r\n", "no port": b"PROXY TCP4 192.0.2.9 198.51.100.1 4321\r\n",
    "port 123456": b"PROXY TCP4 192.0.2.9 198.51.100.1 123456 25\r\n", "port 01": b"PROXY TCP4 192.0.2.9 198.51.100.1 01 25\r\n",
    "port -1": b"PROXY TCP4 192.0.2.9 198.51.100.1 -1 25\r\n", "family": b"PROXY BLAH 192.0.2.9 198.51.100.1 4321 25\r\n",
    "4 in 6": b"PROXY TCP6 192.0.2.9 198.51.100.1 4321 25\r\n", "bare LF": b"PROXY TCP4 192.0.2.9 198.51.100.1 4321 25\n",
    "no header": b"EHLO client.example\r\n", "2 version": v2(version=3), "2 short": v2(length=4), "2 command": v2(command=5),
}


@pytest.fixture(scope="module")
def server():
    with mailing(proxy_from=["127.0.0.0/8"], proxy_timeout="2s") as (mail, scripts):
        yield mail, scripts


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("name", GOOD)
def test_a_good_header(server, name, bytewise):
    """Y01, Y02, Y04, Y05, Y10"""
    mail, scripts = server
    scripts.forget()
    header, address = GOOD[name]
    with mail.client(greeting=False) as c:
        c.bytewise = bytewise
        c.send(header)
        assert c.reply(True).code == 220
        talk(c, MAIL)
    f = scripts.saved[0].fields
    assert f["remote_ip"].decode() == address and f["peer_ip"] == b"127.0.0.1"
    assert f["origin"] == (b"direct" if address == "127.0.0.1" else b"proxy")
    assert f"[{'IPv6:' if ':' in address else ''}{address}]".encode() in f["body"].split(b"\r\n\tby")[0]


def test_what_follows_in_the_same_segment(server):
    """Y06"""
    with server[0].client(greeting=False) as c:
        c.send(GOOD["TCP4"][0] + b"EHLO client.example\r\n")
        assert c.reply(True).code == 220 and c.reply(True).code == 250
    with server[0].client(greeting=False):
        pass  # a health check: connects and leaves


@pytest.mark.parametrize("name", BAD)
def test_a_bad_header(server, name):
    """Y02, Y03, Y05: not a word, and the end."""
    with server[0].client(greeting=False) as c:
        c.send(BAD[name])
        if name == "2 short":
            c.send(b"EHLO x\r\n")
        assert c.closed()


def test_no_header(server):
    """Y07"""
    with server[0].client(greeting=False) as c:
        assert c.closed()


def test_not_from_everybody():
    """Y08, Y09"""
    with mailing(proxy_from=["192.0.2.0/24"]) as (mail, _):
        with mail.client() as c:
            talk(c, "PROXY TCP4 192.0.2.9 198.51.100.1 4321 25 => 500\nEHLO x => 250\nPROXY UNKNOWN => 500")


@pytest.fixture(scope="module")
def xclient():
    with mailing(xclient_from=["127.0.0.1"], errors_max=1000, error_delay="1ms") as (mail, scripts):
        yield mail, scripts


def test_xclient(xclient):
    """X02, X03, X06"""
    mail, scripts = xclient
    scripts.forget()
    with mail.client() as c:
        assert "XCLIENT NAME ADDR" in c.command("EHLO x").text
        talk(c, "XCLIENT ADDR=IPV6:2001:db8::7 NAME=far.example PORT=99 HELO=its.helo PROTO=ESMTP LOGIN=jo+40x => 220\n"
                "MAIL FROM:<a@b.example> => 503|250\nRSET => 250\n" + MAIL)
    f = scripts.saved[0].fields
    assert (f["remote_ip"], f["remote_port"], f["remote_name"], f["auth_user"], f["origin"]) == \
        (b"2001:db8::7", b"99", b"far.example", b"jo@x", b"xclient")


@pytest.mark.parametrize("arguments,reply", [
    ("ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL]", "220"), ("ADDR=IPV6:::1", "220"), ("ADDR=1.2.3", "501 5.5.4"), ("PORT=70000", "501"),
    ("PROTO=FOO", "501"), ("FOO=1", "501"), ("", "501"), ("ADDR", "501"), ("DESTADDR=192.0.2.1 DESTPORT=2525", "220")])
def test_attributes(xclient, arguments, reply):
    """X02-X04"""
    with xclient[0].client() as c:
        talk(c, f"EHLO x => 250\nXCLIENT {arguments} => {reply}")


def test_xclient_in_a_transaction(xclient):
    """X05"""
    with xclient[0].client() as c:
        talk(c, "EHLO x => 250\nMAIL FROM:<a@b.example> => 250\nXCLIENT ADDR=192.0.2.1 => 503 5.5.1")
