# SPDX-License-Identifier: MIT
"""The second half of tools/conformance: checks every web server that is installed with `ferry check --gateway`.

Each runs as tests/e2e/gateways.py configures it. It takes several minutes.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/e2e"))
import gateways  # noqa: E402

FERRY = os.path.join(gateways.BUILD, "ferry")

def escape(text):
    return re.sub(r"([|<>*_`\\])", r"\\\1", text)


def check(*argv, env=None):
    """{id: case} of a run, in order."""
    run = subprocess.run([FERRY, "check", "--json", *argv], capture_output=True, text=True, env=env)
    if not run.stdout:
        raise RuntimeError(run.stderr.strip())
    return {case["id"]: case for case in json.loads(run.stdout)["cases"]}


def mark(case):
    if case is None or case["result"] == "skipped":
        return ""
    if case["result"] == "passed":
        return "✓"
    return {"must": "**✗**", "should": "!", "silent": "~"}[case["strength"]]


def tables(columns):
    """columns: {name: {id: case}}. A summary, a table for each group, and the reasons."""
    names = list(columns)
    cases = {}
    for found in columns.values():
        cases.update({k: v for k, v in found.items() if k not in cases})
    out = ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for strength, title in (("must", "**must**"), ("should", "should"), ("silent", "silent")):
        row = []
        for found in columns.values():
            run = [c for c in found.values() if c["strength"] == strength and c["result"] != "skipped"]
            passed = sum(c["result"] == "passed" for c in run)
            row.append(f"{passed} of {len(run)}")
        out.append(f"| {title}: as the case has it | " + " | ".join(row) + " |")
    skipped = [str(sum(c["result"] == "skipped" for c in found.values())) for found in columns.values()]
    out += ["| not run | " + " | ".join(skipped) + " |", ""]
    out += ["<details><summary>Every case</summary>", "",
            "| case | strength | | " + " | ".join(names) + " |", "|---|---|---|" + ":-:|" * len(names)]
    for k, case in cases.items():
        row = [mark(found.get(k)) for found in columns.values()]
        out.append(f"| {k} | {case['strength']} | {escape(case['title'])} | " + " | ".join(row) + " |")
    out += ["", "</details>", ""]
    out += ["<details><summary>What was seen where a case did not hold</summary>", ""]
    for name, found in columns.items():
        bad = [c for c in found.values() if c["result"] == "failed"]
        if not bad:
            continue
        out += [f"**{name}**", ""]
        out += [f"- {c['id']} ({c['strength']}), {escape(c['title'])}: {escape(c['reason'])}" for c in bad]
        out.append("")
    out += ["</details>", ""]
    return "\n".join(out)


# -- web servers


def check_gateway(gateway):
    """One gateway in a folder of its own."""
    folder = tempfile.mkdtemp(prefix="ferry-conformance-")
    try:
        os.chmod(folder, 0o755)
        port, app = gateways.free_port(), f"unix:{folder}/app.sock"
        argv = gateway.argv(folder, port, app, None, False, None)
        more = ["--log", f"{folder}/error.log"] if names_log(folder) else []
        homes = dict.fromkeys(["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"], folder)
        return check("--gateway", "--listen", app, "--url", f"http://127.0.0.1:{port}/", *more, "--", *argv,
                     env={**os.environ, **homes})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def names_log(folder):
    """Does its configuration send its log to a file?"""
    return any("error.log" in p.read_text(errors="replace") for p in pathlib.Path(folder).iterdir() if p.is_file())


def web_servers(only):
    columns, missing = {}, []
    for gateway in [gateways.Ferry()] + gateways.others():
        if only and not gateway.name.startswith(tuple(only)):
            continue
        why = gateway.missing() if hasattr(gateway, "missing") else None
        if why:
            missing.append(why)
            continue
        name = f"{gateway.name} {gateway.version()}".replace(" mpx", "") + (" mpx" if "mpx" in gateway.name else "")
        print(f"{name} ...", file=sys.stderr, flush=True)
        columns[name] = check_gateway(gateway)
    return columns, missing


GATEWAYS = """
## Web servers

`ferry check --gateway` stands before and behind each of them, as [tests/e2e/gateways.py](../tests/e2e/gateways.py)
configures it: ✓ stands for a case that holds, **✗** for one against what the specification demands, ! against what it
recommends, ~ otherwise than ferry where it is silent, and an empty field for one that was not run because there is no such
feature or it is not configured. Connections to the application are kept where it can, buffering as usual. *mpx* is HAProxy
with `option mpxs-conns`. None was configured with an authorizer.

```sh
ferry check --gateway --listen ADDRESS --url http://localhost/ -v -- PROGRAM...
```
"""


def section(only=()):
    """The part of the page, for servers whose names begin so."""
    columns, missing = web_servers(only)
    text = GATEWAYS + "\n" + tables(columns)
    if missing:
        text += "\nNot looked at: " + "; ".join(missing) + ".\n"
    return text.rstrip() + "\n"
