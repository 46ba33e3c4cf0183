# SPDX-License-Identifier: MIT
"""DokuWiki as Debian packages it, with nothing configured but `ferry serve DIR`: installed, logged in to, written in."""
import os
import pathlib
import shutil
import struct
import zlib

import pytest
from conftest import wait_until
from phpsite import NOBODY, need, serving, short_folder
from web import Browser

PACKAGE = pathlib.Path("/usr/share/dokuwiki")

pytestmark = pytest.mark.skipif(not (PACKAGE / "install.php").exists(), reason="dokuwiki is not installed")


def make_wiki(root, uid):
    """DokuWiki as upstream lays it out: the package with its links followed, without Debian's settings and what only root
    may read, and with its own empty folders for settings and data."""
    def ignored(folder, names):
        return [n for n in names if n in ("preload.php", ".htaccess") or folder.endswith("/lang") and n != "en"
                or not os.access(os.path.join(folder, n), os.R_OK)]
    shutil.copytree(PACKAGE, root, ignore=ignored)
    conf = root / "conf"
    conf.mkdir()
    for path in pathlib.Path("/etc/dokuwiki").iterdir():
        if os.access(path, os.R_OK) and path.is_file() and path.name not in (
                "local.php", "acl.auth.php", "users.auth.php", "apache.conf", "lighttpd.conf", "htaccess", ".htaccess"):
            shutil.copyfile(path, conf / path.name)
    settings = conf / "dokuwiki.php"
    settings.write_text(settings.read_text().replace("/var/lib/dokuwiki/data", "./data"))
    for name in ("attic", "cache", "index", "locks", "log", "media", "media_attic", "media_meta", "meta", "pages", "tmp"):
        (root / "data" / name).mkdir(parents=True)
    if uid is not None:
        for folder, folders, files in os.walk(root):
            for name in [folder] + [os.path.join(folder, f) for f in files]:
                os.chown(name, uid, uid)


