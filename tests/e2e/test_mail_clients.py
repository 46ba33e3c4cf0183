# SPDX-License-Identifier: MIT
"""Clients and servers that are not ours, and PHP scripts under php-fpm: what was sent is what is stored.

The scripts are those of examples/mail.
"""
import base64
import contextlib
import hashlib
import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import threading
import time

import pytest
from conftest import ROOT, children_of, have, needs_php_fpm, wait_until
from mailing import Mail
from phpsite import listens, php_fpm, short_folder
from postfix import needs_postfix, postfix, tool

pytestmark = needs_php_fpm
SCRIPTS = ROOT / "examples/mail"

ATTACHMENT = base64.encodebytes(hashlib.sha256(b"x").digest() * 24576).replace(b"\n", b"\r\n")  # of 768 KiB: 1 MiB
HEADER = b"From: from@client.example\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-Id: <1@client.example>\r\n"
MAILS = {
    "plain": b"Subject: plain\r\n" + HEADER + b"\r\nHello,\r\nworld.\r\n",
    "8-bit": b"Subject: eight\r\n" + HEADER + "Content-Type: text/plain; charset=utf-8\r\n\r\nGrüße aus Köln\r\n".encode(),
    "dots": b"Subject: dots\r\n" + HEADER + b"\r\n.\r\n..\r\n.x\r\n...\r\n\r\n.\r\nend\r\n",
    "attachment": b"Subject: big\r\n" + HEADER + b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b0\r\n\r\n--b0\r\n\r\n"
                  b"see below\r\n--b0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
                  ATTACHMENT + b"--b0--\r\n",
}
UTF8 = "jürgen@example.com"


class Store:
    """php-fpm with the scripts of examples/mail, which store below `folder`."""

    def __init__(self, folder):
        self.folder = folder
        self.mails = folder / "store"
        self.mails.mkdir()
        self.mails.chmod(0o777)
        self.scripts = folder / "scripts"
        shutil.copytree(SCRIPTS, self.scripts)
        (self.scripts / "recipients.txt").write_text(f"ok@example.com\n{UTF8}\n")

    def files(self):
        return sorted(p for p in self.mails.rglob("*") if p.is_file() and p.suffix == ".eml")

    def messages(self):
        """What is stored, without the fields that were put in front by servers on the way."""
        return [p.read_bytes() for p in self.files()]


def own_part(message):
    """From the subject on."""
    return message[message.index(b"Subject: "):]


@pytest.fixture(scope="module")
def php():
    with short_folder() as folder:
        folder.chmod(0o755)
        store = Store(folder)
        pool = f"pm.max_children=4 env[MAIL_STORE]={store.mails} php_admin_value[post_max_size]=80M php_admin_value[memory_limit]=256M"
        with php_fpm(folder / "fpm", pool) as (_, address):
            store.address = address
            yield store


@pytest.fixture
def store(php):
    for path in php.files():
        path.unlink()
    return php


@pytest.fixture
def serving(store, folder):
    """serving(**settings): `ferry mail` in front of these scripts."""
    started = []

    def start(**settings):
        mail = Mail(folder / f"mail{len(started)}", top=f'application php {{ connect = "{store.address}" }}', application="php",
                    validate=str(store.scripts / "validate.php"), save=str(store.scripts / "save.php"), strict_token=True, **settings)
        started.append(mail)
        return mail

    yield start
    for mail in started:
        mail.end()


def stored(store, body):
    """One message, and it is this one, byte for byte."""
    message, = store.messages()
    assert hashlib.sha256(own_part(message)).hexdigest() == hashlib.sha256(body).hexdigest()


# -- clients -----------------------------------------------------------------------------------------------------------

def with_smtplib(port, folder, body, rcpt="ok@example.com", options=()):
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.sendmail("from@client.example", [rcpt], body, mail_options=list(options))


def with_curl(port, folder, body, rcpt="ok@example.com"):
    (folder / "mail.eml").write_bytes(body)
    subprocess.run(["curl", "-sS", "--url", f"smtp://127.0.0.1:{port}/client.example", "--mail-from", "from@client.example",
                    "--mail-rcpt", rcpt, "-T", str(folder / "mail.eml")], check=True, timeout=60)


def with_swaks(port, folder, body, rcpt="ok@example.com"):
    (folder / "mail.eml").write_bytes(body.replace(b"\r\n", b"\n").removesuffix(b"\n"))  # it adds one
    run = subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(port), "--from", "from@client.example", "--to", rcpt,
                          "--data", f"@{folder / 'mail.eml'}", "--silent", "2"], capture_output=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr


