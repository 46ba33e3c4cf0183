# SPDX-License-Identifier: MIT
"""`ferry check --gateway`: ferry's own gateway passes it, and each case can fail."""
import json
import pathlib
import subprocess
import sys

import pytest
from conftest import BUILD, IO


def check(*argv, program=(), timeout=170):
    argv = [str(BUILD / "ferry"), "check", "--gateway", *argv]
    return subprocess.run([*argv, "--", *map(str, program)] if program else argv, capture_output=True, text=True,
                          timeout=timeout, stdin=subprocess.DEVNULL)


def results(run):
    """{id: case} of a run with --json."""
    assert run.stdout, run.stderr
    return {case["id"]: case for case in json.loads(run.stdout)["cases"]}


SERVE = [BUILD / "ferry", "serve", "-l", "127.0.0.1:{port}", "-a", "{app}", "-q", "--io", IO]


@pytest.mark.parametrize("multiplex", ["auto", "off"])
def test_ferry_serve_passes(multiplex):
    run = check("--json", program=[*SERVE, "--multiplex", multiplex])
    found = results(run)
    bad = {k: v["reason"] for k, v in found.items() if v["result"] == "failed"}
    assert not bad and run.returncode == 0
    skipped = {k for k, v in found.items() if v["result"] == "skipped"}
    # It has no authorizers and filters, keeps connections, and with multiplexing off needs not ask.
    allowed = ("W-13a", "W-20", "W-21", "W-22", "W-23") + (("W-12g", "W-12h", "W-14d", "W-14e", "W-15", "W-16", "W-17a")
                                                           if multiplex == "off" else ())
    assert not {k for k in skipped if not k.startswith(allowed)}
    assert len(found) - len(skipped) > 140


# -- a gateway that is wrong in one thing

LITTLE = [sys.executable, pathlib.Path(__file__).with_name("little_gateway.py"), "{port}", "{app}"]
ROLES = ["--authorizer-url", "/auth/", "--filter-url", "/file"]
KEEP, MULTIPLEX = "--keep", "--multiplex"