def png(width, height):
    """A picture of noise, which does not get smaller."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + os.urandom(width * 3) for _ in range(height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


@pytest.fixture(scope="module", params=["php-fpm", "php-cgi", "php-fpm, ferry as an ordinary user"])
def wiki(request):
    """Started by root, PHP becomes the owner of the directory; else it runs as ferry does."""
    php = need(request.param.split(",")[0])
    is_root, as_user = os.geteuid() == 0, "," in request.param
    if as_user and not is_root:
        pytest.skip("we are one already")
    with short_folder() as folder:
        make_wiki(folder / "wiki", NOBODY if is_root else None)
        with serving(folder / "run", folder / "wiki", "--php", php, "--threads", 2, user=NOBODY if as_user else None) as ferry:
            browser = Browser(ferry)
            install(browser)
            yield browser, folder / "wiki"
            browser.close()


def install(b):
    page = b.get("/install.php")
    assert page.status == 200 and "DokuWiki Installer" in page.text
    assert "correct the problems" not in page.text.lower()
    page = b.submit(page.form("submit"), "submit", **{
        "d[title]": "Ferry Wiki", "d[superuser]": "admin", "d[fullname]": "Ada Admin", "d[email]": "ada@example.org",
        "d[password]": "s3cret, really", "d[confirm]": "s3cret, really", "d[policy]": "1"})
    assert "The configuration was finished successfully" in page.text, page.text[:3000]


def login(b, password="s3cret, really"):
    page = b.get("/doku.php?id=start&do=login")
    return page if "Logged in as" in page.text else b.submit(page.form("p"), u="admin", p=password)


def test_a_wrong_password_is_refused(wiki):
    b, _ = wiki
    page = Browser(b.ferry)
    answer = login(page, "wrong")
    assert "Sorry, username or password was wrong" in answer.text
    page.close()


def test_the_start_page_and_all_it_shows(wiki):
    b, _ = wiki
    page = b.get("/")
    assert page.status == 200 and "Ferry Wiki" in page.text and "This topic does not exist yet" in page.text
    wanted = [u for u in page.links if any(part in u for part in ("css.php", "js.php", "jquery.php", "/images/"))]
    assert len(wanted) >= 4
    for url in wanted:
        _, r = b.request("GET", url)
        assert r.status == 200 and len(r.body) > 100, url
        kind = r["Content-Type"]
        assert kind.startswith({"css.php": "text/css", "s.php": "application/javascript", "query.php": "application/javascript"}
                               .get(url.split("/")[-1].split("?")[0].replace("j", "", 1), "image/")), (url, kind)


def test_a_page_is_written_and_read(wiki):
    b, root = wiki
    page = login(b)
    assert "Logged in as: Ada Admin" in page.text
    form = b.get("/doku.php?id=harbour&do=edit").form("wikitext")
    text = "====== The Harbour ======\n\nBoats //come// and **go**: café & <tea>.\n" + "A line of text. " * 3000
    page = b.submit(form, "do[save]", wikitext=text, summary="first")
    assert page.status == 200 and "The Harbour" in page.text and "café & <tea>" in page.text
    assert "<em>come</em> and <strong>go</strong>" in page.response.text
    assert "The Harbour" in (root / "data/pages/harbour.txt").read_text()
    # Somebody who is not logged in reads it, and may not write (the policy chosen above).
    other = Browser(b.ferry)
    page = other.get("/doku.php?id=harbour")
    assert "The Harbour" in page.text and "Log In" in page.text
    assert "wikitext" in other.get("/doku.php?id=harbour&do=edit").response.text
    assert "do[save]" not in other.get("/doku.php?id=harbour&do=edit").response.text
    other.close()
    # And again, from the text as it is now.
    form = b.get("/doku.php?id=harbour&do=edit").form("wikitext")
    assert form["fields"]["wikitext"].startswith("\n====== The Harbour") or form["fields"]["wikitext"].startswith("======")
    page = b.submit(form, "do[save]", wikitext="Only this is left.", summary="shorter")
    assert "Only this is left." in page.text
    assert "shorter" in b.get("/doku.php?id=harbour&do=revisions").text


def test_a_file_is_uploaded_and_fetched(wiki):
    b, root = wiki
    login(b)
    picture = png(900, 600)
    assert len(picture) > 1_000_000
    page = b.get("/lib/exe/mediamanager.php?ns=")
    form = next(f for f in page.parsed.forms if f["id"] == "dw__upload")
    page = b.submit(form, files={"upload": ("Boat.png", "image/png", picture)}, mediaid="boats:boat.png")
    assert "Upload successful" in page.text, page.text[:2000]
    assert (root / "data/media/boats/boat.png").read_bytes() == picture
    url, r = b.request("GET", "/lib/exe/fetch.php?media=boats:boat.png")
    assert (r.status, r["Content-Type"], r.body) == (200, "image/png", picture)
    _, again = b.request("GET", url, [("If-None-Match", r["ETag"]), ("If-Modified-Since", r["Last-Modified"])])
    assert (again.status, again.body) == (304, b"")
    _, part = b.request("GET", url, [("Range", "bytes=1000-1999")])
    assert (part.status, part.body) == (206, picture[1000:2000])
    assert b.request("HEAD", url)[1].status == 200


def test_addresses_with_path_info(wiki):
    b, root = wiki
    with open(root / "conf/local.php", "a") as f:
        f.write("$conf['userewrite'] = 2;\n")
    (root / "data/pages/docs").mkdir()
    (root / "data/pages/docs/intro.txt").write_text("====== Introduction ======\nOne [[start|two]].\n")
    # PHP's opcache looks at a script again after two seconds.
    page = wait_until(lambda: (p := b.get("/doku.php/docs:intro")) and "Introduction" in p.text and p, 4, 0.2)
    assert page.status == 200 and f"{b.base}/doku.php/start" in page.links


def test_the_way_out(wiki):
    b, _ = wiki
    page = login(b)
    page = b.get(next(u for u in page.links if "do=logout" in u))
    assert "Logged in as" not in page.text and "Log In" in page.text
