# SPDX-License-Identifier: MIT
"""`ferry mail` as a service: its end, its reload, its limits, its log; and what a crash may cost.

The ids are those of docs/mail.md, "What is tested".
"""
import concurrent.futures
import hashlib
import json
import os
import random
import re
import resource
import signal
import socket
import threading
import time

import pytest
from conftest import open_files, wait_until
from mailing import SANITIZED, Mail, Scripts, Smtp, mailing, stuffed, talk

READY = "EHLO client.example => 250\nMAIL FROM:<a@b.example> => 250\nRCPT TO:<ok@example.com> => 250\n"


# -- the end, and another beginning ------------------------------------------------------------------------------------

def test_it_ends_well():
    """V01: an idle session is told, a message that is being saved is saved, one that is coming may still come."""
    with mailing() as (mail, scripts):
        running, go = threading.Event(), threading.Event()
        scripts.save = lambda asked: running.set() or (go.wait(20) and "SAVED")
        idle, saving = mail.client(), mail.client()
        talk(idle, "EHLO client.example => 250")
        talk(saving, READY + "DATA => 354")
        saving.send(stuffed(b"x\r\n"))
        assert running.wait(20)
        mail.process.send_signal(signal.SIGTERM)
        assert (told := idle.reply()).code == 421 and told.enhanced == "4.3.2" and idle.closed()
        go.set()
        assert saving.reply().code == 250
        assert mail.process.wait(30) == 0
        with pytest.raises(OSError):
            mail.client()


def test_it_ends_at_once_when_told_twice():
    with mailing() as (mail, scripts):
        scripts.save = lambda asked: time.sleep(5) or "SAVED"
        with mail.client() as c:
            talk(c, READY + "DATA => 354")
            c.send(stuffed(b"x\r\n"))
            wait_until(lambda: scripts.saved)
            began = time.monotonic()
            assert mail.stop(signal.SIGINT) == 0
            assert time.monotonic() - began < 4.5


def test_a_reload():
    """V02: domains, limits and scripts change for new sessions; old ones go on."""
    with mailing(size_max="10000") as (mail, scripts):
        old = mail.client()
        talk(old, "EHLO client.example => 250")
        mail.write(domains=["other.example"], size_max="20000")
        mail.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "reloaded" in mail.err, 20)
        with mail.client() as c:
            assert "SIZE 20000" in c.command("EHLO x").text
            talk(c, "MAIL FROM:<a@b> => 250\nRCPT TO:<ok@example.com> => 550\nRCPT TO:<ok@other.example> => 250")
        old.send(b"NOOP\r\n")
        reply = old.reply()
        assert reply.code in (250, 421)


def test_a_bad_reload_changes_nothing():
    with mailing() as (mail, _):
        mail.write("mail inbound { listen = nonsense nonsense }")
        mail.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "reload failed" in mail.err, 20)
        with mail.client() as c:
            assert c.mail(b"x\r\n").code == 250


def test_reloads_lose_nothing():
    """V02, no mail fails while it is reloaded again and again."""
    with mailing(mails_max=100000, clients_per_ip=100) as (mail, scripts):
        over, failed, sent = threading.Event(), [], []

        def client(n):
            i = 0
            while not over.is_set():
                i += 1
                try:
                    with mail.client() as c:
                        reply = c.mail(b"Subject: %d.%d\r\n\r\nx\r\n" % (n, i))
                    (sent if reply and reply.code == 250 else failed).append((n, i))
                except (OSError, AssertionError) as e:
                    failed.append(e)
        threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
        for t in threads:
            t.start()
        for i in range(10):
            mail.process.send_signal(signal.SIGHUP)
            wait_until(lambda: mail.err.count("reloaded") > i, 30)
        over.set()
        for t in threads:
            t.join()
        assert not failed and len({a.fields["subject"] for a in scripts.saved}) == len(sent)


# -- limits ------------------------------------------------------------------------------------------------------------

def test_as_many_clients_as_may_be():
    """V07"""
    with mailing(clients_max=3, clients_per_ip=100) as (mail, _):
        clients = [mail.client() for _ in range(3)]
        with mail.client(greeting=False) as c:
            assert (told := c.reply()).code == 421 and told.enhanced == "4.3.2" and c.closed()
        talk(clients[0], "QUIT => 221, close")
        clients[0].close()

        def accepted():
            with mail.client(greeting=False) as c:
                return c.reply(True).code == 220
        wait_until(accepted)


def test_as_many_of_one_client():
    """V08"""
    with mailing(clients_per_ip=2) as (mail, _):
        clients = [mail.client() for _ in range(2)]
        with mail.client(greeting=False) as c:
            assert (told := c.reply()).code == 421 and told.enhanced == "4.7.0" and c.closed()
        assert len(clients) == 2


def test_as_often_as_may_be():
    """M36"""
    with mailing(mails_per_minute=2) as (mail, _):
        with mail.client() as c:
            assert c.mail(b"1\r\n").code == 250 and c.mail(b"2\r\n", hello=None).code == 250
            talk(c, "MAIL FROM:<a@b> => 450 4.7.1")


