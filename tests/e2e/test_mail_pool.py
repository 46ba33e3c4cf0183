# SPDX-License-Identifier: MIT
"""Many messages and few connections; scripts that are too slow."""
import contextlib
import pathlib
import shutil
import tempfile
import threading
import time

from conftest import wait_until
from mailing import Mail, Scripts

CONNECTIONS = 4


@contextlib.contextmanager
def served(**settings):
    """(mail, scripts): with few connections, and no question about recipients."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ferry-mail-"))
    folder.chmod(0o755)
    scripts = Scripts(folder)
    top = f'application few {{ connect = "{scripts.address}"  connections = {CONNECTIONS}  multiplex = off }}'
    mail = None
    try:
        mail = Mail(folder / "run", top=top, application="few", save="/save.php", errors_max=10000, error_delay="1ms",
                    clients_per_ip=1000, **settings)
        yield mail, scripts
    finally:
        if mail:
            mail.end()
        scripts.close()
        shutil.rmtree(folder, ignore_errors=True)


def at_once(n, what):
    """What what(i) returns for each i, all at the same time."""
    results = [None] * n

    def run(i):
        results[i] = what(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    return results


class Busy:
    """A save script that counts how many run at once, and waits to be let go."""

    def __init__(self):
        self.lock, self.go = threading.Lock(), threading.Event()
        self.running = self.most = 0

    def __call__(self, asked):
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.go.wait(60)
        with self.lock:
            self.running -= 1
        return "SAVED"


def mail_one(mail, i, **kw):
    with mail.client(timeout=100) as c:
        reply = c.mail(f"Subject: {i}\r\n\r\nx\r\n".encode(), **kw)
    return reply.code, reply.enhanced


def test_many_messages_wait_for_few_connections():
    """S19"""
    with served() as (mail, scripts):
        scripts.save = busy = Busy()

        def release():
            wait_until(lambda: busy.running == CONNECTIONS, 60)
            time.sleep(0.3)  # more would come now
            busy.go.set()

        threading.Thread(target=release, daemon=True).start()
        assert set(at_once(60, lambda i: mail_one(mail, i))) == {(250, "2.0.0")}
        assert busy.most == CONNECTIONS
        assert len(scripts.saved) == 60
        assert len({a.fields["message_key"] for a in scripts.saved}) == 60


def test_who_waits_too_long_is_told_to_come_again():
    """S19: past queue-timeout, before anything was sent."""
    with served(queue_timeout="300ms") as (mail, scripts):
        scripts.save = busy = Busy()
        first = []
        holders = threading.Thread(target=lambda: first.extend(at_once(CONNECTIONS, lambda i: mail_one(mail, i))))
        holders.start()
        wait_until(lambda: busy.running == CONNECTIONS, 60)
        assert set(at_once(5, lambda i: mail_one(mail, 100 + i))) == {(451, "4.3.2")}
        assert len(scripts.saved) == CONNECTIONS
        busy.go.set()
        holders.join(60)
        assert first == [(250, "2.0.0")] * CONNECTIONS


def test_a_script_that_is_too_slow_is_given_up():
    """S18: 451, and its connection is closed, which applications that know no ABORT_REQUEST see too."""
    with served(save_timeout="700ms") as (mail, scripts):
        closed, connections = threading.Event(), []

        def hangs(connection, asked):
            scripts.asked.append(asked)
            connections.append(connection)
            connection.wait_closed()
            closed.set()
            return False

        scripts.app.on["/save.php"] = hangs, False
        began = time.monotonic()
        assert mail_one(mail, 1) == (451, "4.3.0")
        assert time.monotonic() - began >= 0.7
        wait_until(closed.is_set)
        scripts.app.on.clear()
        assert mail_one(mail, 2) == (250, "2.0.0")
        assert len(scripts.saved) == 2 and len(connections) == 1
