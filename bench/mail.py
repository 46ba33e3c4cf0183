# SPDX-License-Identifier: MIT
"""The mail gateway beside go-guerrilla: the same messages by Postfix's smtp-source, the same application behind.

What is compared is the CPU time that a gateway's processes take for a message: a connection for each, as smtp-source
makes them, with EHLO, MAIL, RCPT, DATA and QUIT one after the other. The application (bench/app_mail.c) says yes to all.
smtp-sink, which takes mail and throws it away without looking, is the floor. go-guerrilla with fastcgi-processor is not
in Debian: `--guerrillad PROGRAM` names one that takes its configuration file as the only argument.
"""
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import gateways
from gateways import BUILD, ROOT, Running

POSTFIX = os.path.join(ROOT, "build/unpacked/postfix/usr")
LIBRARIES = {"LD_LIBRARY_PATH": os.path.join(POSTFIX, "lib/postfix")}

# name, sessions at once, bytes, messages in a round
WORKS = [("1 KiB, 1 session", 1, 1024, 2000), ("1 KiB, 10 sessions", 10, 1024, 5000), ("1 KiB, 100 sessions", 100, 1024, 5000),
         ("100 KiB, 10 sessions", 10, 102400, 1000), ("1 MiB, 10 sessions", 10, 1 << 20, 200)]
BUDGET = 0.25  # of go-guerrilla, for 1 KiB


class Ferry:
    """Saves by an application; the message in a form, or alone."""

    def __init__(self, io, format="urlencoded"):
        self.name = f"ferry {io}" + ("" if format == "urlencoded" else f", {format}")
        self.io, self.format = {"io_uring": "uring"}.get(io, io), format

    def missing(self):
        return None if os.path.exists(os.path.join(BUILD, "ferry-mail")) else "ferry mail is not built"

    def start(self, folder, app):
        port = gateways.free_port()
        conf = gateways.write(folder, "ferry.conf", f"""
            io = {self.io}
            mail-log = off
            application app {{ connect = "{app}" }}
            mail bench {{
                listen = "127.0.0.1:{port}"
                domains = example.com
                application = app
                validate = /validate.php
                save = /save.php
                format = {self.format}
                trusted = 127.0.0.0/8
                size-max = 64M
            }}""")
        return Running([os.path.join(BUILD, "ferry"), "mail", "-c", conf, "-q"], folder, port=port)


class Guerrilla:
    name = "go-guerrilla"
    program = None

    def missing(self):
        return None if self.program else "no --guerrillad"

    def start(self, folder, app):
        port = gateways.free_port()
        conf = {"log_file": "off", "log_level": "error", "allowed_hosts": ["example.com"], "pid_file": "",
                "backend_config": {"save_process": "HeadersParser|FastCGI", "validate_process": "FastCGI", "save_workers_size": 16,
                                   "log_received_mails": False, "primary_mail_host": "mx.example.com",
                                   "fcgi_script_filename_save": "/save.php", "fcgi_script_filename_validate": "/validate.php",
                                   "fcgi_connection_type": "unix", "fcgi_connection_address": gateways.unix_path(app)},
                "servers": [{"is_enabled": True, "host_name": "mx.example.com", "max_size": 64 << 20, "timeout": 180,
                             "listen_interface": f"127.0.0.1:{port}", "max_clients": 1000, "log_file": "off", "tls": {}}]}
        return Running([self.program, gateways.write(folder, "conf.json", json.dumps(conf))], folder, port=port)


class Sink:
    """No gateway: nothing is asked, nothing is kept."""
    name = "smtp-sink (floor)"

    def missing(self):
        return None

    def start(self, folder, app):
        port = gateways.free_port()
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        return Running([os.path.join(POSTFIX, "sbin/smtp-sink"), *user, f"127.0.0.1:{port}", "1000"], folder, port=port, env=LIBRARIES)


def source(port, sessions, size, messages):
    """Seconds that it took."""
    began = time.monotonic()
    subprocess.run([os.path.join(POSTFIX, "sbin/smtp-source"), "-s", str(sessions), "-m", str(messages), "-l", str(size), "-f", "a@b.example",
                    "-t", "ok@example.com", f"127.0.0.1:{port}"], check=True, env={**os.environ, **LIBRARIES}, timeout=300,
                   stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def measure(gateway, sessions, size, messages):
    folder = tempfile.mkdtemp(prefix="ferry-bench-")
    app = running = None
    try:
        os.chmod(folder, 0o755)
        path = os.path.join(folder, "app.sock")
        app = Running([os.path.join(BUILD, "bench/app_mail"), f"unix:{path}"], folder, path=path)
        running = gateway.start(folder, f"unix:{path}")
        source(running.port, sessions, size, max(messages // 10, 1))
        pids = running.pids()
        before = gateways.cpu_ns(pids)
        took = source(running.port, sessions, size, messages)
        return {"us": (gateways.cpu_ns(pids) - before) / 1000 / messages, "rate": messages / took,
                "mib": gateways.rss_kib(pids) / 1024}
    finally:
        for program in (running, app):
            if program:
                program.stop()
        shutil.rmtree(folder, ignore_errors=True)


def run_work(work, fleet, rounds, table):
    name, sessions, size, messages = work
    results = {g.name: [] for g in fleet}
    for i in range(rounds):
        for g in fleet:
            print(f"\r{name}: round {i + 1} of {rounds}, {g.name:25}", end="", file=sys.stderr, flush=True)
            try:
                results[g.name].append(measure(g, sessions, size, messages))
            except (RuntimeError, subprocess.SubprocessError) as e:
                print(f"\n{g.name}: {e}", file=sys.stderr)
                results[g.name].append(None)
    print("\r" + " " * 90 + "\r", end="", file=sys.stderr)
    rows, base = [], results.get(Guerrilla.name, [])
    for g in fleet:
        got = [r for r in results[g.name] if r]
        if not got:
            rows.append([g.name, "-", "-", "-", "-", "failed"])
            continue
        med = {k: statistics.median(r[k] for r in got) for k in ("us", "rate", "mib")}
        pairs = [r["us"] / b["us"] for r, b in zip(results[g.name], base) if r and b]
        ratio = statistics.median(pairs) if pairs else None
        note = ""
        if ratio and isinstance(g, Ferry) and size == 1024:
            note = f"{'within' if ratio <= BUDGET else 'OVER'} budget {BUDGET:.2f}"
        rows.append([g.name, f"{med['us']:.0f}", f"{ratio:.2f}" if ratio else "-", f"{med['rate']:.0f}", f"{med['mib']:.1f}", note])
        results[g.name] = {"median": med, "ratio": ratio, "rounds": got}
    table(name, ["gateway", "CPU us/mail", "of go-guerrilla", "mails/s", "MiB", ""], rows)
    return results


def run(args, table):
    if not os.path.exists(os.path.join(POSTFIX, "sbin/smtp-source")):
        print("mail is left out: Postfix's smtp-source is not there (tools/unpack build/unpacked postfix)")
        return {}
    subprocess.run(["ninja", "--quiet", "-C", BUILD, "bench/app_mail"], check=True, stdout=subprocess.DEVNULL)
    Guerrilla.program = args.guerrillad
    fleet = []
    for g in [Ferry("io_uring"), Ferry("epoll"), Ferry("epoll", "rfc822"), Guerrilla(), Sink()]:
        why = g.missing()
        if why:
            print(f"{g.name} is left out: {why}")
        else:
            fleet.append(g)
    return {work[0]: run_work(work, fleet, args.rounds, table) for work in WORKS if args.only in work[0]}
