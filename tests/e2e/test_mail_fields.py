# SPDX-License-Identifier: MIT
"""The document of what mail scripts are sent says what they are sent."""
import subprocess
import sys

from conftest import ROOT


def test_the_table_is_that_of_the_source():
    p = subprocess.run([sys.executable, ROOT / "tools/mail_fields", "--check"], capture_output=True, text=True,
                       timeout=60)
    assert p.returncode == 0, p.stdout + p.stderr