def with_msmtp(port, folder, body, rcpt="ok@example.com"):
    run = subprocess.run(["msmtp", "--host=127.0.0.1", f"--port={port}", "--from=from@client.example", "--tls=off", "--auth=off",
                          "--file=/dev/null", rcpt], input=body.replace(b"\r\n", b"\n"), capture_output=True, timeout=60)
    assert run.returncode == 0, run.stderr


CLIENTS = {"smtplib": with_smtplib, "curl": with_curl, "swaks": with_swaks, "msmtp": with_msmtp}


@pytest.mark.parametrize("mail", MAILS)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client(serving, store, folder, client, mail):
    if client != "smtplib" and not have(client):
        pytest.skip(f"{client} is not installed")
    CLIENTS[client](serving().port, folder, MAILS[mail])
    stored(store, MAILS[mail])


def with_smtplib_utf8(port, folder):
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.ehlo("client.example")
        client.sendmail("jörg@client.example", [UTF8], MAILS["8-bit"], mail_options=["SMTPUTF8", "BODY=8BITMIME"])


def test_an_address_in_utf_8(serving, store, folder):
    with_smtplib_utf8(serving().port, folder)
    stored(store, MAILS["8-bit"])


def test_an_address_in_utf_8_from_curl(serving, store, folder):
    """swaks and msmtp know nothing of SMTPUTF8; curl does."""
    with_curl(serving().port, folder, MAILS["8-bit"], UTF8)
    stored(store, MAILS["8-bit"])


def test_who_is_unknown_is_refused(serving, store, folder):
    with pytest.raises(smtplib.SMTPRecipientsRefused) as e:
        with_smtplib(serving().port, folder, MAILS["plain"], "unknown@example.com")
    assert e.value.recipients["unknown@example.com"][0] == 550
    assert not store.files()


def test_the_same_message_again_is_stored_once(serving, store, folder):
    """I01 and the script's part in it"""
    mail = serving()
    with_smtplib(mail.port, folder, MAILS["plain"])
    with_smtplib(mail.port, folder, MAILS["plain"])
    stored(store, MAILS["plain"])


# -- servers -----------------------------------------------------------------------------------------------------------

@needs_postfix
@pytest.mark.parametrize("protocol", ["lmtp", "smtp"])
@pytest.mark.parametrize("mail", MAILS)
def test_postfix(serving, store, folder, postfix, protocol, mail):
    """K10, K11: behind Postfix, by LMTP and by SMTP; it says whom the mail came from."""
    ferry = serving(protocol=protocol, xforward_from=["127.0.0.1"])
    relay = postfix(f"{protocol}:inet:127.0.0.1:{ferry.port}" if protocol == "lmtp" else f"smtp:[127.0.0.1]:{ferry.port}")
    with_smtplib(relay.port, folder, MAILS[mail])
    wait_until(lambda: store.files() and "status=sent (250 2.0.0" in relay.log, 60)
    stored(store, MAILS[mail])
    queue_id = re.search(r"postfix/cleanup\[\d+\]: ([0-9A-F]+): message-id", relay.log)[1]
    assert f"origin_id={queue_id}" in ferry.err or queue_id in ferry.err


@needs_postfix
@pytest.mark.parametrize("protocol", ["lmtp", "smtp"])
def test_an_address_in_utf_8_through_postfix(serving, store, folder, postfix, protocol):
    ferry = serving(protocol=protocol)
    relay = postfix(f"lmtp:inet:127.0.0.1:{ferry.port}" if protocol == "lmtp" else f"smtp:[127.0.0.1]:{ferry.port}")
    with_smtplib_utf8(relay.port, folder)
    wait_until(lambda: store.files(), 60)
    stored(store, MAILS["8-bit"])


@needs_postfix
def test_postfix_tries_again(serving, store, folder, postfix):
    """K10: what ferry defers stays in Postfix's queue and comes again."""
    ferry = serving(protocol="lmtp", xforward_from=["127.0.0.1"])
    relay = postfix(f"lmtp:inet:127.0.0.1:{ferry.port}")
    save = store.scripts / "save.php"
    good = save.read_text()
    try:
        save.write_text("<?php echo 'no';")
        with_smtplib(relay.port, folder, MAILS["plain"])
        wait_until(lambda: "status=deferred" in relay.log and "451 4.3.0" in relay.log, 60)
        assert not store.files() and relay.queued() == 1
    finally:
        save.write_text(good)
    wait_until(lambda: store.files() and "status=sent" in relay.log, 60)
    stored(store, MAILS["plain"])


