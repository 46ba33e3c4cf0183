# SPDX-License-Identifier: MIT
"""Scripts: what they are asked, what their answers mean, and that nothing but SAVED is ever a yes.

The ids are those of docs/mail.md, "What is tested".
"""
import hashlib
import os
import re
import socket
import threading
import time

import pytest
from conftest import wait_until
from fakeapp import answer, end, record, stdout
from mailing import mailing, page, stuffed, talk

OVERLOADED, UNKNOWN_ROLE = 2, 3
READY = "EHLO client.example => 250\nMAIL FROM:<a@b.example> => 250\nRCPT TO:<ok@example.com> => 250\n"


@pytest.fixture(scope="module")
def server():
    with mailing(size_max="30M", validate_timeout="2s", save_timeout="3s", errors_max=1000, error_delay="1ms") as (mail, scripts):
        yield mail, scripts


@pytest.fixture
def asked(server):
    """The server with scripts as they are at first."""
    mail, scripts = server
    validate, save = scripts.validate, scripts.save
    scripts.forget()
    yield mail, scripts
    scripts.validate, scripts.save = validate, save


def rcpt(mail, address="ok@example.com"):
    with mail.client() as c:
        talk(c, "EHLO client.example => 250\nMAIL FROM:<a@b.example> => 250")
        return c.command(f"RCPT TO:<{address}>")


# -- what validate answers ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("said", ["PASS", "PASSED", "PASS\n", "\r\n PASS ", "\ufeffPASS", "PASS and more"])
def test_yes(asked, said):
    """R01-R03"""
    mail, scripts = asked
    scripts.validate = lambda a: said
    assert (reply := rcpt(mail)).code == 250 and reply.enhanced == "2.1.5"


@pytest.mark.parametrize("said", ["PASSWORD required", "PASSx", "pass", "no such user", "SAVED"])
def test_no(asked, said):
    """R04, R05: a permanent no, and none of the script's words; a word of another question is no answer."""
    mail, scripts = asked
    scripts.validate = lambda a: said
    reply = rcpt(mail)
    if said == "SAVED":
        assert reply.code == 451, reply
    else:
        assert (reply.code, reply.enhanced) == (550, "5.1.1") and "required" not in reply.text


WORDS = [
    ("REJECT", 550, "5.1.1", None), ("REJECT 550 5.2.1 mailbox disabled", 550, "5.2.1", "mailbox disabled"),
    ("REJECT 553 not here", 553, "5.", "not here"), ("REJECT 250 2.0.0 ok", 550, "5.", None),
    ("REJECT 550 4.1.1 x", 550, "5.", None), ("REJECT 550 5.1.1 line1\r\n250 injected", 550, "5.1.1", "line1"),
    ("REJECT 550 5.1.1 " + "x" * 2000, 550, "5.1.1", "xxx"), ("REJECT 421 go away", 550, "5.", None),
    ("DEFER", 450, "4.2.1", None), ("DEFER 450 4.7.1 greylisted", 450, "4.7.1", "greylisted"), ("DEFER 550 x", 450, "4.", None),
    ("DEFER 452 4.2.2 over quota\x01\x7f", 452, "4.2.2", "over quota"), ("REJECT 354 x", 550, "5.", None),
]


@pytest.mark.parametrize("said,code,enhanced,text", WORDS, ids=range(len(WORDS)))
def test_words(asked, said, code, enhanced, text):
    """R26, S09: the script's words, made safe."""
    mail, scripts = asked
    scripts.validate = lambda a: said
    reply = rcpt(mail)
    assert reply.code == code and reply.enhanced.startswith(enhanced) and len(reply.lines) == 1, reply
    assert not text or text in reply.text
    scripts.validate = lambda a: "PASS"
    scripts.save = lambda a: said
    with mail.client() as c:
        reply = c.mail(b"x\r\n")
    assert reply.code // 100 == code // 100 and len(reply.lines) == 1, reply


# -- faults ------------------------------------------------------------------------------------------------------------

def says(*pieces):
    def behave(c, rq):
        for piece in pieces:
            c.send(piece)
        return False
    return behave


def hangs(c, rq):
    c.wait_closed()
    return False