# What it does wrong (little_gateway.py says how), and the cases that must notice.
FAULTS = [
    ("id-0", "W-3a W-3b W-17b"),
    ("version-2", "W-3a W-3b W-17b"),
    ("growing-ids --keep", "W-3c"),
    ("unpadded", "W-4a W-4b"),
    ("stdin-early", "W-5b"),
    ("stdin-after-end", "W-5a W-5b W-5d"),
    ("no-stdin-end", "W-5a W-5c W-5d"),
    ("role-9", "W-5e"),
    ("flags", "W-5f"),
    ("head-refused", "W-5c"),
    ("type-77", "W-17b"),
    ("list-cut", "W-6a"),
    ("nul", "W-6b"),
    ("long-value-short", "W-6c"),
    ("four-byte-lengths", "W-6d"),
    ("params-cut", "W-6e W-6f"),
    ("value-cut", "W-6f"),
    ("length-off-by-one", "W-7a W-7b W-7c W-7d"),
    ("body-cut", "W-7b W-7c W-7d W-8a"),
    ("length-for-none", "W-7e"),
    ("first-part-only", "W-7f"),
    ("chunked-no-length", "W-7g W-7h"),
    ("chunked-lost", "W-7g W-7h"),
    ("cut-upload-forgotten", "W-7i W-7j"),
    ("takes-more", "W-7k"),
    ("get-body-lost", "W-7l"),
    ("writes-first", "W-8a W-8b"),
    ("head-in-one-record", "W-9a W-9b W-9c"),
    ("small-records", "W-9d W-9e"),
    ("padding-is-content", "W-9e W-9f"),
    ("record-per-recv", "W-9g W-9h"),
    ("stderr-to-client", "W-9i W-9j W-19a W-19b"),
    ("reserved-checked", "W-9k"),
    ("bodies-end-at-1m", "W-9l W-9m"),
    ("streams-late", "W-9n"),
    ("waits-for-close --keep", "W-10a"),
    ("app-status-error", "W-10b W-10c"),
    ("empty-is-error", "W-10d"),
    ("end-impatient", "W-10e"),
    ("one-for-all", "W-10f"),
    ("stdout-end-needed", "W-11a"),
    ("stdout-end-is-end", "W-11b"),
    ("eof-is-end", "W-11b W-11c W-11e W-11f"),
    ("short-is-filled", "W-11d W-11m"),
    ("no-head-is-200", "W-11g W-11h W-11i W-11j W-11k W-11l W-18n W-19c"),
    ("length-passed-over --keep", "W-11n"),
    ("protocol-status-ignored", "W-12a W-12c W-12e W-12f"),
    ("overloaded-502", "W-12b"),
    ("role-again", "W-12d"),
    ("mpx-not-again --multiplex", "W-12g"),
    ("mpx-stubborn --multiplex", "W-12h"),
    ("used-again", "W-13a W-17b"),
    ("closes-kept --keep", "W-13b W-13c"),
    ("new-connections --keep", "W-13c"),
    ("early-reuse --keep --asks", "W-13d"),
    ("stale-used --keep", "W-13e W-13f"),
    ("never-aborts --never-notices", "W-14a W-14b"),
    ("half-is-gone", "W-14c"),
    ("aborts-by-close --multiplex", "W-14d W-14e"),
    ("never-notices --multiplex", "W-14d"),
    ("aborted-output-astray --multiplex", "W-14e"),
    ("same-ids --multiplex", "W-15a"),
    ("id-of-aborted --multiplex", "W-15b"),
    ("values-with-id --multiplex", "W-16a"),
    ("values-with-value --multiplex", "W-16a"),
    ("values-needed --multiplex", "W-16b W-16e W-17a"),
    ("values-exact --multiplex", "W-16c"),
    ("values-awaited --multiplex", "W-16d"),
    ("version-unchecked", "W-18a W-18b"),
    ("type-unchecked", "W-18c W-18d"),
    ("id-unchecked", "W-18e W-18f W-18g"),
    ("dies-of-id-0", "W-18g"),
    ("management-unwanted", "W-18h W-18i W-18j W-18k"),
    ("begin-hangs", "W-18m"),
    ("short-end no-head-is-200", "W-18l"),
    ("eof-is-end", "W-18o"),
    ("stdout-after-end", "W-18p"),
    ("late-records --keep", "W-18q"),
    ("empty-stops", "W-18r"),
    ("stderr-stops", "W-19d"),
    ("stderr-lost", "W-19e"),
    ("authorizer-all-params", "W-20a W-20b W-20c W-20d"),
    ("no-authorizer", "W-20e"),
    ("variables-lost", "W-20f W-21a"),
    ("authorizer-answers", "W-20e W-20g"),
    ("denied-plainly", "W-20h"),
    ("authorizer-ignored", "W-20h W-20i"),
    ("variable-dash", "W-21a"),
    ("body-eaten", "W-22a"),
    ("filter-as-responder", "W-23a"),
    ("data-early", "W-23b"),
    ("filter-length", "W-23c"),
    ("filter-time", "W-23d"),
    ("status-ignored", "W-24a W-24b W-24c W-24d W-24e W-24g W-24i W-24j"),
    ("location-200", "W-24e W-24f"),
    ("no-odd-status", "W-24g"),
    ("head-body", "W-24h"),
    ("204-body", "W-24i W-24j"),
    ("first-field-only", "W-24k"),
    ("lengths-passed", "W-24l W-24m W-24n W-24o"),
    ("status-unchecked", "W-24p W-24q W-24r"),
    ("status-passed", "W-24s"),
    ("httpoxy", "W-26a"),
    ("underscores", "W-26b W-26c W-26d W-26e"),
    ("lengths-unchecked", "W-26f W-26g W-26h W-26i"),
    ("fields-twice", "W-26j W-26k"),
    ("crlf-only", "W-27a W-27b W-27c"),
    ("exact-case", "W-27d"),
    ("lenient-head", "W-27e W-27f W-27g W-27h"),
    ("small-head", "W-27i"),
    ("dies-of-long-line", "W-27j W-27k"),
    ("dies-of-long-head", "W-27l"),
]


def little(*words):
    return [*LITTLE, *words]


@pytest.mark.parametrize("mode", ["", "--keep", "--keep --multiplex"])
def test_a_right_one_passes(mode):
    found = results(check("--json", *ROLES, program=little(*mode.split())))
    # That a close after an empty STDOUT is a cut, and no more, is a decision of ferry's.
    assert not {k: v["reason"] for k, v in found.items() if v["result"] == "failed"}


@pytest.mark.parametrize("fault,ids", FAULTS, ids=[f"{f} {i.split()[0]}" for f, i in FAULTS])
def test_a_wrong_one_is_noticed(fault, ids):
    run = check("--json", "--timeout", "1", "--only", ids.replace(" ", ","), *ROLES, program=little(*fault.split()))
    found = results(run)
    assert {k: v["result"] for k, v in found.items()} == dict.fromkeys(ids.split(), "failed")
    for case in found.values():
        assert case["reason"] and (case["conversation"] or case["id"] in ("W-16a", "W-17b"))
    assert run.returncode == any(case["strength"] == "must" for case in found.values())


def test_every_case_can_fail():
    ids = {line.split()[0] for line in check("--list").stdout.splitlines()}
    assert not ids - {i for _, listed in FAULTS for i in listed.split()}