def test_who_is_denied():
    with mailing(deny=["127.0.0.0/8"]) as (mail, _):
        with mail.client(greeting=False) as c:
            assert c.reply().code == 554 and c.closed()


def test_who_speaks_too_early():
    """G20, P04"""
    with mailing(greet_delay="1s") as (mail, _):
        with mail.client(greeting=False) as c:
            began = time.monotonic()
            assert c.reply(True).code == 220 and time.monotonic() - began > 0.9
        with mail.client(greeting=False) as c:
            c.send(b"EHLO x\r\n")
            assert c.reply().code == 554 and c.closed()


def test_who_says_nothing():
    """idle, and D28"""
    with mailing(idle_timeout="1s", data_idle_timeout="1s") as (mail, scripts):
        with mail.client() as c:
            assert (told := c.reply()).code == 421 and told.enhanced == "4.4.2" and c.closed()
        with mail.client() as c:
            talk(c, READY + "DATA => 354")
            c.send(b"half a message")
            assert c.reply().code == 421 and c.closed()
        assert not scripts.saved


def test_no_room():
    """D32: more than the spool takes at once"""
    with mailing(spool_max="100k", size_max="80k") as (mail, scripts):
        running, go = threading.Event(), threading.Event()
        scripts.save = lambda asked: running.set() or (go.wait(20) and "SAVED")
        with mail.client() as first, mail.client() as second:
            talk(first, READY + "DATA => 354")
            first.send(stuffed(b"x" * 70000 + b"\r\n"))
            assert running.wait(20)
            talk(second, READY)
            reply = second.command("DATA")
            if reply.code == 354:
                reply = second.command(stuffed(b"y" * 70000 + b"\r\n"))
            assert (reply.code, reply.enhanced) == (452, "4.3.1")
            go.set()
            assert first.reply().code == 250
            assert second.mail(b"z\r\n", hello="EHLO x").code == 250


def memory(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1])


def test_idle_sessions_beside_busy_ones():
    """B03, and memory: a thousand that say nothing, and mail goes on."""
    with mailing(clients_max=2000, clients_per_ip=2000, top="threads = 1") as (mail, _):
        with mail.client() as c:
            c.mail(b"x\r\n")
        before = memory(mail.worker())
        idle = []
        for _ in range(1000):
            c = mail.client()
            assert c.command("EHLO client.example").code == 250
            idle.append(c)
        each = (memory(mail.worker()) - before) * 1024 / 1000
        assert each < 16384 * (4 if SANITIZED else 1), each
        with concurrent.futures.ThreadPoolExecutor(100) as busy:
            def client(n):
                with mail.client() as c:
                    return [c.mail(b"Subject: %d.%d\r\n\r\n" % (n, i), hello=None if i else "EHLO x").code for i in range(5)]
            assert all(codes == [250] * 5 for codes in busy.map(client, range(100)))
        assert idle[0].command("NOOP").code == 250
        for c in idle:
            c.close()


def test_descriptors_that_run_out():
    """V06: who comes then waits, and is served when there is one again."""
    with mailing(clients_per_ip=1000, top="threads = 1") as (mail, _):
        with mail.client() as c:
            c.mail(b"x\r\n")
        have = len(open_files(mail.worker()))
        resource.prlimit(mail.worker(), resource.RLIMIT_NOFILE, (have + 10, have + 10))
        clients = [mail.client(greeting=False) for _ in range(30)]
        time.sleep(0.3)  # it has tried by now
        served = []
        for c in clients:
            c.socket.settimeout(30)
            assert c.reply(True).code == 220
            c.close()
            served.append(c)
        assert len(served) == 30
        with mail.client() as c:
            assert c.mail(b"y\r\n").code == 250