GOOD = page(b"GOOD")
FAULTS = {
    "closes": (says(), 451, "4.3.0"),
    "garbage": (says(b"HTTP/1.1 200 OK\r\n\r\nGOOD"), 451, "4.3.0"),
    "hangs": (hangs, 451, "4.3.0"),
    "overloaded": (says(end(protocol_status=OVERLOADED)), 451, "4.3.2"),
    "unknown role": (says(end(protocol_status=UNKNOWN_ROLE)), 451, "4.3.5"),
    "status 500": (says(answer(page("GOOD", "500 Internal"))), 451, "4.3.0"),
    "status 302": (says(answer(page("GOOD", "302 Found"))), 451, "4.3.0"),
    "status 404": (says(answer(page("File not found.\n", "404 Not Found"))), 451, "4.3.5"),
    "status 403": (says(answer(page("Access denied.\n", "403 Forbidden"))), 451, "4.3.5"),
    "empty": (says(answer(page(""))), 451, "4.3.0"),
    "nothing": (says(answer(b"")), 451, "4.3.0"),
    "no end": (says(stdout(GOOD)), 451, "4.3.0"),
    "hangs at its end": (lambda c, rq: (c.send(stdout(GOOD)), hangs(c, rq))[1], 451, "4.3.0"),
    "app status": (says(stdout(GOOD) + record(6, 1) + end(app_status=1)), 451, "4.3.0"),
    "too much": (says(answer(page(b"GOOD " + b"x" * 1_000_000))), 451, "4.3.0"),
    "head only": (says(stdout(b"Content-Type: text/plain\r\n\r\n") + end()), 451, "4.3.0"),
    "no head": (says(answer(b"GOOD")), 451, "4.3.0"),
    "endless head": (says(answer(b"X: " + b"y" * 20000 + b"\r\n\r\nGOOD")), 451, "4.3.0"),
    "on the error stream": (says(record(7, 1, b"GOOD") + answer(page(""))), 451, "4.3.0"),
    "a warning before": (says(answer(page(b"<br />\nWarning: x\nGOOD"))), 451, "4.3.0"),
}


def fault(name, word):
    behave, code, enhanced = FAULTS[name]

    def script(asked):
        return None

    def answering(c, rq):
        class Says:
            def send(self, data):
                return c.send(data.replace(b"GOOD", word))

            wait_closed = c.wait_closed
        return behave(Says(), rq)
    return script, answering, code, enhanced


@pytest.fixture
def broken(server):
    """broken(which, name): one of the scripts fails in this way from now on."""
    mail, scripts = server
    before = scripts.app.on.copy(), scripts.app.default
    scripts.forget()

    def breaks(which, name):
        _, answering, code, enhanced = fault(name, b"PASS" if which == "validate" else b"SAVED")

        def seen(c, rq):
            with scripts.lock:
                scripts.asked.append(rq)
            return answering(c, rq)
        scripts.app.does(f"/{which}.php", seen)
        return code, enhanced

    yield mail, scripts, breaks
    scripts.app.on, scripts.app.default = before


# "a warning before" is a plain no to validate: what stands there is not PASS.
@pytest.mark.parametrize("name", [n for n in FAULTS if n != "a warning before"])
def test_a_fault_is_no_answer_to_validate(broken, name):
    """R23, R24"""
    mail, scripts, breaks = broken
    code, enhanced = breaks("validate", name)
    reply = rcpt(mail)
    # Who is overloaded is asked again until the time is over, and may be just about to answer then.
    assert reply.code == code and (reply.enhanced == enhanced or name == "overloaded" and reply.enhanced == "4.3.0"), reply
    scripts.app.on.clear()
    assert rcpt(mail).code == 250


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_no_saved_message(broken, name):
    """S06, S07, S10-S12, S15: and it is asked once, with several recipients too (S08)."""
    mail, scripts, breaks = broken
    code, enhanced = breaks("save", name)
    with mail.client() as c:
        reply = c.mail(b"Subject: x\r\n\r\nx\r\n", rcpts=["ok1@example.com", "ok2@example.com", "ok3@example.com"])
        assert (reply.code, reply.enhanced) == (code, enhanced), reply
        # Who says that it is overloaded has not looked at the message: it may be asked again.
        assert len(scripts.saved) == 1 or name == "overloaded"
        scripts.app.on.clear()
        assert c.mail(b"x\r\n", hello=None).code == 250