@needs_postfix
def test_many_from_postfix(serving, store, folder, postfix):
    """K13, B01: a hundred, over few connections."""
    ferry = serving(protocol="lmtp", xforward_from=["127.0.0.1"])
    relay = postfix(f"lmtp:inet:127.0.0.1:{ferry.port}")
    run = tool("smtp-source", "-m", 100, "-s", 5, "-l", 2000, "-f", "a@b.example", "-t", "ok@example.com", f"127.0.0.1:{relay.port}")
    assert run.returncode == 0, run.stderr
    wait_until(lambda: relay.log.count("status=sent") == 100, 120)
    assert len(store.files()) == 100


def test_php_fpm_comes_and_goes(folder):
    """S25: its processes killed in the middle of saving, and all of it reloaded, before clients that try again: nothing is
    lost, and nothing is stored twice."""
    store = Store(folder)
    save = store.scripts / "save.php"
    save.write_text(save.read_text().replace("$body =", "usleep(20000);\n$body =", 1))
    pool = f"pm.max_children=4 env[MAIL_STORE]={store.mails} php_admin_value[post_max_size]=80M"
    with php_fpm(folder / "fpm", pool) as (process, address):
        mail = Mail(folder / "run", top=f'application php {{ connect = "{address}" connections = 4 }}', application="php",
                    validate=str(store.scripts / "validate.php"), save=str(store.scripts / "save.php"), strict_token=True)
        sent, over = [], threading.Event()

        def client(n):
            i = 0
            while not over.is_set():
                i += 1
                body = b"Subject: %d.%d\r\n\r\nx\r\n" % (n, i)
                while not over.is_set():
                    try:
                        with mail.client() as c:
                            if c.mail(body).code == 250:
                                sent.append(body)
                                break
                    except (OSError, AssertionError, AttributeError):
                        pass

        threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
        for t in threads:
            t.start()
        try:
            for i in range(24):
                time.sleep(0.1)
                if i % 8 == 7:
                    process.send_signal(signal.SIGUSR2)  # a reload
                else:
                    for pid in children_of(process.pid)[:2]:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                n = len(sent)
                wait_until(lambda: len(sent) > n, 60)
        finally:
            over.set()
            for t in threads:
                t.join()
            mail.end()
        kept = [own_part(m) for m in store.messages()]
        assert set(sent) <= set(kept) and len(kept) == len(set(kept))


OPENSMTPD = ROOT / "build/unpacked/opensmtpd"
# It wants users, folders and programs at places of its own: a namespace of mounts has them, and nobody else sees them.
NAMESPACE = """\
set -e
cp /etc/passwd /etc/group .
for user in opensmtpd:991 opensmtpq:992; do
    echo "${user%:*}:x:${user#*:}:${user#*:}::/var/lib/opensmtpd/empty:/bin/false" >>passwd
    echo "${user%:*}:x:${user#*:}:" >>group
done
mount --bind passwd /etc/passwd
mount --bind group /etc/group
for folder in /var/spool /var/lib /run; do mount -t tmpfs none $folder; done
mkdir -p /var/lib/opensmtpd/empty /var/spool/smtpd
chmod 711 /var/spool/smtpd
mount --bind $1/usr/sbin /usr/sbin
exec $1/usr/sbin/smtpd -d -f $PWD/smtpd.conf
"""


def test_opensmtpd(serving, store, folder):
    can = os.geteuid() == 0 and OPENSMTPD.is_dir() and \
        subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0
    if not can:
        pytest.skip("needs OpenSMTPD's files, root and namespaces")
    ferry = serving()
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    place = folder / "opensmtpd"
    place.mkdir()
    (place / "smtpd.conf").write_text(f'listen on 127.0.0.1 port {port}\naction "on" relay host smtp://127.0.0.1:{ferry.port}\n'
                                      'match from any for any action "on"\n')
    with open(place / "log", "wb") as log:
        process = subprocess.Popen(["unshare", "-m", "sh", "-c", NAMESPACE, "sh", str(OPENSMTPD)], cwd=place, stdout=log, stderr=log,
                                   stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(lambda: process.poll() is not None or listens(("127.0.0.1", port)), 30)
        for i, body in enumerate(MAILS.values()):
            with_smtplib(port, folder, body)
            wait_until(lambda: len(store.files()) > i, 60)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
    assert {hashlib.sha256(own_part(m)).digest() for m in store.messages()} == {hashlib.sha256(b).digest() for b in MAILS.values()}


def test_the_scripts_are_what_the_documents_show():
    """Where examples/mail and docs/mail.md show the same script, it is the same."""
    text = (ROOT / "docs/mail.md").read_text()
    for name in ("validate.php", "save.php"):
        assert (SCRIPTS / name).exists()
        assert f"examples/mail/{name}" in text