def cpu(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_waiting_costs_nothing():
    """C16: in the middle of a chunk, of a message, of a command and of nothing."""
    with mailing() as (mail, _):
        clients = [mail.client() for _ in range(4)]
        for c, more in zip(clients, (b"BDAT 1000\r\nsome", b"DATA\r\nsome", b"RCPT TO:<", b"")):
            talk(c, READY)
            c.send(more)
        clients[1].reply()
        before = cpu(mail.worker())
        time.sleep(2)
        assert cpu(mail.worker()) - before < 0.2
        for c in clients:
            c.close()


def test_memory_of_large_messages():
    """B02: a hundred megabytes on their way take as much as the spool may have in memory, and no more."""
    with mailing(clients_per_ip=100, spool_mem="64k", size_max="30M", top="threads = 1") as (mail, _):
        with mail.client() as c:
            c.mail(b"x\r\n")
        before = memory(mail.worker())
        clients = [mail.client() for _ in range(10)]
        for c in clients:
            talk(c, READY + "DATA => 354")
            c.send((b"x" * 1022 + b"\r\n") * 10240)
        wait_until(lambda: all(c.quiet(0.05) for c in clients))
        assert memory(mail.worker()) - before < (64 if SANITIZED else 16) * 1024
        for c in clients:
            c.send(b".\r\n")
            assert c.reply().code == 250


# -- the log -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("form", ["text", "json"])
def test_hostile_words_in_the_log(form):
    """V10, G10: a line for a transaction, whatever the client says."""
    with mailing(top=f"mail-log-format = {form}") as (mail, scripts):
        with mail.client() as c:
            talk(c, 'EHLO "><script>\\x7f => 250|501|500\nEHLO a"b\\\\c => 250\nMAIL FROM:<"a b"@c> => 250\nRCPT TO:<ok@example.com> => 250\n'
                    "DATA => 354\n|Subject: x\\x1b[31m\\r\\n\\r\\n\\r\\n.\\r\\n => 250")
        wait_until(lambda: "saved" in mail.err)
        line, = [line for line in mail.err.splitlines() if scripts.saved[0].fields["transaction_id"].decode() in line]
        assert "\x1b" not in mail.err
        if form == "json":
            said = json.loads(line[line.index("{"):])
            assert said["from"] == '"a b"@c' and said["helo"] == 'a"b\\c'


# -- crashes -----------------------------------------------------------------------------------------------------------

def is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def test_killed_again_and_again(folder):
    """I06, S25: ferry killed with -9 at random moments, and a client that tries again: nothing is lost, and what is there
    twice has the same key."""
    rng = random.Random(5)
    scripts = Scripts(folder)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    settings = dict(listen=[f"127.0.0.1:{port}"], clients_per_ip=100)
    mail = Mail(folder / "run0", scripts, **settings)
    sent, over = [], threading.Event()

    def client(n):
        for i in range(10**6):
            body = b"Subject: %d.%d\r\n\r\nx\r\n" % (n, i)
            while True:
                if over.is_set():
                    return
                try:
                    with Smtp(port, timeout=10) as c:
                        if c.mail(body).code == 250:
                            sent.append(hashlib.sha256(body).digest())
                            break
                except (OSError, AssertionError, AttributeError):
                    time.sleep(0.01)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    try:
        for i in range(1, 21 if SANITIZED else 101):
            time.sleep(rng.uniform(0.01, 0.2))
            for pid in [mail.worker()] if i % 2 else [mail.process.pid] + mail.children():
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            if i % 2 == 0:
                mail.process.wait(10)
                wait_until(lambda: is_free(port))  # a worker that was just started is told, and ends by itself
                mail = Mail(folder / f"run{i}", scripts, **settings)
            n = len(sent)
            wait_until(lambda: len(sent) > n, 30)
    finally:
        over.set()
        for t in threads:
            t.join()
        mail.end()
        scripts.close()
    stored = {}
    for asked in scripts.saved:
        if asked.whole and "message_key" in asked.fields:
            body = asked.fields["body"]
            stored.setdefault(hashlib.sha256(body[body.index(b"Subject: "):]).digest(), set()).add(asked.fields["message_key"])
    assert set(sent) <= set(stored)
    assert all(len(keys) == 1 for keys in stored.values())


def test_a_client_that_is_cut_anywhere():
    """I03, D21: cut behind each byte of a transaction: saved or not, but never half, and the server goes on."""
    with mailing(clients_per_ip=1000) as (mail, scripts):
        whole = (b"EHLO client.example\r\n", b"MAIL FROM:<a@b.example>\r\n", b"RCPT TO:<ok@example.com>\r\n", b"DATA\r\n",
                 b"Subject: x\r\n\r\n.\r\n" b".\r\n")
        body = b"Subject: x\r\n\r\n"
        for i in range(len(whole)):
            for cut in range(len(whole[i]) + 1):
                with mail.client() as c:
                    for j in range(i):
                        c.send(whole[j])
                        c.reply(first=j == 0)
                    c.send(whole[i][:cut])
                    if cut % 2:
                        c.reset()
        with mail.client() as c:
            assert c.mail(b"last\r\n").code == 250
        assert all(a.fields["body"].endswith((body, b"last\r\n")) for a in scripts.saved)


def test_noise():
    """L16"""
    with mailing(clients_per_ip=1000, errors_max=20, error_delay="1ms") as (mail, _):
        rng = random.Random(7)
        words = [b"EHLO x\r\n", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<ok@example.com>\r\n", b"DATA\r\n", b".\r\n", b"BDAT 5\r\n", b"\r\n.\r\n",
                 b"RSET\r\n", b"STARTTLS\r\n", b"AUTH PLAIN\r\n", b"\0", b"\xff\xfe", b"XCLIENT A=B\r\n", b"BDAT 0 LAST\r\n"]
        for seed in range(150):
            with mail.client() as c:
                c.socket.settimeout(10)
                c.send(b"".join(rng.choice(words) if rng.random() < 0.7 else rng.randbytes(rng.randrange(200)) for _ in range(40)))
                c.socket.shutdown(socket.SHUT_WR)
                while c.line() is not None:
                    pass
        with mail.client() as c:
            assert c.mail(b"x\r\n").code == 250