@pytest.mark.parametrize("said", ["SAVEDX", "saved", "NOT SAVED", " <br>SAVED", "SAVED_NOT", "PASS", ""])
def test_no_other_word_is_saved(asked, said):
    """S06"""
    mail, scripts = asked
    scripts.save = lambda a: said
    with mail.client() as c:
        assert (reply := c.mail(b"x\r\n")).code == 451 and reply.enhanced == "4.3.0"


@pytest.mark.parametrize("said", ["SAVED", "SAVED\n", "SAVED abc", "\r\nSAVED id=17"])
def test_saved(asked, said):
    """S05"""
    mail, scripts = asked
    scripts.save = lambda a: said
    with mail.client() as c:
        assert (reply := c.mail(b"x\r\n")).code == 250 and reply.enhanced == "2.0.0"


def test_saved_in_pieces(server, broken):
    """S13"""
    mail, scripts, _ = broken
    pieces = [record(6, 1, bytes([b]), padding=7) for b in page("SAVED")]
    scripts.app.does("/save.php", says(b"".join(pieces) + record(6, 1, padding=3) + end(padding=5)))
    with mail.client() as c:
        assert c.mail(b"x\r\n").code == 250


def test_an_application_that_is_down_saves_nothing():
    """S07, 0.2.1: not one 250; and R24, S24: back again without a restart."""
    with mailing(errors_max=10000, error_delay="1ms", validate=None) as (mail, scripts):
        scripts.app.socket.shutdown(socket.SHUT_RDWR)
        scripts.app.socket.close()
        for sock in list(scripts.app.open):
            sock.close()
        with mail.client() as c:
            codes = [c.mail(b"x\r\n", hello=None if i else "EHLO x").code for i in range(50)]
        assert set(codes) == {451}
        path = scripts.address.removeprefix("unix:")
        os.unlink(path)
        scripts.app.socket = socket.socket(socket.AF_UNIX)
        scripts.app.socket.bind(path)
        scripts.app.socket.listen(128)
        scripts.app.start()
        with mail.client() as c:
            hello = "EHLO x"

            def saved():
                nonlocal hello
                code = c.mail(b"x\r\n", hello=hello).code
                hello = None
                return code == 250
            wait_until(saved, 20, 0.2)
        assert len(scripts.saved) == 1


def test_an_answer_before_the_body_is_read(broken):
    """S16: 25 MB, of which the script reads nothing before it has said SAVED."""
    mail, scripts, _ = broken
    scripts.app.does("/save.php", lambda c, rq: (c.send(answer(page("SAVED"))), c.take_rest(rq))[1], early=True)
    with mail.client() as c:
        reply = c.mail((b"x" * 78 + b"\r\n") * 300_000)
        assert reply.code in (250, 451), reply
        assert c.command("NOOP").code == 250


def test_a_slow_reader(broken):
    """S17"""
    mail, scripts, _ = broken

    def slowly(c, rq):
        until = time.monotonic() + 1
        while not rq.whole:
            if c.take() is None:
                return False
            if time.monotonic() < until:
                time.sleep(0.01)
        return c.send(answer(page("SAVED"), rq.id))
    scripts.app.does("/save.php", slowly, early=True)
    with mail.client() as c:
        assert c.mail((b"x" * 78 + b"\r\n") * 100_000).code == 250


def test_the_error_stream_is_logged(broken):
    """S14"""
    mail, scripts, _ = broken
    scripts.app.does("/save.php", says(record(7, 1, b"disk \x1b[31mred\nsecond line\n"), answer(page("SAVED"))))
    with mail.client() as c:
        assert c.mail(b"x\r\n").code == 250
    wait_until(lambda: "second line" in mail.err)
    assert "\x1b" not in mail.err and "red" in mail.err


# -- what they are asked -----------------------------------------------------------------------------------------------

