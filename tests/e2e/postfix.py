# SPDX-License-Identifier: MIT
"""Postfix, from files that tools/unpack has laid below build/unpacked: the machine's own mail server is not touched.

It runs as root only (its processes become other users), and stands between smtp-source and `ferry mail`.
"""
import os
import pathlib
import shutil
import signal
import socket
import subprocess

import pytest
from conftest import ROOT, wait_until

FILES = ROOT / "build/unpacked/postfix"
LIBRARIES = FILES / "usr/lib/postfix"
OWNER, GROUP = "www-data", "games"  # users that Debian always has, and that own nothing here

needs_postfix = pytest.mark.skipif(not LIBRARIES.is_dir() or os.geteuid() != 0, reason="needs Postfix's files, and root")

MASTER = """\
{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
smtp unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
proxymap unix - - n - - proxymap
tlsmgr unix - - n 1000? 1 tlsmgr
"""


def tool(name, *args, timeout=60, **kw):
    """One of its programs (smtp-source, smtp-sink, postqueue)."""
    return subprocess.run([str(FILES / "usr/sbin" / name), *map(str, args)], timeout=timeout, capture_output=True, text=True,
                          env={**os.environ, "LD_LIBRARY_PATH": str(LIBRARIES)}, **kw)


class Postfix:
    """Takes mail for example.com on `port`, and hands it on by `transport` ("lmtp:inet:127.0.0.1:2424")."""

    def __init__(self, folder, transport, **settings):
        self.folder = folder
        conf, queue, data = folder / "conf", folder / "queue", folder / "data"
        for path in (conf, queue, data):
            path.mkdir(parents=True)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        environment = f"MAIL_CONFIG={conf} LD_LIBRARY_PATH={LIBRARIES}"
        main = dict(
            compatibility_level="3.6", queue_directory=queue, data_directory=data, command_directory=FILES / "usr/sbin",
            daemon_directory=LIBRARIES / "sbin", shlib_directory=LIBRARIES, meta_directory=conf, mail_owner=OWNER,
            default_privs="nobody", setgid_group=GROUP, myhostname="relay.example", mydestination="",
            mynetworks="127.0.0.0/8", inet_interfaces="127.0.0.1", inet_protocols="ipv4", import_environment=environment,
            export_environment=environment, relay_domains="example.com", relay_transport=transport, alias_maps="",
            lmtp_send_xforward_command="yes", smtp_send_xforward_command="yes", maillog_file=folder / "log",
            maillog_file_prefixes=folder, smtpd_recipient_restrictions="permit_mynetworks, reject", smtp_dns_support_level="disabled",
            minimal_backoff_time="1s", maximal_backoff_time="2s", queue_run_delay="1s", message_size_limit="40000000",
            smtputf8_enable="yes", **settings)
        (conf / "main.cf").write_text("".join(f"{n} = {v}\n" for n, v in main.items()))
        (conf / "master.cf").write_text(MASTER.format(port=self.port))
        for name in ("active bounce corrupt defer deferred flush hold incoming private saved trace maildrop public pid").split():
            (queue / name).mkdir(mode=0o700)
        for name in ("active bounce corrupt defer deferred flush hold incoming private saved trace maildrop public").split():
            shutil.chown(queue / name, OWNER)
        shutil.chown(data, OWNER)
        for name, mode in (("public", 0o710), ("maildrop", 0o730)):
            shutil.chown(queue / name, group=GROUP)
            (queue / name).chmod(mode)
        self.environment = {**os.environ, "LD_LIBRARY_PATH": str(LIBRARIES), "MAIL_CONFIG": str(conf)}
        with open(folder / "master.out", "wb") as out:
            self.process = subprocess.Popen([str(LIBRARIES / "sbin/master"), "-c", str(conf), "-d"], env=self.environment, stdout=out,
                                            stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)
        wait_until(self.listens, 30)

    def listens(self):
        assert self.process.poll() is None, self.log
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def log(self):
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else (self.folder / "master.out").read_text()

    def queued(self):
        """How many messages it still has."""
        return sum(len([p for p in (self.folder / "queue" / name).rglob("*") if p.is_file()])
                   for name in ("maildrop", "incoming", "active", "deferred", "hold"))

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)


@pytest.fixture
def postfix(folder):
    """postfix(transport, **settings) starts one."""
    started = []

    def start(transport, **settings):
        pathlib.Path(folder).chmod(0o755)
        started.append(Postfix(folder / f"postfix{len(started)}", transport, **settings))
        return started[-1]

    yield start
    for one in started:
        one.stop()
