# SPDX-License-Identifier: MIT
"""`ferry config`: what it says of files, what it makes of them, and that the documents tell the truth about them."""
import json
import os
import pathlib
import re
import stat
import subprocess
import sys

import pytest
from conftest import BUILD, ROOT

FERRY = str(BUILD / "ferry")
DOCUMENTS = [ROOT / "docs/configuration.md", ROOT / "README.md"]
GOOD = """application php { connect = unix:/run/php.sock }

site shop.example.org {
    listen = :80
    root = /usr
    # the rest
    route "*" { files {}  php { application = php } }
}
"""


def at_hand(text):
    """The text with folders and programs that there are, and without files that there are not."""
    text = re.sub(r"(?<=root = )/[\w./-]+", "/usr", re.sub(r"/srv/[\w./-]+\.fcgi", "/bin/true", text))
    return re.sub(r"^ *error-page .*\n", "", text, flags=re.M)


def config(*args, **kw):
    return subprocess.run([FERRY, "config", *map(str, args)],
                          **{"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 60, **kw})


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "ferry.conf"
    path.write_text(GOOD)
    return path


# -- check -------------------------------------------------------------------------------------------------------------

def test_a_good_file_is_named(file):
    p = config("check", file)
    assert (p.returncode, p.stderr) == (0, "")
    assert p.stdout == f"{file} is good: 1 site with 1 route, 1 application\n"
    p = config("check", "--quiet", file)
    assert (p.returncode, p.stdout, p.stderr) == (0, "", "")


def test_everything_wrong_is_said_at_once(file):
    file.write_text(GOOD.replace("connect", "conect").replace("root = /usr", "root /usr")
                    .replace("application = php }", "application = hph }") + "threads = 0\n}\n")
    p = config("check", file)
    assert (p.returncode, p.stdout) == (78, "")
    assert p.stderr == (f"ferry: {file}:1: there is no 'conect' in an application; did you mean 'connect'?\n"
                        f"ferry: {file}:5: '=' is missing between 'root' and its value, or '{{' behind it\n"
                        f"ferry: {file}:9: 'threads = 0': auto, or a number from 1 to 64, is expected\n"
                        f"ferry: {file}:10: this '}}' closes nothing\n")
    # What depends on the whole is looked at when the rest is good.
    file.write_text(GOOD.replace("application = php }", "application = hph }"))
    p = config("check", file)
    assert p.returncode == 78
    assert p.stderr == f"ferry: {file}:7: there is no application 'hph'; did you mean 'php'?\n"


def test_filters_say_what_they_cannot_do(file):
    file.write_text(GOOD.replace("files {}", "rewrite '(' { to = /x }\nredirect https://x$nope {}\ndeny 200 {}"))
    p = config("check", file)
    assert p.returncode == 78
    lines = p.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == [f"{file}:{n}" for n in (7, 8, 9)]
    assert "rewrite" in lines[0] and "$nope" in lines[1] and "200" in lines[2]


def test_what_is_never_reached_is_said(file):
    file.write_text(GOOD.replace("files {}", "call php {}\nheader X-A { value = b }"))
    p = config("check", file)
    assert p.returncode == 78
    assert p.stderr == f"ferry: {file}:8: the filter 'header' is never reached: 'call' on line 7 ends the chain\n"


def test_nobody_connects_to_a_socket_for_listening(file):
    file.write_text(GOOD.replace("unix:/run/php.sock", "fd:7"))
    p = config("check", file)
    assert p.returncode == 78
    assert p.stderr == f"ferry: {file}:1: 'fd:7' in 'connect': fd:N is for listening, not for connecting\n"


def test_included_files_are_named(file):
    (file.parent / "php.conf").write_text("\napplication php { connect = nowhere }\n")
    file.write_text("include php.conf\n" + GOOD.split("\n", 1)[1])
    p = config("check", file)
    assert p.returncode == 78
    assert p.stderr.startswith(f"ferry: {file.parent}/php.conf:2: 'nowhere' in 'connect': ")
    (file.parent / "php.conf").write_text("application php { connect = /run/php.sock }\n")
    assert config("check", file).returncode == 0


def test_a_pipe_is_not_waited_for_as_an_included_file(file):
    os.mkfifo(file.parent / "pipe")
    file.write_text("include pipe\n" + GOOD)
    p = config("check", file)
    assert p.returncode == 78
    assert p.stderr == f"ferry: {file}:1: '{file.parent}/pipe' cannot be read: it is no regular file\n"


def test_many_files_and_the_worst_counts(file):
    bad, none = file.parent / "bad", file.parent / "none"
    bad.write_text("site {\n")
    p = config("check", file, bad, none)
    assert p.returncode == 78
    assert p.stdout.count("\n") == 1
    assert f"ferry: {bad}:1: this block 'site' has no '}}' at its end\n" in p.stderr
    assert f"ferry: {none}: cannot be read: No such file or directory\n" in p.stderr
    assert config("check", file, none).returncode == 1


def test_standard_input():
    p = config("check", "-", input=GOOD, stdin=None)
    assert (p.returncode, p.stderr) == (0, "")
    p = config("check", "-", input="thread = 4\n" + GOOD, stdin=None)
    assert p.returncode == 78
    assert p.stderr.startswith("ferry: standard input:1: there is no 'thread'")


def test_what_a_peer_put_into_a_name_reaches_no_terminal(file):
    file.write_bytes(b"a\x9bb = 1\n\x1b[31m = 2\n" + GOOD.encode())
    p = config("check", file, text=False)
    assert p.returncode == 78
    assert b"\x1b" not in p.stderr


# -- dump --------------------------------------------------------------------------------------------------------------

def test_a_dump_reads_the_same(file):
    (file.parent / "more").mkdir()
    (file.parent / "more/a.conf").write_text("site b.example { listen = 127.0.0.1:81 root = web route / { files {} } }\n")
    file.write_text("include more/*.conf\n" + GOOD)
    once = config("dump", file)
    assert (once.returncode, once.stderr) == (0, "")
    assert f"root = {file.parent}/more/web\n" in once.stdout
    assert "connections" not in once.stdout
    again = config("dump", "-", input=once.stdout, stdin=None, cwd="/")
    assert again.stdout == once.stdout
    # And is laid out.
    assert config("fmt", "-", input=once.stdout, stdin=None).stdout == once.stdout


def test_a_dump_with_all_defaults(file):
    p = config("dump", "--all", file)
    assert p.returncode == 0
    for line in ("threads = auto", "stop-timeout = 30s", "    connections = 128", "    body-max = 1G", "            front = /index.php"):
        assert line + "\n" in p.stdout
    again = config("dump", "-", input=p.stdout, stdin=None)
    # Arguments that were said stay said, whatever they are.
    assert config("dump", "--all", "-", input=again.stdout, stdin=None).stdout == p.stdout


def test_a_wrong_file_is_not_dumped(file):
    file.write_text("threads = 4\n")
    p = config("dump", file)
    assert (p.returncode, p.stdout) == (78, "")
    assert p.stderr == f"ferry: {file}: there is neither a site nor a mail service, so nothing would be served\n"


# -- fmt ---------------------------------------------------------------------------------------------------------------

UNTIDY = "# top\nsite a\n{\n  listen=:80 # why\n\n\n\n     route /   {files{ root=/x}}\n}"
TIDY = "# top\nsite a {\n    listen = :80  # why\n\n    route / { files { root = /x } }\n}\n"


def test_a_file_is_laid_out(file):
    file.write_text(UNTIDY)
    p = config("fmt", file)
    assert (p.returncode, p.stdout, p.stderr) == (0, TIDY, "")
    assert file.read_text() == UNTIDY


def test_a_file_is_laid_out_in_its_place(file):
    file.write_text(UNTIDY)
    file.chmod(0o640)
    link = file.parent / "link"
    link.symlink_to(file)
    p = config("fmt", "-w", link)
    assert (p.returncode, p.stdout, p.stderr) == (0, f"{link} is laid out\n", "")
    assert file.read_text() == TIDY
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert link.is_symlink()
    before = file.stat()
    p = config("fmt", "-w", link)
    assert (p.returncode, p.stdout) == (0, "")
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert sorted(os.listdir(file.parent)) == ["ferry.conf", "link"]


def test_what_does_not_close_is_left_alone(file):
    file.write_text("site {\n\n  a = 'b\n}\n")
    p = config("fmt", "--write", file)
    assert (p.returncode, p.stdout) == (78, "")
    assert p.stderr == f"ferry: {file}:3: this quote does not end on its line\n"
    assert file.read_text() == "site {\n\n  a = 'b\n}\n"


# -- the command line --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("args, said", [
    ([], "usage: ferry config check FILE..."),
    (["chekc"], "there is no 'ferry config chekc'"),
    (["check"], "a file is missing: ferry config check FILE"),
    (["dump", "a", "b"], "b too many: ferry config dump"),
    (["keys", "a"], "a too many: ferry config keys"),
    (["check", "--write", "a"], "--write is no option of ferry config check"),
    (["dump", "--al1", "a"], "there is no option --al1 of ferry config dump"),
    (["fmt", "-w", "-"], "standard input cannot be written: ferry config fmt"),
])
def test_command_lines_that_are_wrong(args, said):
    p = config(*args)
    assert (p.returncode, p.stdout) == (64, "")
    assert said in p.stderr