def test_what_validate_is_asked(asked):
    """R21 and the parameters of a check"""
    mail, scripts = asked
    with mail.client() as c:
        own = c.socket.getsockname()
        talk(c, "EHLO client.example => 250\nMAIL FROM:<Some.One@B.example> SIZE=1234 => 250\n"
                'RCPT TO:<@x:"Ok"@EXAMPLE.com> => 250')
    question, = scripts.validated
    p, f = question.params, question.fields
    assert p["REQUEST_METHOD"] == "GET" and p["SCRIPT_FILENAME"] == "/validate.php" and p["GATEWAY_INTERFACE"] == "CGI/1.1"
    assert p["REMOTE_ADDR"] == "127.0.0.1" and p["REMOTE_PORT"] == str(own[1]) and p["CONTENT_LENGTH"] in ("", "0")
    assert p["QUERY_STRING"].startswith("rcpt_to=Ok%40example.com")
    assert p["SERVER_NAME"] == "mx.example.com" and "HTTPS" not in p and p["MAIL_STAGE"] == "rcpt"
    assert f["rcpt_to"] == b"Ok@example.com" and f["mail_from"] == b"Some.One@b.example" and f["helo"] == b"client.example"
    assert f["remote_ip"] == b"127.0.0.1" and f["tls_on"] == b"false" and f["size_declared"] == b"1234"
    assert f["protocol"] == b"ESMTP" and f["rcpt_count"] == b"0"


def test_what_save_is_asked(asked):
    """S01-S04, S23"""
    mail, scripts = asked
    body = b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@x>\r\n\r\nbody & more = 100% +\r\n\xff\xfe\r\n"
    with mail.client() as c:
        assert c.mail(body, sender="", rcpts=["ok1@example.com", "ok2@example.com"]).code == 250
    question, = scripts.saved
    p, f = question.params, question.fields
    assert p["REQUEST_METHOD"] == "POST" and p["CONTENT_TYPE"] == "application/x-www-form-urlencoded"
    assert int(p["CONTENT_LENGTH"]) == len(question.body)
    assert (f["rcpt_to_0"], f["rcpt_to_1"], f["rcpt_count"]) == (b"ok1@example.com", b"ok2@example.com", b"2")
    assert f["mail_from"] == b"" and f["tls_on"] == b"false" and f["subject"] == "Grüße".encode() and f["helo"] == b"client.example"
    assert f["body"].endswith(body) and f["body"].startswith(b"Return-Path: <>\r\nReceived: from client.example")
    assert int(p["MAIL_SIZE"]) == len(f["body"]) and p["MAIL_SHA256"] == hashlib.sha256(f["body"]).hexdigest()
    assert list(f)[-2:] == ["body", "token"] and f["message_id"] == b"<1@x>"


def test_only_the_fields_of_old():
    """S26"""
    with mailing(seed_fields_only=True, headers="none") as (mail, scripts):
        with mail.client() as c:
            assert c.mail(b"Subject: hi\r\n\r\nx\r\n").code == 250
        assert set(scripts.saved[0].fields) == {"rcpt_to_0", "remote_ip", "subject", "tls_on", "helo", "mail_from", "body"}
        assert set(scripts.validated[0].fields) == {"rcpt_to"}


@pytest.mark.parametrize("form", ["multipart", "rfc822"])
def test_other_forms(form):
    """S22"""
    body = b"Subject: hi\r\n\r\n" + bytes(range(1, 10)) + bytes(range(14, 256)) * 500 + b"\r\n--x--\r\n"
    with mailing(format=form, headers="none", data_line_max="1M") as (mail, scripts):
        with mail.client() as c:
            assert c.mail(body).code == 250
        question, = scripts.saved
        if form == "rfc822":
            assert question.params["CONTENT_TYPE"] == "message/rfc822" and bytes(question.body) == body
            assert question.params["MAIL_FROM"] == "from@client.example"
        else:
            boundary = re.fullmatch(r'multipart/form-data; boundary="?([^"]+)"?', question.params["CONTENT_TYPE"])[1].encode()
            parts = bytes(question.body).split(b"--" + boundary)
            file, = [p for p in parts if b'name="body"' in p]
            assert file.split(b"\r\n\r\n", 1)[1] == body + b"\r\n" and b'filename="message.eml"' in file
        assert question.params["MAIL_SHA256"] == hashlib.sha256(body).hexdigest()


def test_the_token():
    """S20"""
    with mailing(strict_token=True) as (mail, scripts):
        with mail.client() as c:
            assert c.mail(b"x\r\n").code == 451
            scripts.save = lambda a: b"Content-Type: text/plain\r\n\r\nSAVED " + a.fields["token"]
            assert c.mail(b"x\r\n", hello=None).code == 250
            scripts.save = lambda a: b"Content-Type: text/plain\r\n\r\nSAVED " + a.fields["token"][:-1]
            assert c.mail(b"x\r\n", hello=None).code == 451


