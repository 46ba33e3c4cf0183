# SPDX-License-Identifier: MIT
"""The programs of docs/tutorial.md, compiled against an installed library and run."""
import re
import subprocess

import pytest

from conftest import ROOT
from test_gateway_programs import INDEX, Program, basic, example, needs_php_fpm, php_fpm
from test_install import flags, installed, pytestmark  # noqa: F401 (a fixture, and when to skip)

PROGRAMS = re.findall(r"^```c\n(.*?)^```", (ROOT / "docs" / "tutorial.md").read_text(), re.M | re.S)


@pytest.fixture
def build(folder, installed):  # noqa: F811
    """build(which, {text: its replacement}) compiles a program of the tutorial and runs it."""
    running = []

    def go(which, **places):
        text = PROGRAMS[which].replace("127.0.0.1:8080", "127.0.0.1:0")
        for old, new in places.get("replace", {}).items():
            assert old in text
            text = text.replace(old, str(new))
        _, env = installed
        (folder / "gateway.c").write_text(text)
        subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", folder / "gateway.c", "-o", folder / "gateway",
                        *flags(env, "--cflags", "--libs")], check=True, timeout=120)
        running.append(Program(folder, ["env", f"LD_LIBRARY_PATH={env['LD_LIBRARY_PATH']}", str(folder / "gateway")]))
        return running[-1]

    yield go
    for p in running:
        p.end()


def test_there_are_three():
    assert len(PROGRAMS) == 3


def test_a_filter_that_answers(build):
    p = build(0)
    assert p.ask("/").body == b"hello\n"
    assert p.ask("/whatever", body=b"x" * 100000).body == b"hello\n"


@needs_php_fpm
def test_php_behind_it(build, folder):
    (folder / "index.php").write_text(INDEX)
    with php_fpm(folder / "fpm") as (_, php):
        p = build(1, replace={"/srv/www": folder, "unix:/run/php/php8.2-fpm.sock": php})
        assert p.json("/")["SCRIPT_NAME"] == "/index.php"


@needs_php_fpm
def test_who_may_come_in(build, folder):
    (folder / "index.php").write_text(INDEX)
    with php_fpm(folder / "fpm") as (_, php), example(folder, "authorizer") as authorizer:
        p = build(2, replace={"/srv/www": folder, "unix:/run/php/php8.2-fpm.sock": php, "unix:/tmp/auth.sock": authorizer})
        assert p.ask("/").status == 401
        answer = p.ask("/", basic("ann", "secret"))
        assert answer.status == 200 and answer["X-Welcome"] == "ann"
