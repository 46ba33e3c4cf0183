# SPDX-License-Identifier: MIT
"""The application library beside libfcgi and Go's net/http/fcgi: one answer, one load, no web server in between.

The load is bench/fcgi_load.c, which speaks FastCGI over a unix socket. What is compared is the CPU time that the
application's process takes for a request, with the same connections to each in turn. libfcgi serves one connection in a
process at a time, so it gets a process for each connection: fewer would leave connections waiting, more stand idle.
"""
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import gateways
from gateways import BUILD, Running

CONNECTIONS = 16


class Ferry:
    def __init__(self, io, *options):
        self.name = " ".join([f"ferry {io}", *options])
        self.argv = [os.path.join(BUILD, "examples/hello"), "unix:{}", {"io_uring": "uring"}.get(io, io), *options]
        self.multiplexes = True

    def missing(self):
        return None if os.path.exists(self.argv[0]) else "ferry is not built"


class Threads:
    """A handler in one of four threads of the library's, as one that blocks would be."""
    name = "ferry threads"
    argv = [os.path.join(BUILD, "bench/app_threads"), "unix:{}", "4"]
    multiplexes = True

    def missing(self):
        return None


class Libfcgi:
    name = "libfcgi"
    argv = [os.path.join(BUILD, "bench/app_libfcgi"), "{}", str(CONNECTIONS)]
    multiplexes = False

    def missing(self):
        built = subprocess.run(["ninja", "--quiet", "-C", BUILD, "bench/app_libfcgi"], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        return "libfcgi-dev is not installed" if built.returncode else None


class Go:
    name = "Go net/http/fcgi"
    argv = [os.path.join(BUILD, "bench/app_go"), "{}"]
    multiplexes = True

    def missing(self):
        go = gateways.find("go")
        if not go:
            return "Go is not installed"
        source = os.path.join(gateways.ROOT, "bench/app.go")
        cache = os.path.join(os.path.abspath(BUILD), "go-cache")
        subprocess.run([go, "build", "-o", self.argv[0], source], check=True, env={**os.environ, "GOCACHE": cache})
        return None


URING = Ferry("io_uring")
EPOLL = Ferry("epoll")
BASE = Libfcgi()
FLEET = [URING, EPOLL, Threads(), BASE, Go()]

# name, mode of fcgi_load, connections, target, {ferry: budget as a ratio to libfcgi}
WORKS = [
    ("kept connections", "kept", CONNECTIONS, "/", {URING.name: 0.40, EPOLL.name: 0.40}),
    ("a new connection per request", "new", CONNECTIONS, "/", {URING.name: 0.60, EPOLL.name: 0.60}),
    ("multiplexed, 32 requests on each of 2 connections", "mpx", 2, "/", {}),
    ("1 MiB response, kept connections", "kept", 4, "/bytes/1048576", {}),
]


def start(app, folder):
    path = os.path.join(folder, "app.sock")
    return Running([a.format(path) for a in app.argv], folder, path=path)


def load(path, mode, connections, target, seconds, requests=0):
    """(requests, errors, seconds)"""
    run = subprocess.run([os.path.join(BUILD, "bench/fcgi_load"), mode, path, str(connections), str(seconds), target,
                          str(requests)], capture_output=True, text=True)
    found = re.match(r"(\d+) requests, (\d+) errors, ([\d.]+) seconds", run.stdout)
    if not found:
        raise RuntimeError(run.stderr.strip() or "the load says nothing")
    return int(found[1]), int(found[2]), float(found[3])


def measure(app, mode, connections, target, seconds):
    folder = tempfile.mkdtemp(prefix="ferry-bench-")
    running = start(app, folder)
    try:
        load(running.path, mode, connections, target, 0.5)
        pids = running.pids()
        before = gateways.cpu_ns(pids)
        requests, errors, took = load(running.path, mode, connections, target, seconds)
        return {"us": (gateways.cpu_ns(pids) - before) / 1000 / max(requests, 1), "rps": requests / took,
                "mib": gateways.rss_kib(pids) / 1024, "bad": f"{errors} errors" if errors else ""}
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def run_work(work, fleet, rounds, seconds, table):
    name, mode, connections, target, budgets = work
    fleet = [a for a in fleet if (mode != "mpx" or a.multiplexes) and (target == "/" or not isinstance(a, Threads))]
    results = {a.name: [] for a in fleet}
    for i in range(rounds):
        for a in fleet:
            print(f"\r{name}: round {i + 1} of {rounds}, {a.name:20}", end="", file=sys.stderr, flush=True)
            results[a.name].append(measure(a, mode, connections, target, seconds))
    print("\r" + " " * 90 + "\r", end="", file=sys.stderr)
    rows = []
    base = results.get(BASE.name)
    for a in fleet:
        got = results[a.name]
        med = {k: statistics.median(r[k] for r in got) for k in ("us", "rps", "mib")}
        ratio = statistics.median(r["us"] / b["us"] for r, b in zip(got, base)) if base else None
        note = next((r["bad"] for r in got if r["bad"]), "")
        budget = budgets.get(a.name)
        if budget and ratio:
            note = ("within" if ratio <= budget else "OVER") + f" budget {budget:.2f} " + note
        rows.append([a.name, f"{med['us']:.2f}", f"{ratio:.2f}" if ratio else "-", f"{med['rps']:.0f}",
                     f"{med['mib']:.1f}", note])
        results[a.name] = {"median": med, "ratio": ratio, "budget": budget, "rounds": got}
    table(f"{name}, {connections} connections", ["application", "CPU us/req", "of libfcgi", "req/s", "MiB", ""], rows)
    return results


def system_calls(app, connections, target, requests):
    """{name of a system call: how many, per request}, errors included, as strace counts them."""
    folder = tempfile.mkdtemp(prefix="ferry-bench-")
    running = start(app, folder)
    try:
        load(running.path, "kept", connections, target, 10, connections)
        out = os.path.join(folder, "strace")
        tracer = subprocess.Popen([gateways.find("strace"), "-f", "-c", "-o", out]
                                  + [a for pid in running.pids() for a in ("-p", str(pid))],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in running.pids():
            tracer.stderr.readline()  # "strace: Process N attached"
        time.sleep(0.2)
        done, _, _ = load(running.path, "kept", connections, target, 60, requests)
        tracer.send_signal(signal.SIGINT)
        tracer.wait(20)
        counts = {}
        with open(out) as f:
            for line in f:
                m = re.fullmatch(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+\d+)?\s+(\w+)", line.rstrip())
                if m and m[2] != "total":
                    counts[m[2]] = int(m[1]) / done
        return counts
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


RECV_AND_SEND = ("read", "readv", "recvfrom", "recvmsg", "write", "writev", "sendto", "sendmsg")
SENDS = ("write", "writev", "sendto", "sendmsg")


def call_rows(title, heading, what, fleet, connections, target, requests, budgets, table):
    rows, results = [], {}
    for a in fleet:
        counts = system_calls(a, connections, target, requests)
        n = sum(counts.get(c, 0) for c in what)
        budget = budgets.get(a.name)
        rest = ", ".join(f"{c} {v:.2f}" for c, v in sorted(counts.items(), key=lambda kv: -kv[1]) if v >= 0.01)
        note = "" if budget is None else f"{'within' if n <= budget else 'OVER'} budget {budget:g}"
        rows.append([a.name, f"{n:.2f}", f"{sum(counts.values()):.2f}", note, rest])
        results[a.name] = counts
    table(title, ["application", heading, "all", "", "each"], rows)
    return results


def run(args, table):
    """All of it, or the works whose name holds args.only. Returns the figures."""
    subprocess.run(["ninja", "--quiet", "-C", BUILD, "bench/fcgi_load", "bench/app_threads"], check=True, stdout=subprocess.DEVNULL)
    fleet = []
    for a in FLEET:
        why = a.missing()
        print(f"{a.name} is left out: {why}" if why else f"{a.name}: {' '.join(map(os.path.basename, a.argv))}")
        if not why:
            fleet.append(a)
    results = {}
    for work in WORKS:
        if args.only in work[0]:
            results[work[0]] = run_work(work, fleet, args.rounds, args.seconds, table)
    if args.only in "system calls" and gateways.find("strace"):
        slack = 0.02  # connections that open and close
        results["calls"] = call_rows(f"system calls per small request, {CONNECTIONS} kept connections", "receive, send",
                                     RECV_AND_SEND, fleet, CONNECTIONS, "/", 20000,
                                     {URING.name: 2 + slack, EPOLL.name: 2 + slack}, table)
        whole = [a for a in fleet if not isinstance(a, Threads)]
        results["sends"] = call_rows("system calls per 1 MiB response, 1 kept connection", "sends", SENDS, whole, 1,
                                     "/bytes/1048576", 400, {EPOLL.name: 5 + slack}, table)
    return results