def test_nothing_is_asked_before_the_message_is_whole(asked):
    """S24"""
    mail, scripts = asked
    with mail.client() as c:
        talk(c, READY + "DATA => 354")
        c.send(b"x\r\n" * 100_000)
        assert c.quiet(0.3) and not scripts.saved
        c.send(b".\r\n")
        assert c.reply().code == 250 and len(scripts.saved) == 1


# -- again -------------------------------------------------------------------------------------------------------------

def test_keys(asked):
    """I01, I02"""
    mail, scripts = asked
    body = b"Subject: hi\r\n\r\nx\r\n"
    with mail.client() as c:
        for i, (sender, rcpts) in enumerate([("a@b.example", ["ok1@example.com", "ok2@example.com"]),
                                             ("a@b.example", ["ok2@EXAMPLE.com", "ok1@example.com", "ok1@example.com"]),
                                             ("a@b.example", ["ok1@example.com"]), ("c@b.example", ["ok1@example.com"])]):
            assert c.mail(body, sender, rcpts, hello=None if i else "EHLO x").code == 250
    keys = [a.fields["message_key"] for a in scripts.saved]
    assert keys[0] == keys[1] and len(set(keys)) == 3
    assert len({a.fields["transaction_id"] for a in scripts.saved}) == 4
    told = b"ferry1\0a@b.example\0ok1@example.com\nok2@example.com\0" + body
    assert keys[0].decode() == hashlib.sha256(told).hexdigest()


def test_a_client_that_leaves_with_the_dot(asked):
    """I03: nothing is saved for somebody who is known to be gone."""
    mail, scripts = asked
    with mail.client() as c:
        talk(c, READY + "DATA => 354")
        c.send(b"x\r\n" * 1000)
        time.sleep(0.1)
        c.send(b".\r\n")
        c.reset()
    with mail.client() as c:
        assert c.mail(b"last\r\n").code == 250
    assert len(scripts.saved) in (1, 2)  # the reset may come behind the call
    wait_until(lambda: "aborted" in mail.err or len(scripts.saved) == 2)


def test_a_client_that_leaves_while_it_is_saved():
    """I04, I05"""
    with mailing(remember_saved=True) as (mail, scripts):
        running, go = threading.Event(), threading.Event()

        def slowly(asked):
            running.set()
            assert go.wait(20)
            return "SAVED"
        scripts.save = slowly
        body = b"Subject: once\r\n\r\nx\r\n"
        with mail.client() as c:
            talk(c, READY + "DATA => 354")
            c.send(stuffed(body))
            assert running.wait(20)
            c.reset()
        go.set()
        wait_until(lambda: "confirmed=no" in mail.err)
        with mail.client() as c:  # again: it is known to be saved
            assert c.mail(body, "a@b.example").code == 250
            assert len(scripts.saved) == 1
            assert c.command("NOOP").code == 250
            assert c.mail(body, "a@b.example", hello=None).code == 250  # and meant this time
        assert len(scripts.saved) == 2


def test_the_same_key_when_nothing_is_remembered(asked):
    """I04 without a cache, I05"""
    mail, scripts = asked
    with mail.client() as c:
        assert c.mail(b"x\r\n").code == 250 and c.mail(b"x\r\n", hello=None).code == 250
    assert len({a.fields["message_key"] for a in scripts.saved}) == 1 and len(scripts.saved) == 2


def test_a_message_is_not_sent_twice(broken):
    """I08: the application closes when it has read all of it, and says nothing."""
    mail, scripts, _ = broken
    scripts.app.on.clear()
    with mail.client() as c:
        assert c.mail(b"x\r\n").code == 250  # a kept connection is there now
        scripts.forget()
        scripts.app.does("/save.php", lambda conn, rq: scripts.asked.append(rq) and False)
        assert c.mail(b"x\r\n", hello=None).code == 451
    assert len(scripts.saved) == 1


def test_a_kept_connection_that_was_closed(asked):
    """R25, I09"""
    mail, scripts = asked
    with mail.client() as c:
        assert c.mail(b"x\r\n").code == 250
        for sock in list(scripts.app.open):
            sock.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not scripts.app.open)
        assert c.mail(b"y\r\n", hello=None).code == 250
    assert len(scripts.saved) == 2
