# SPDX-License-Identifier: MIT
"""What `meson install` leaves: a C programmer's program is compiled against it, as from a package."""
import os
import re
import shutil
import subprocess

import pytest

from conftest import ROOT

BUILD = ROOT / os.environ.get("FERRY_BUILD", "build")  # meson's own, not a copy of its programs
HEADERS = sorted((ROOT / "include/ferry").glob("*.h"))

pytestmark = [
    pytest.mark.skipif("asan" in BUILD.name or "tsan" in BUILD.name, reason="a sanitizer wants its runtime linked too"),
    pytest.mark.skipif(not shutil.which("pkg-config"), reason="no pkg-config"),
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder, and an environment in which pkg-config finds the library."""
    to = tmp_path_factory.mktemp("installed")
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", to], check=True, timeout=60)
    [pc] = to.rglob("ferry.pc")
    env = dict(os.environ, PKG_CONFIG_PATH=str(pc.parent), PKG_CONFIG_SYSROOT_DIR=str(to),
               LD_LIBRARY_PATH=str(pc.parent.parent))
    return to, env


def flags(env, *what):
    return subprocess.run(["pkg-config", *what, "ferry"], env=env, check=True, capture_output=True, text=True,
                          timeout=10).stdout.split()


def as_cgi(program, env):
    env = dict(env, REQUEST_METHOD="GET", REQUEST_URI="/", GATEWAY_INTERFACE="CGI/1.1")
    return subprocess.run([program], env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=10)


@pytest.mark.parametrize("how", ["shared", "static"])
def test_a_program_is_linked_and_runs(installed, tmp_path, how):
    to, env = installed
    linked = flags(env, "--libs") if how == "shared" else \
        [*(str(lib) for lib in to.rglob("libferry.a")), "-luring", "-pthread"]
    program = tmp_path / "hello"
    subprocess.run(["cc", "-std=c99", "-Wall", "-Werror", "-o", program, ROOT / "examples/hello.c",
                    *flags(env, "--cflags"), *linked], check=True, timeout=60)
    done = as_cgi(program, env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(b"\r\n\r\nhello, ferry")
    needs = subprocess.run(["ldd", program], env=env, capture_output=True, text=True, timeout=10).stdout
    assert ("libferry.so.0" in needs) == (how == "shared")


def test_the_library_shows_what_the_headers_declare_and_nothing_else(installed):
    to, env = installed
    [library] = to.rglob("libferry.so")
    shown = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True,
                           timeout=10).stdout
    shown = {line.split()[-1] for line in shown.splitlines()}
    declared = set()
    for header in HEADERS:
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
        text = re.sub(r"#define(.*\\\n)*.*", "", text)
        declared |= {name for inline, name in re.findall(r"(static inline[^;{]*?)?\b(ferry_\w+)\(", text) if not inline}
    assert shown == declared


def test_every_header_is_installed(installed):
    to, _ = installed
    [folder] = to.rglob("include/ferry")
    assert sorted(p.name for p in folder.iterdir()) == [p.name for p in HEADERS]


def test_the_command_and_its_pages_are_installed(installed):
    to, env = installed
    [ferry] = to.rglob("bin/ferry")
    said = subprocess.run([ferry, "version"], env=env, capture_output=True, text=True, timeout=10)
    assert said.stdout.startswith("ferry ")
    pages = {p.name for p in to.rglob("man1/*")}
    assert pages == {p.name for p in (ROOT / "man").glob("*.1")}


def test_the_command_finds_the_program_for_mail(installed):
    to, _ = installed
    [ferry] = (p for p in to.rglob("bin/ferry"))
    r = subprocess.run([ferry, "mail", "--help"], capture_output=True, text=True, timeout=10)
    assert r.returncode == 0 and r.stdout.startswith("usage: ferry mail"), r.stderr
    assert not list(to.rglob("bin/ferry-mail"))