@pytest.mark.parametrize("args", [["--help"], ["check", "--help"], ["fmt", "-h"]])
def test_help(args):
    p = config(*args)
    assert (p.returncode, p.stderr) == (0, "")
    assert p.stdout.startswith("usage: ferry config check")
    assert p.stdout == subprocess.run([FERRY, "help", "config"], capture_output=True, text=True, timeout=20).stdout


def test_a_full_disk_is_noticed(file):
    with open("/dev/full", "w") as full:
        p = config("dump", file, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert p.returncode == 1
    assert "cannot write to standard output" in p.stderr


def test_folders_and_files_that_are_not_there(file, tmp_path):
    """Nothing can be served from a folder that is not there; a page of an error has another to stand in for it."""
    page, gone = tmp_path / "gone.html", tmp_path / "gone"
    file.write_text(GOOD.replace("    # the rest", f"    error-page 404 410 {{ file = gone.html }}\n"
                                 f"    error-page 500 {{ file = {tmp_path} }}"))
    p = config("check", file)
    assert (p.returncode, "is good" in p.stdout) == (0, True)
    assert p.stderr == (f"ferry: {file}:3: warning: cannot read the error page {page}: No such file or directory\n"
                        f"ferry: {file}:3: warning: cannot read the error page {tmp_path}: Is a directory\n")
    page.write_text("gone")
    file.write_text(GOOD.replace("    # the rest", f"    error-page 404 {{ file = gone.html }}"))
    p = config("check", file)
    assert (p.returncode, p.stderr) == (0, "")
    file.write_text(GOOD.replace("root = /usr", "root = gone").replace("files {}", f"files {{ root = {file} }}  files {{}}"))
    for command in (["config", "check", str(file)], ["run", "-t", "-c", str(file)]):
        p = subprocess.run([FERRY, *command], capture_output=True, text=True, timeout=60)
        assert (p.returncode, p.stdout) == (78, "")
        said = p.stderr.replace("ferry run: ", "ferry: ")
        assert said == (f"ferry: {file}:3: cannot serve {gone}: No such file or directory\n"
                        f"ferry: {file}:7: cannot serve {file}: Not a directory\n")


# -- the documents -----------------------------------------------------------------------------------------------------

def test_the_tables_are_those_of_the_program():
    p = subprocess.run([sys.executable, ROOT / "tools/config_tables", "--check", FERRY], capture_output=True, text=True, timeout=60)
    assert (p.returncode, p.stdout, p.stderr) == (0, "", "")


def test_all_defaults_are_what_they_are_said_to_be(file):
    keys = json.loads(config("keys", "--json").stdout)
    said = config("dump", "--all", file).stdout
    for block, indent in (("top", ""), ("application", "    "), ("site", "    ")):
        for s in keys[block]:
            # Those of programs that are spawned are not said of this one.
            if s["default"] and s["name"] != "processes":
                assert f"{indent}{s['name']} = {s['default']}\n" in said, s
    for s in keys["top"] + keys["application"] + keys["site"] + keys["filters"]:
        assert s["name"] in config("keys").stdout


SOMETHING = {"application": "php", "file": "/x.php", "name": "X-Y", "paths": '{ /a, "=404" }', "pattern": "x", "prefix": "/x",
             "to": "/y", "value": "y"}


def test_every_filter_is_taken_with_its_defaults(file):
    for f in json.loads(config("keys", "--json").stdout)["filters"]:
        said = "".join(f"{a['name']} = {SOMETHING[a['name']]}  " for a in f["args"] if a["required"])
        file.write_text(GOOD.replace("files {}  php { application = php }", f"{f['name']} {{ {said} }}"))
        p = config("dump", "--all", file)
        assert (p.returncode, p.stderr) == (0, ""), f
        again = config("dump", "--all", "-", input=p.stdout, stdin=None)
        assert again.stdout == p.stdout
        for a in f["args"]:
            if a["default"] and "{" not in a["form"] and a["name"] != f["title"]:
                assert re.search(rf"^ +{a['name']} = {re.escape(a['default'])}$", p.stdout, re.M) or \
                    a["default"].endswith("s"), (f, a)  # 300s is printed as 5m
        # Each argument that is needed is asked for.
        for a in f["args"]:
            if a["required"]:
                file.write_text(GOOD.replace("files {}", f"{f['name']} {{}}"))
                p = config("check", file)
                assert p.returncode == 78
                assert f"the filter '{f['name']}' needs '" in p.stderr


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_the_examples_of_the_documents_are_good_and_laid_out(path):
    examples = [b for b in re.findall(r"```conf\n(.*?)```", path.read_text(), re.S) if re.search(r"^site\b", b, re.M)]
    assert examples
    for text in examples:
        p = config("check", "-", input=at_hand(text), stdin=None)
        assert (p.returncode, p.stderr) == (0, ""), text
        assert config("fmt", "-", input=text, stdin=None).stdout == text


def test_the_example_of_the_manual_is_good():
    page = (pathlib.Path(ROOT) / "man/ferry.conf.5").read_text()
    for text in re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", page, re.S | re.M):
        p = config("check", "-", input=at_hand(text), stdin=None)
        assert (p.returncode, p.stderr) == (0, ""), text


def test_a_program_that_is_not_there_is_said(folder):
    (folder / "f").write_text("application a { spawn = { /not/there, x } }\n"
                              "site { listen = 127.0.0.1:0 route * { call { application = a } } }\n")
    run = subprocess.run([str(BUILD / "ferry"), "config", "check", str(folder / "f")], capture_output=True, text=True)
    assert run.returncode == 0 and "f:1: warning: cannot start /not/there: No such file" in run.stderr, run.stderr
