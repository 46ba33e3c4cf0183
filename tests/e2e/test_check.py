# SPDX-License-Identifier: MIT
"""`ferry check`: right applications pass, and each fault of a wrong one is found by the case that names it."""
import concurrent.futures
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest
from conftest import BUILD, IO, ROOT, wait_until
from gateways import listens_at

WRONG = [sys.executable, str(ROOT / "tests/e2e/wrong_app.py")]
PROBE = BUILD / "tests/conformance/probe"
if not PROBE.exists():  # the programs were copied to where every user can run them
    PROBE = ROOT / os.environ.get("FERRY_BUILD", "build") / "tests/conformance/probe"


def check(*args, **kw):
    return subprocess.run([str(BUILD / "ferry"), "check", *map(str, args)], capture_output=True, text=True, timeout=600, **kw)


def failed(run):
    return {c["id"]: c for c in json.loads(run.stdout)["cases"] if c["result"] == "failed"}


def reasons(run):
    return {k: v["reason"] for k, v in failed(run).items()}


# -- right ones

RIGHT = {
    "probe": [PROBE],
    **{name: [BUILD / "examples" / name] for name in ("hello", "demo", "echo", "authorizer", "filter", "upload")},
    "wrong_app without a fault": WRONG,
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_applications_pass(name):
    """Every must and should, and where the specification is silent ferry does as ferry decided."""
    run = check("--json", "--", *RIGHT[name])
    assert run.stdout, run.stderr
    found = {k: v["reason"] for k, v in failed(run).items() if v["strength"] != "silent" or name == "probe"}
    assert not found
    assert run.returncode == 0
    result = json.loads(run.stdout)
    assert result["passed"] > (285 if name in ("probe", "wrong_app without a fault") else 180)


def test_an_address_and_roles(folder):
    path = folder / "probe.sock"
    app = subprocess.Popen([str(PROBE), f"unix:{path}"], stdin=subprocess.DEVNULL)
    wait_until(lambda: listens_at(path))
    try:
        for role in ("responder", "authorizer", "filter"):
            run = check("--json", "--role", role, f"unix:{path}")
            assert reasons(run) == {}, role
            assert run.returncode == 0
        skipped = {c["id"]: c["reason"] for c in json.loads(run.stdout)["cases"] if c["result"] == "skipped"}
        assert "needs a program" in skipped["A-INI-1a"]
    finally:
        app.terminate()
        assert app.wait(10) == 0


# -- wrong ones: a fault, and cases that must fail of it. What is found out before the first case takes 16 connections,
#    so "@17" bites in the case.

FAULTS = {
    # A-INI
    "needs-environment": "A-INI-1b",
    "needs-outputs": "A-INI-2a A-INI-2b",
    "cgi-hangs": "A-INI-3a A-INI-3b A-INI-5a",
    "no-tcp": "A-INI-4b A-INI-4c A-ADR-1 A-ADR-2",
    "no-ipv6": "A-INI-4c A-ADR-6d",
    "cgi-silent": "A-INI-5a A-INI-5b",
    "cgi-no-body": "A-INI-5b",
    "cgi-status": "A-INI-5c",
    "cgi-no-stderr": "A-INI-5d",
    "argv0": "A-INI-6",
    "dies-of-eagain": "A-INI-7a",
    "alone": "A-INI-7b",
    # A-ADR
    "list-ignored": "A-ADR-3a A-ADR-3b A-ADR-4 A-ADR-5d",
    "refused-answered": "A-ADR-3a A-ADR-4",
    "refused-open": "A-ADR-3a A-ADR-4",
    "unix-allowed": "A-ADR-4",
    "list-first": "A-ADR-5b A-ADR-5c",
    "list-last": "A-ADR-5a A-ADR-5b",
    "list-prefix": "A-ADR-5d",
    "bad-list-zero": "A-ADR-6a",
    "bad-list-open": "A-ADR-6b",
    "blanks-kept": "A-ADR-6c",
    "no-v6": "A-ADR-6d",
    "one-peer@17": "A-ADR-7",
    # A-FRM
    "one-read": "A-FRM-1a A-FRM-1c",
    "gluttonous": "A-FRM-2b",
    "stdin-60000": "A-FRM-3a A-FRM-3b",
    "stdin-12": "A-FRM-3e",
    "record-limit": "A-FRM-3b A-FRM-3d A-ID-2e A-MGT-8e",
    "params-limit": "A-FRM-3c A-FRM-3d A-NV-2g",
    "padding-signed": "A-FRM-4a A-FRM-4b A-FRM-4c A-FRM-4d A-FRM-4e A-FRM-4f A-FRM-4g",
    "reserved-checked": "A-FRM-5a",
    "begin-reserved-checked": "A-FRM-5b",
    "reserved": "A-FRM-5c",
    "version-answer": "A-FRM-6a",
    "version-management": "A-FRM-6b",
    "no-padding": "A-FRM-7a A-FRM-7b",
    "no-padding-management": "A-FRM-7b",
    "dies-of-version": "A-FRM-8a A-FRM-8b A-FRM-8c",
    "version-unchecked": "A-FRM-8c",
    "id-zero@17": "A-FRM-10a",
    "management-id": "A-FRM-10b",
    "null-ignored": "A-FRM-10c A-FRM-10d A-FRM-10e",
    "values-any-id": "A-FRM-10f",
    # A-ID
    "wrong-id": "A-ID-4b A-ID-1d A-ID-1e A-ID-1f A-ID-1g",
    "no-end@17": "A-ID-1a A-ID-1b A-ID-1c A-FRM-2a A-BEG-1a A-IN-4a A-NV-1a A-AUT-1 A-AUT-2a A-END-2a A-NV-2j A-BEG-1c A-IN-6c",
    "inactive-closes": "A-ID-2a A-ID-2b A-ID-2c A-ID-2d A-ID-2e A-ID-2f",
    "inactive-answered@17": "A-ID-2a A-ID-2f",
    "abort-ignored": "A-ID-3a A-ABT-1a A-ABT-1b A-ABT-2a A-ABT-3a A-ABT-3b A-ABT-5b",
    "ids-used-once@17": "A-ID-4a",
    "twice-ok": "A-ID-7",
    "single second-closes": "A-ID-8a A-ID-8b A-ID-8c A-ID-8d",
    "single second-kills-first": "A-ID-8b A-ID-8c",
    "single refusal-kills": "A-ID-9a",
    "single refusal-closes": "A-ID-8d A-BEG-2e",
    "ids-shared@17": "A-ID-6",
    "refusal-kills": "A-ID-9b",
    "end-early": "A-ID-10a A-ID-10b A-IN-1d A-IN-1e A-IN-2",
    "really-few": "A-ID-10d A-MGT-12c",
    # A-MGT
    "no-values": "A-MGT-1a",
    "values-one-missing": "A-MGT-1a",
    "values-terminated": "A-MGT-1b A-MGT-7b",
    "values-hex": "A-MGT-1c",
    "mpxs-two": "A-MGT-1c A-MGT-12a",
    "values-all": "A-MGT-2a A-MGT-2b A-MGT-2c A-MGT-7a",
    "values-unknown": "A-MGT-2b A-MGT-2c",
    "values-empty-unanswered": "A-MGT-2c A-MGT-7a",
    "values-idle-only": "A-MGT-3a A-MGT-3b A-MGT-3c A-MGT-3d",
    "values-first-only": "A-MGT-3e",
    "one-conn": "A-MGT-4",
    "values-close": "A-MGT-5a A-MGT-5b",
    "values-given": "A-MGT-6a",
    "repeats": "A-MGT-6b A-MGT-6c",
    "dies-of-query": "A-MGT-6d",
    "answers-bad-query": "A-MGT-6d",
    "unknown-unanswered": "A-MGT-8a A-MGT-8b A-MGT-8c",
    "unknown-closes": "A-MGT-8a A-MGT-8b A-MGT-8c",
    "unknown-type-fixed": "A-MGT-8b A-MGT-8c",
    "unknown-body": "A-MGT-8d A-MGT-8e A-MGT-8f",
    "unknown-busy": "A-MGT-8g",
    "unknown-short": "A-MGT-8h",
    "unknown-reserved": "A-MGT-8h",
    "answers-answers": "A-MGT-9a A-MGT-9b",
    "answers-any-type": "A-MGT-10a A-MGT-10b",
    "unsolicited@17": "A-MGT-11",
    "mpxs-lies": "A-MGT-12a",
    "few-conns": "A-MGT-12b",
    "few-reqs": "A-MGT-12c A-BEG-3",
    "unlimited": "A-MGT-12b A-MGT-12c A-BEG-3",
    # A-BEG
    "wants-length@17": "A-BEG-1b",
    "silent-refusal": "A-BEG-2a A-BEG-2b A-BEG-2c A-BEG-6",
    "unknown-role-closes": "A-BEG-2a A-BEG-2b A-BEG-2c A-BEG-6",
    "role-unchecked": "A-BEG-2a A-BEG-2b A-BEG-2c A-BEG-2d A-BEG-2e A-BEG-2f A-END-4a",
    "wrong-refusal": "A-BEG-2a A-BEG-2b A-BEG-2c A-BEG-3 A-END-4a",
    "refusal-keeps": "A-BEG-2d",
    "refusal-closes": "A-BEG-2e A-BEG-2f",
    "role-8-bit": "A-BEG-6",
    "flags-checked": "A-BEG-4a A-BEG-4b",
    "flags-any-keep": "A-BEG-4a",
    "begin-short-ok": "A-BEG-5a A-BEG-5b",
    "begin-long-closes": "A-BEG-5c",
    "filter-hasty": "A-FIL-3a",
    # A-NV
    "long-names": "A-NV-1b A-NV-1d A-NV-2k A-NV-2l",
    "long-values@17": "A-NV-1c A-NV-1d A-NV-2c A-NV-2d A-NV-2e A-NV-2f",
    "odd-values": "A-NV-2b A-NV-2c A-NV-2d A-NV-2e",
    "empty-value-lost": "A-NV-2a A-NV-6d",
    "length-16-bit": "A-NV-2h A-NV-2i A-NV-4d",
    "no-wide-lengths": "A-NV-3a A-NV-3b",
    "values-wide": "A-NV-3c",
    "no-straddling": "A-NV-4a A-NV-4b A-NV-4c A-NV-4d A-IN-1a A-IN-1b A-IN-1c",
    "ascii-params": "A-NV-5a",
    "c-strings": "A-NV-5b",
    "order-fixed": "A-NV-6a",
    "empty-name-closes": "A-NV-6b A-NV-6c",
    "one-of-a-name": "A-NV-6e",
    "last-wins": "A-NV-6f",
    "truncated-ok": "A-NV-7a A-NV-7b A-NV-7c",
    "dies-of-length": "A-NV-8a A-NV-8b A-NV-8c A-NV-8d",
    "many-hang": "A-NV-8e",
    "params-unlimited length-unchecked": "A-NV-8f",
    "equals-in-name": "A-NV-9",
    "httpoxy": "A-NV-10",
    # A-IN
    "params-required": "A-IN-3",
    "scramble": "A-IN-1f A-OUT-5d",
    "waits-for-stdin": "A-IN-4b A-IN-9a A-OUT-1b",
    "waits-for-length@17": "A-IN-5",
    "excess-kept": "A-IN-6a A-IN-6b",
    "order-unchecked": "A-IN-7a A-IN-7c A-IN-7d",
    "params-late-ok": "A-IN-7b",
    "second-end-closes": "A-IN-7e",
    "data-closes": "A-IN-8",
    "unread-blocks": "A-IN-9b",
    # A-OUT
    "hasty": "A-OUT-1a",
    "no-empty-stdout": "A-OUT-2a A-OUT-2b A-END-3",
    "two-empty-stdout": "A-OUT-2a A-OUT-5a A-OUT-7b",
    "stderr-many": "A-OUT-3a",
    "no-empty-stderr": "A-OUT-3b A-END-3",
    "stderr-lost": "A-OUT-3b A-ERR-4a",
    "stderr-scrambled": "A-OUT-4",
    "uncut": "A-OUT-5b A-OUT-5c A-OUT-5d A-OUT-5e A-CLS-1b",
    "empty-record": "A-OUT-5f",
    "status-line": "A-OUT-6",
    "late-stdout@17": "A-OUT-7a A-OUT-7b",
    "no-flush": "A-OUT-8a",
    "flush-all": "A-OUT-8b",
    "global-lock": "A-OUT-9a A-OUT-10",
    "hoards": "A-OUT-9b",
    "dies-of-pipe": "A-OUT-9c",
    # A-END
    "two-ends@17": "A-END-1a A-END-1b A-ABT-2b A-END-5a A-END-5b",
    "end-7": "A-END-1c",
    "end-status@17": "A-END-1c",
    "app-status-8": "A-END-2c A-END-2d A-END-2e",
    "app-status-zero": "A-END-2b A-END-2c A-ERR-4b",
    "single refusal-page": "A-END-4a A-END-4b",
    # A-ABT, A-CLS
    "abort-acknowledged": "A-ABT-2a A-ABT-2b",
    "abort-status": "A-ABT-2a",
    "abort-refused": "A-ABT-3a",
    "abort-in-params-ignored": "A-ABT-3a",
    "abort-kills-others": "A-ABT-5a",
    "abort-closes": "A-ABT-5b",
    "aborts-uncounted": "A-ABT-6a",
    "closed-unseen": "A-ABT-6a",
    "abort-content-closes": "A-ABT-7",
    "never-closes": "A-CLS-1a A-CLS-3a A-BEG-5c",
    "resets": "A-CLS-1c",
    "closes-kept": "A-CLS-2a A-CLS-5a",
    "closes-after-100": "A-CLS-2b A-CLS-2c",
    "noisy": "A-CLS-4a",
    "closes-at-once": "A-CLS-3b",
    "impatient": "A-CLS-6",
    # A-AUT, A-FIL
    "needs-stdin": "A-AUT-2b",
    "variable-name": "A-AUT-3a",
    "variable-case": "A-AUT-3b",
    "deny-200": "A-AUT-4",
    "deny-empty": "A-AUT-4",
    "time-32": "A-FIL-2",
    "data-short": "A-FIL-1a A-FIL-1b",
    "data-by-length": "A-FIL-4a A-FIL-4b",
    "length-zero": "A-FIL-5a A-FIL-5b",
    # A-ERR
    "exit-status": "A-ERR-1a A-ERR-1b",
    "term-ignored": "A-ERR-2a A-ERR-2f",
    "waits-for-peers": "A-ERR-2b A-ERR-2d",
    "term-at-once": "A-ERR-2c",
    "serves-on": "A-ERR-2e",
    "dies-of-junk": "A-ERR-3a",
}


def try_fault(fault):
    """Results by case. A fault from the Nth connection on bites once: behind it the program is started again."""
    ids = FAULTS[fault].split()
    runs = [[i] for i in ids] if "@" in fault else [ids]
    return [check("--json", "--timeout", "1", "--only", ",".join(r), "--", *WRONG, *fault.split()) for r in runs]


def missed(run):
    assert run.stdout, run.stderr
    told = failed(run)
    return [c for c in json.loads(run.stdout)["cases"] if c["id"] not in told]


@pytest.fixture(scope="module")
def found():
    """What is found of each fault; most of the time is spent waiting, so several are tried at once."""
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        return dict(zip(FAULTS, pool.map(try_fault, FAULTS)))


@pytest.mark.skipif(IO == "epoll", reason="the wrong application has no loop of ferry's")
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_by_its_cases(found, fault):
    """The wrong application's threads race with each other: what it did right by chance is asked for again."""
    runs = found[fault]
    for _ in range(3):
        if not any(missed(run) for run in runs):
            break
        runs = try_fault(fault)
    for run in runs:
        result, told = json.loads(run.stdout), failed(run)
        assert not missed(run), [(c["id"], c["result"], c["reason"]) for c in missed(run)]
        required = [c for c in told.values() if c["strength"] == "must"]
        assert run.returncode == (1 if required else 0)
        assert result["failed"]["must"] == len(required)
        for c in told.values():
            assert c["reason"].startswith(("expected", "the program ended", "behind this case", "the content of"))


def test_every_case_can_fail():
    """What no fault is made for is the same as what is asked before the first case, or named here."""
    ids = re.findall(r"^(A-\S+)", check("--list").stdout, re.M)
    assert len(ids) == len(set(ids)) >= 300
    tested = set(" ".join(FAULTS.values()).split())
    assert tested <= set(ids)
    rest = {
        "A-INI-1a", "A-INI-4a",  # what every run begins with
        "A-FRM-1b",  # cut in two by time: a reader that is slow sees it whole
        "A-IN-10",  # 4 GiB
        "A-ERR-3b",  # is skipped rather than failed
        # Their faults are a matter of moments: on a busy machine they were not always met.
        "A-INI-2c", "A-FRM-9a", "A-FRM-9b", "A-FRM-9c", "A-FRM-9d", "A-ID-3b", "A-ID-5a", "A-ID-5b", "A-ID-10c", "A-ABT-4",
        "A-ABT-6b", "A-CLS-5b", "A-CLS-7", "A-FIL-3b",
    }
    assert sorted(set(ids) - tested - rest) == []


# -- what it says

def test_a_program_that_dies_is_started_again():
    run = check("--json", "--only", "A-FRM-8a,A-FRM-8b,A-FRM-9a", "--", *WRONG, "dies-of-version")
    assert set(failed(run)) == {"A-FRM-8a", "A-FRM-8b"}
    assert "the program ended with exit status 3" in reasons(run)["A-FRM-8a"]


def test_the_report_on_a_terminal():
    """Colours there and only there; eighty columns; the conversation of what failed."""
    argv = [str(BUILD / "ferry"), "check", "--only", "A-FRM-7,A-END-1,A-ID-8a", "--", *WRONG, "no-padding", "two-ends@17"]
    plain = subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout
    for env, coloured in ({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False):
        master, slave = pty.openpty()
        with subprocess.Popen(argv, stdout=slave, env={**os.environ, **env}) as process:
            os.close(slave)
            text = b""
            while True:
                try:
                    piece = os.read(master, 65536)
                except OSError:
                    break
                if not piece:
                    break
                text += piece
        os.close(master)
        assert (b"\x1b[" in text) == coloured
    assert "\x1b" not in plain
    assert max(len(line) for line in plain.split("\n")) <= 80
    assert re.search(r"^FAIL A-END-1a ", plain, re.M)
    assert re.search(r"^WARN A-FRM-7a ", plain, re.M)
    assert "Web server:  {BEGIN_REQUEST, 1, {RESPONDER, 0}}" in plain
    assert "Application: {END_REQUEST, 1, {0, REQUEST_COMPLETE}}" in plain
    assert "demands: A-END-1a" in plain


def test_tap_is_tap():
    run = check("--tap", "--only", "A-FRM-7a,A-END-1a,A-ID-8a", "--", *WRONG, "no-padding", "two-ends@17")
    lines = run.stdout.split("\n")
    assert lines[0].startswith("#") or lines[0] == "TAP version 14"
    assert any(re.match(r"not ok 1 - A-FRM-7a .* # TO" "DO should", line) for line in lines)
    assert any(re.match(r"ok 2 - A-ID-8a .* # SKIP", line) for line in lines)
    assert any(re.match(r"not ok 3 - A-END-1a ", line) for line in lines)
    assert "1..3" in lines
    assert run.returncode == 1


def test_what_cannot_be_checked(folder):
    for args, code, words in (
        ([], 64, "takes an ADDRESS"),
        (["a", "b"], 64, "takes an ADDRESS"),
        (["--"], 64, "no program is named"),
        (["x:y:z"], 64, "x:y:z"),
        (["--only", "A-ZZZ", "unix:/x"], 64, "no such case"),
        (["--timeout", "0", "unix:/x"], 64, "--timeout 0"),
        (["--role", "king", "unix:/x"], 64, "--role king"),
        (["--param", "novalue", "unix:/x"], 64, "NAME=VALUE"),
        (["--nonsense"], 64, "nonsense"),
        ([f"unix:{folder}/none"], 1, "cannot connect"),
        (["--", f"{folder}/none"], 1, "cannot be executed"),
        (["--", "/bin/false"], 1, "exit status 1"),
    ):
        run = check(*args)
        assert (run.returncode, words in run.stderr) == (code, True), (args, run.returncode, run.stderr)
        assert run.stdout == ""


def test_a_target_that_hangs_is_not_waited_for(folder):
    """Accepts connections and never says a word."""
    started = time.monotonic()
    run = check("--timeout", "0.5", "--", sys.executable, "-c", "import time; time.sleep(60)")
    assert run.returncode == 1 and "does not answer" in run.stderr
    assert time.monotonic() - started < 20


def test_script_and_params_are_sent():
    run = check("-v", "--only", "A-FRM-2a", "--script", "/srv/x.php", "--param", "X_A=1", "--param", "SERVER_NAME=me", "--",
                *WRONG, "no-end@17")
    assert "FAIL A-FRM-2a" in run.stdout
    # The last params of the request are those; only its size shows here.
    plain = check("-v", "--only", "A-FRM-2a", "--", *WRONG, "no-end@17")
    sizes = [int(re.search(r"\{PARAMS, 1, .* (\d+) bytes\}", r.stdout).group(1)) for r in (run, plain)]
    assert sizes[0] - sizes[1] == (2 + 15 + 10) + (2 + 3 + 1) + (2 - 9)


def test_it_cleans_up_when_it_is_interrupted(folder):
    env = {**os.environ, "TMPDIR": str(folder) if len(str(folder)) < 30 else "/tmp"}
    process = subprocess.Popen([str(BUILD / "ferry"), "check", "--", *WRONG], env=env, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    wait_until(lambda: list(folder.glob("ferry-check-*")) or env["TMPDIR"] == "/tmp")
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1 and "interrupted" in err
    assert not list(folder.glob("ferry-check-*"))
