# SPDX-License-Identifier: MIT
"""What scripts are told of a message's header, and the fields that are put in front of it.

The ids are those of docs/mail.md, "What is tested".
"""
import base64
import email
import email.policy
import email.utils
import hashlib
import itertools
import re
import ssl
import subprocess
import time

import pytest
from mailing import mailing, stuffed, talk

BEGUN = "EHLO client.example => 250\n"
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server():
    with mailing(bare_newline="keep", keep_nul=True) as started:
        yield started


def saved(server, message, rcpts=("ok@example.com",), hello="EHLO client.example"):
    """Sends it; what the script was told. The message is made like no other by its last line."""
    mail, scripts = server
    message = message if isinstance(message, bytes) else message.encode()
    scripts.forget()
    with mail.client() as c:
        reply = c.mail(message + b"number %d\r\n" % next(NUMBERS), rcpts=rcpts, hello=hello)
        assert reply.code == 250, reply
        talk(c, "QUIT => 221")
    asked, = scripts.saved
    return asked


SUBJECTS = {
    "H01": (b"one\r\n two\r\n\tthree", "one two three"),
    "H02a": (b"=?utf-8?q?a=20b_c?= =?utf-8?b?w6k=?=", "a b cé"),
    "H02b": (b"=?iso-8859-1?q?caf=E9?=", "café"),
    "H02c": (b"=?windows-1252?q?=80uro?=", "€uro"),
    "H02d": (b"=?gb2312?b?xOO6ww==?=", "你好"),
    "H02e": (b"=?iso-2022-jp?b?GyRCJDMkcxsoQg==?=", "こん"),
    "H02f": (b"=?koi8-r?b?8NLJ18XU?=", "Привет"),
    "H02g": (b"=?big5?b?p0Gmbg==?= =?euc-kr?b?vsiz5w==?= =?shift_jis?b?grE=?=", "你好안녕こ"),
    "H03": (b"=?utf-8?q?a?=\r\n =?utf-8?q?b?= c", "ab c"),
    "H04": (b"=?utf-8?b?4pw=?= =?utf-8?b?kw==?=", "✓"),
    "H05": (b"=?utf-8?b?!!!?= =?nonesuch?q?x?=", "=?utf-8?b?!!!?= =?nonesuch?q?x?="),
    "H06": (b"=?utf-8*en?q?a?=", "a"),
    "H07a": ("Grüße".encode(), "Grüße"),
    "H07b": ("Grüße".encode("latin-1"), "Grüße"),
    "H08": (b"=?utf-8?q?a=0D=0ABcc:_x=00y?=", "aBcc: xy"),
    "H10": (None, ""),
    "H15": (b"a\rTo: b", "aTo: b"),
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_subjects(server, name):
    raw, decoded = SUBJECTS[name]
    field = b"Subject: " + raw + b"\r\n" if raw is not None else b""
    asked = saved(server, b"To: x@y\r\n" + field + b"From: a@b\r\n\r\nSubject: no\r\n")
    assert asked.fields["subject"].decode() == decoded


def test_first_subject(server):
    """H09 H14 H13: behind a header that is long"""
    filler = b"".join(b"X-Filler-%d: %s\r\n" % (i, b"x" * 900) for i in range(20))
    asked = saved(server, filler + b"Subject : first\r\nSubject: second\r\nMessage-ID: <1@x>\r\nReceived: a\r\n\r\n")
    assert asked.fields["subject"] == b"first"
    assert asked.fields["message_id"] == b"<1@x>"
    assert asked.fields["received_count"] == b"1"
    assert (asked.fields["subject_count"], asked.fields["subject_truncated"]) == (b"2", b"0")


def test_long_subject(server):
    asked = saved(server, b"Subject:" + b"\r\n " + b"\r\n ".join([b"x" * 500] * 9) + b"\r\n\r\n")
    assert len(asked.fields["subject"]) == 4096 and asked.fields["subject_truncated"] == b"1"
    assert len(asked.fields["subject_raw"]) == 9 * 501 - 1


def test_subject_of_a_part(server):
    """H11"""
    asked = saved(server, b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nSubject: part\r\n\r\nx\r\n--b--\r\n")
    assert asked.fields["subject"] == b""


def test_bad_header(server):
    """H12: it is taken, and not changed."""
    message = b"X: y\r\nno field\r\nSubject: a\r\n\r\nbody\r\n"
    asked = saved(server, message)
    assert asked.fields["subject"] == b""
    assert asked.fields["header_ok"] == b"0"
    assert b"\r\n" + message in asked.fields["body"]
    assert saved(server, b"X: y\r\n\r\n").fields["header_ok"] == b"1"


@pytest.mark.parametrize("message", [b"\r\n", b"\r\n\r\n\r\n", b":\r\n\r\n", b"=?=?=?=?=?\r\n", b"Subject: =?utf-8?q?" + b"=" * 900 + b"?=\r\n",
                                     b"Subject:" + b"\r\n =?utf-7?b?+++++?=" * 300 + b"\r\n\r\n", b"\0\r\n", b"From \r\nFrom \r\n",
                                     b"Subject: " + bytes(range(1, 10)) + bytes(range(11, 256)) + b"\r\n\r\n"])
def test_specimens(server, message):
    """H16"""
    asked = saved(server, message)
    assert message in asked.fields["body"]
    asked.fields["subject"].decode()


def received(asked):
    """Our own Received, unfolded."""
    head = asked.fields["body"].split(b"\r\n\r\n")[0]
    m = re.search(rb"(?:\A|\r\n)Received: ((?:[^\r\n]|\r\n\t)*)\r\n", head + b"\r\n")
    assert all(len(line) < 998 for line in head.split(b"\r\n"))
    return m[1].decode("ascii").replace("\r\n\t", " ")


def test_return_path(server):
    """W01"""
    asked = saved(server, b"Return-Path: <old@x>\r\nA: b\r\nReturn-Path:\r\n <older@x>\r\nSubject: a\r\n\r\n")
    message = email.message_from_bytes(asked.fields["body"], policy=email.policy.compat32)
    assert message.get_all("Return-Path") == ["<from@client.example>"]
    assert (message["A"], message["Subject"]) == ("b", "a")
    assert asked.fields["body"].startswith(b"Return-Path: <from@client.example>\r\nReceived: from client.example (")
    mail, scripts = server
    scripts.forget()
    with mail.client() as c:
        assert c.mail(f"X: {next(NUMBERS)}\r\n\r\n", sender="").code == 250
        talk(c, "QUIT => 221")
    assert scripts.saved[0].fields["body"].startswith(b"Return-Path: <>\r\nReceived: ")


RECEIVED = re.compile(r"from (\S+) \((\S+) \[127\.0\.0\.1\]\)( \(using \S+ with cipher \S+ \(\d+/\d+ bits\)\))?"
                      r" by mx\.example\.com \(ferry\) with (\w+) id ([0-9A-Z]+)(?: for <(\S+)>)?; (.+)")


def test_received(server):
    """W02"""
    before = int(time.time())
    for rcpts in (["ok@example.com"], ["ok@example.com", "too@example.com"]):
        asked = saved(server, "Subject: a\r\n\r\n", rcpts)
        m = RECEIVED.fullmatch(received(asked))
        assert m, received(asked)
        assert m[1] == "client.example" and not m[3] and m[4] == "ESMTP"
        assert m[5] == asked.fields["transaction_id"].decode()
        assert m[6] == (rcpts[0] if len(rcpts) == 1 else None)
        date = email.utils.parsedate_to_datetime(m[7])
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000", m[7])
        assert before - 1 <= date.timestamp() <= time.time() + 1


def test_protocols(tmp_path):
    """W02: what it is `with`"""
    cert = tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
                    "-keyout", str(tmp_path / "key"), "-out", str(cert)], check=True, stderr=subprocess.DEVNULL)
    cert.write_text(cert.read_text() + (tmp_path / "key").read_text())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    seen = set()
    for protocol in ("smtp", "lmtp"):
        with mailing(protocol=protocol, auth="/auth.php", auth_insecure=True, tls_cert=[str(cert)]) as started:
            for secure, login, utf8 in itertools.product((False, True), (False, True), (False, True)):
                mail, scripts = started
                scripts.forget()
                hello = ("LHLO" if protocol == "lmtp" else "EHLO") + " client.example => 250\n"
                with mail.client() as c:
                    talk(c, hello)
                    if secure:
                        talk(c, "STARTTLS => 220")
                        c.socket = tls.wrap_socket(c.socket)
                        talk(c, hello)
                    if login:
                        talk(c, "AUTH PLAIN " + base64.b64encode(b"\0jo\0secret").decode() + " => 235")
                    talk(c, f"MAIL FROM:<a@b.example>{' SMTPUTF8' if utf8 else ''} => 250\nRCPT TO:<ok@example.com> => 250\nDATA => 354")
                    c.send(stuffed(f"X: {next(NUMBERS)}\r\n\r\n"))
                    assert c.reply().code == 250
                    talk(c, "QUIT => 221")
                asked, = scripts.saved
                base = ("UTF8" if utf8 else "") + ("LMTP" if protocol == "lmtp" else "SMTP" if utf8 else "ESMTP")
                wanted = base + ("S" if secure else "") + ("A" if login else "")
                m = RECEIVED.fullmatch(received(asked))
                assert m and m[4] == asked.fields["protocol"].decode() == wanted, received(asked)
                assert bool(m[3]) == secure
                seen.add(wanted)
    assert len(seen) == 16
    with mailing() as started:
        m = RECEIVED.fullmatch(received(saved(started, "X: y\r\n\r\n", hello="HELO client.example")))
        assert m[4] == "SMTP"


