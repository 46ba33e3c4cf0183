# SPDX-License-Identifier: MIT
"""`ferry mail --maildir`: no script at all, and what was answered with 250 is a whole file.

What the Maildir itself has to hold is tested in tests/unit/test_mail_maildir.c; here it is what a client and a reader
of the folder see.
"""
import contextlib
import email.utils
import hashlib
import mailbox
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import smtplib
import tempfile
import threading

import pytest
from conftest import wait_until
from mailing import Mail, Smtp, mailing, stuffed, talk

READY = "EHLO client.example => 250\nMAIL FROM:<a@b.example> => 250\nRCPT TO:<ok@example.com> => 250\n"
MAILS = {
    "plain": b"Subject: plain\r\n\r\nHello,\r\nworld.\r\n",
    "8-bit": "Subject: eight\r\n\r\nGrüße aus Köln\r\n".encode(),
    "dots": b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n...\r\n\r\n.\r\nend\r\n",
    "no header": b"\r\nonly a body\r\n",
    "1 MiB": b"Subject: big\r\n\r\n" + b"".join(b"%064x\r\n" % i for i in range(15888)),
}


@contextlib.contextmanager
def catching(args=False, **settings):
    """A server that stores in `box`, and that folder; with `args` on its command line alone."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ferry-mail-"))
    folder.chmod(0o755)
    box = folder / "box"
    if args:
        mail = Mail(folder / "run", args=["--listen", "127.0.0.1:0", "--maildir", box])
    else:
        mail = Mail(folder / "run", maildir=box, **settings)
    try:
        yield mail, box
    finally:
        mail.end()
        shutil.rmtree(folder, ignore_errors=True)


def new(box):
    return sorted((box / "new").iterdir()) if (box / "new").is_dir() else []


def own_part(message):
    """Behind the fields that the server put in front."""
    while m := re.match(rb"(Return-Path|Received|Delivered-To):[^\n]*\n([ \t][^\n]*\n)*", message):
        message = message[m.end():]
    return message


def test_a_catcher_for_a_desk():
    """No file, no script: any recipient, and any reader of Maildirs finds the message."""
    with catching(args=True) as (mail, box):
        with smtplib.SMTP("127.0.0.1", mail.port, timeout=30) as c:
            c.sendmail("from@client.example", ["a@anywhere.example", "b@elsewhere.example"], MAILS["plain"])
        [file] = new(box)
        assert re.fullmatch(r"\d+\.M\d{6}P\d+Q\d+_[0-9a-f]{8}\.[^/:,]+,S=\d+", file.name), file.name
        assert file.stat().st_size == int(file.name.rsplit("=", 1)[1])
        assert file.stat().st_mode & 0o777 == 0o600
        assert {p.name: p.stat().st_mode & 0o777 for p in box.iterdir()} == {"tmp": 0o700, "new": 0o700, "cur": 0o700}
        assert not list((box / "tmp").iterdir())
        reader = mailbox.Maildir(box, create=False)
        [(key, message)] = list(reader.items())
        assert message["Subject"] == "plain" and message["Return-Path"] == "<from@client.example>"
        assert email.utils.parsedate_to_datetime(message["Received"].rsplit(";", 1)[1])
        # a reader that moves it leaves nothing behind
        message.set_subdir("cur")
        reader[key] = message
        assert not new(box)


@pytest.mark.parametrize("name", MAILS)
def test_what_was_sent_is_what_is_stored(name):
    with catching(headers="none") as (mail, box):
        with mail.client() as c:
            assert c.mail(MAILS[name]).code == 250
        [file] = new(box)
        assert hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(MAILS[name]).digest()
    with catching() as (mail, box):
        with mail.client() as c:
            assert c.mail(MAILS[name], rcpts=["a@example.com", "b@example.com"]).code == 250
        [file] = new(box)
        assert file.read_bytes().startswith(b"Return-Path: <from@client.example>\r\n")
        assert own_part(file.read_bytes()) == MAILS[name]


def test_each_recipient_has_a_folder():
    with catching(maildir_per_user=True, headers="delivered") as (mail, box):
        with mail.client() as c:
            talk(c, """
                EHLO client.example               => 250
                MAIL FROM:<a@b.example>           => 250
                RCPT TO:<Bob@Example.com>         => 250
                RCPT TO:<"al ice"@example.com>    => 250
                RCPT TO:<postmaster>              => 250
                RCPT TO:<"../../evil"@example.com> => 550 5.1.1
                RCPT TO:<"/etc/passwd"@example.com> => 550 5.1.1
                RCPT TO:<.hidden@example.com>     => 550 5.1.1
                RCPT TO:<a/b@example.com>         => 550 5.1.1
                RCPT TO:<x@elsewhere.example>     => 550 5.7.1
                DATA                              => 354
                |Subject: x\\r\\n\\r\\nhi\\r\\n.\\r\\n => 250 2.0.0
            """)
        for folder, whom in (("example.com/bob", b"Bob@example.com"), ("example.com/al ice", b'"al ice"@example.com'),
                             ("mx.example.com/postmaster", b"postmaster")):
            [file] = new(box / folder)
            text = file.read_bytes()
            assert b"Delivered-To: " + whom + b"\r\n" in text
            assert own_part(text) == b"Subject: x\r\n\r\nhi\r\n"
        assert sum(p.is_file() for p in box.rglob("*")) == 3
        assert {p.name for p in box.parent.iterdir()} == {"box", "run"}


def test_lmtp_says_it_for_each():
    with catching(maildir_per_user=True, protocol="lmtp") as (mail, box):
        with Smtp(mail.port) as c:
            talk(c, """
                LHLO client.example       => 250
                MAIL FROM:<a@b.example>   => 250
                RCPT TO:<a@example.com>   => 250
                RCPT TO:<b@example.com>   => 250
                RCPT TO:<a@example.com>   => 250
                DATA                      => 354
                |Subject: x\\r\\n\\r\\nhi\\r\\n.\\r\\n => 250, 250, 250
            """)
        assert len(new(box / "example.com/a")) >= 1 and len(new(box / "example.com/b")) == 1


def refused_for_now(c, body):
    reply = c.mail(body)
    assert reply.code in (451, 452) and reply.enhanced.startswith("4.3."), reply


def test_what_cannot_be_stored_is_not_accepted():
    """A folder that cannot be written to: 4xx, nothing in new/, and all is well when it can be."""
    with catching() as (mail, box):
        with mail.client() as c:
            assert c.mail(MAILS["plain"]).code == 250
            [first] = new(box)
            (box / "new").rename(box / "away")
            (box / "new").write_text("no folder")
            refused_for_now(c, MAILS["plain"])
            assert not list((box / "tmp").iterdir()) and [p.name for p in (box / "away").iterdir()] == [first.name]
            (box / "new").unlink()
            (box / "away").rename(box / "new")
            assert c.mail(MAILS["plain"]).code == 250
            assert len(new(box)) == 2
        assert "Maildir" in mail.err


def test_a_full_disk():
    """A file may not grow any more: 4xx, and nothing of it is left."""
    with catching(spool_mem="1M") as (mail, box):
        worker = mail.worker()
        with mail.client() as c:
            assert c.mail(MAILS["plain"]).code == 250
            before = resource.prlimit(worker, resource.RLIMIT_FSIZE, (100000, resource.RLIM_INFINITY))
            refused_for_now(c, b"Subject: x\r\n\r\n" + b"x" * 70 * 1000 + b"\r\n" + b"y" * 70 * 1000)
            assert len(new(box)) == 1 and not list((box / "tmp").iterdir())
            resource.prlimit(worker, resource.RLIMIT_FSIZE, before)
            assert c.mail(MAILS["plain"]).code == 250
        assert len(new(box)) == 2


def test_a_script_and_a_maildir():
    """Both are asked to keep it: it is accepted when both have it, and not stored when the script says no."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ferry-mail-"))
    folder.chmod(0o755)
    box = folder / "box"
    try:
        with mailing(maildir=box) as (mail, scripts), mail.client() as c:
            assert c.mail(MAILS["plain"]).code == 250
            assert len(new(box)) == 1 and len(scripts.saved) == 1
            scripts.save = lambda asked: "REJECT 550 5.7.1 no"
            assert c.mail(MAILS["plain"]).code == 550
            scripts.save = lambda asked: "DEFER"
            assert c.mail(MAILS["plain"]).code == 451
            assert len(new(box)) == 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def numbered(i):
    text = b"Subject: mail %d\r\n\r\n" % i + b"%d\r\n" % i * random.Random(i).randrange(10000)
    return text + b"sum " + hashlib.sha256(text).hexdigest().encode() + b"\r\n"


