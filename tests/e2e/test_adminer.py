# SPDX-License-Identifier: MIT
"""Adminer with SQLite, served from where Debian's package keeps it."""
import os
import pathlib

import pytest
from phpsite import each_php, need, serving
from web import Browser

PACKAGE = pathlib.Path("/usr/share/adminer")
# adminer/sqlite.php wants a password, which whoever uses it is to change; nobody has, in the package.
PASSWORD = "YOUR_PASSWORD_HERE"

pytestmark = pytest.mark.skipif(not (PACKAGE / "adminer/sqlite.php").exists(), reason="adminer is not installed")


def has_sqlite(php):
    import subprocess
    return "sqlite3" in subprocess.run([php, "-m"], capture_output=True, text=True, timeout=20).stdout.split()


@each_php
def test_a_table_is_made_filled_and_read(folder, php):
    program = need(php)
    if not has_sqlite(program):
        pytest.skip("php-sqlite3 is not installed")
    data = folder / "data"
    data.mkdir()
    data.chmod(0o777)  # for whomever PHP runs as
    # Adminer counts wrong passwords in a file there, and 30 in half an hour lock everybody out.
    with serving(folder / "run", PACKAGE, "--php", program, env={"TMPDIR": str(data)}) as ferry:
        b = Browser(ferry)
        page = b.get("/adminer/sqlite.php")
        assert page.status == 200 and "Login" in page.text
        for url in [u for u in page.links if u.startswith(b.base) and not u.endswith("/")]:
            assert b.request("GET", url)[1].status == 200, url

        page = b.submit(page.form("auth[username]"), **{"auth[driver]": "sqlite", "auth[password]": "wrong"})
        assert page.status == 403 and "Logged as" not in page.text
        assert (data / "adminer.invalid").exists()
        page = b.submit(page.form("auth[username]"), **{"auth[driver]": "sqlite", "auth[password]": PASSWORD})
        assert "Logged as" in page.text and "through PHP extension" in page.text
        create = next(u for u in page.links if "database=" in u)
        page = b.submit(b.get(create).form("name"), name=str(data / "boats.db"))
        assert "Database has been created" in page.text
        db = f"/adminer/sqlite.php?sqlite=&username=&db={data}/boats.db"
        page = b.get(db)
        assert "No tables" in page.text

        def sql(query):
            form = b.get(db + "&sql=").form("query")
            return b.submit(form, query=query)

        page = sql("CREATE TABLE boats (id INTEGER PRIMARY KEY, name TEXT, length REAL)")
        assert "Query executed OK" in page.text
        form = b.get(db + "&edit=boats").form("fields[name]")
        page = b.submit(form, **{"fields[id]": "", "fields[name]": "Zoë's <dinghy>", "fields[length]": "3.5"})
        assert "Item" in page.text and "has been inserted" in page.text, page.text[:1500]
        assert "Query executed OK, 2 rows affected" in sql("INSERT INTO boats (name, length) VALUES ('Ferry', 80), ('Tug', 20)").text
        page = b.get(db + "&select=boats")
        assert "Zoë's <dinghy>" in page.text and "Ferry" in page.text and "3 rows" in page.text
        page = sql("SELECT sum(length) AS total FROM boats")
        assert "103.5" in page.text
        page = sql("SELECT * FROM nowhere")
        assert "no such table: nowhere" in page.text
        b.close()
    assert (data / "boats.db").read_bytes().startswith(b"SQLite format 3\0")
    assert os.stat(data / "boats.db").st_uid != 0 or os.geteuid() != 0