@pytest.mark.parametrize("helo", ["a)b", '"><script>', "(", "a;for", "x" * 255, "a\\b", ".a..b.", "[127.0.0.1]", "under_score.example"])
def test_helo_stays_a_word(server, helo):
    """W03 W06"""
    asked = saved(server, "Subject: a\r\n\r\n", hello=f"EHLO {helo}")
    m = RECEIVED.fullmatch(received(asked))
    assert m, received(asked)
    assert asked.fields["helo"] == helo.encode()
    if re.fullmatch(r"[\w.\[\]]+", helo) and ".." not in helo:
        assert m[1] == helo
    else:
        assert re.fullmatch(r"[\w.?-]+", m[1]) and len(m[1]) == len(helo)


def test_nothing_is_added():
    """W04"""
    with mailing(headers="none") as started:
        for message in (b"Return-Path: <x@y>\r\nSubject: a\r\n\r\n", b" folded\r\n", b"\r\n", b"\xff\xfe\r\n"):
            asked = saved(started, message)
            assert re.fullmatch(re.escape(message) + rb"number \d+\r\n", asked.fields["body"])
            assert asked.fields["body_sha256"].decode() == hashlib.sha256(asked.fields["body"]).hexdigest()


@pytest.mark.parametrize("message, between", [(b" folded\r\n", b"\r\n"), (b"\tfolded\r\n", b"\r\n"), (b"no header at all\r\n", b"\r\n"),
                                              (b"Subject: a\r\n\r\n", b""), (b"From x y\r\nSubject: a\r\n\r\n", b"")])
def test_what_follows_our_fields(server, message, between):
    """D25 D26"""
    body = saved(server, message).fields["body"]
    ours, _, theirs = body.partition(b"+0000\r\n")
    assert theirs.startswith(between + message), body


def test_delivered_to():
    """Delivered-To, where it is wanted, and for one alone."""
    with mailing(headers="delivered") as started:
        assert b"\r\nDelivered-To: ok@example.com\r\n" in saved(started, "X: y\r\n\r\n").fields["body"]
        two = saved(started, "X: y\r\n\r\n", ["ok@example.com", "too@example.com"]).fields["body"]
        assert b"Delivered-To" not in two