def number_of(text):
    """Of a message that is whole."""
    m = re.fullmatch(rb"(Subject: mail (\d+)\r\n.*)sum ([0-9a-f]{64})\r\n", text, re.S)
    assert m and hashlib.sha256(m[1]).hexdigest().encode() == m[3], text[-200:]
    return int(m[2])


def send_many(port, numbers, accepted):
    """Until they are all sent or the server is no more, which the first command without a reply tells."""
    with contextlib.suppress(OSError, AssertionError, AttributeError):
        with Smtp(port) as c:
            assert c.command("EHLO client.example").code == 250
            for i in numbers:
                if c.mail(numbered(i), hello=None).code == 250:
                    accepted.add(i)


def test_many_at_once():
    with catching(headers="none") as (mail, box):
        accepted = set()
        threads = [threading.Thread(target=send_many, args=(mail.port, range(k * 10, k * 10 + 10), accepted)) for k in range(10)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert accepted == set(range(100))
        assert sorted(number_of(p.read_bytes()) for p in new(box)) == list(range(100))
        assert not list((box / "tmp").iterdir())


def test_killed_at_any_moment():
    """What is in new/ is whole, and all that was answered with 250 is there."""
    for run in range(4):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="ferry-mail-"))
        folder.chmod(0o755)
        box, accepted = folder / "box", set()
        mail = Mail(folder / "run", maildir=box, headers="none")
        try:
            threads = [threading.Thread(target=send_many, args=(mail.port, range(k * 100, k * 100 + 100), accepted))
                       for k in range(4)]
            for t in threads:
                t.start()
            enough = 3 + 9 * run
            wait_until(lambda: len(accepted) >= enough, 60)
            for pid in [mail.process.pid] + mail.children():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            mail.process.wait(20)
            for t in threads:
                t.join()
            stored = {number_of(p.read_bytes()) for p in new(box)}
            assert accepted <= stored, accepted - stored
        finally:
            if mail.process.poll() is None:
                mail.process.kill()
                mail.process.wait(20)
            shutil.rmtree(folder, ignore_errors=True)


def test_a_message_that_is_cut_is_not_stored():
    with catching() as (mail, box):
        whole = stuffed(MAILS["plain"])
        for n in range(len(whole)):
            with mail.client() as c:
                talk(c, READY + "DATA => 354")
                c.send(whole[:n])
        with mail.client() as c:
            assert c.mail(MAILS["plain"]).code == 250
        assert len(new(box)) == 1


def test_programs_on_a_desk_write_lf():
    """A catcher made of options takes lines that end so; a service of a file does not, unless it is told to."""
    mail = READY + "DATA => 354\n|Subject: x\\n\\nline\\n.\\n\\r\\n.\\r\\n => {}"
    with catching(args=True) as (ferry, box):
        with ferry.client() as c:
            talk(c, mail.format("250"))
        assert own_part(new(box)[0].read_bytes()) == b"Subject: x\r\n\r\nline\r\n.\r\n\r\n"
    with catching() as (ferry, box):
        with ferry.client() as c:
            talk(c, mail.format("550 5.5.2, close"))
        assert not new(box)
