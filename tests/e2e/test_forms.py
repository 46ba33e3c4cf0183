# SPDX-License-Identifier: MIT
"""examples/upload behind `ferry serve`: forms as curl, browsers and people with bad intentions send them."""
import html
import pathlib
import re
import shutil
import subprocess
import time

import pytest
from conftest import BUILD, open_files, wait_until
from phpsite import MIB, SANITIZED, in_threads, serving, short_folder

UPLOAD = BUILD / "examples" / "upload"
URLENCODED = {"Content-Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=b0"}


@pytest.fixture(scope="module")
def site():
    with short_folder() as folder, serving(folder / "run", "--spawn", UPLOAD, "--threads", 2, "--access-log", "off") as ferry:
        yield ferry


def pattern(n):
    """n bytes in which no piece is where another was."""
    return b"".join(b"%07d\n" % i for i in range(n // 8 + 1))[:n]


def fnv(data):
    """Of a few bytes; Python needs a second for a MiB."""
    h = 0xCBF29CE484222325
    for b in data:
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def rows(text):
    """What arrived: (name, value) of fields, (name, filename, type, length, checksum, place) of files."""
    found = re.search(r"<h1>(\d+) arrived</h1>\n<table>\n(.*)</table>", text, re.S)
    assert found, text
    table = [tuple(html.unescape(cell) for cell in re.split(r"<td>", row)) for row in found.group(2).split("<tr><th>")[1:]]
    table = [(*row[:-1], row[-1].removesuffix("\n")) for row in table]
    assert len(table) == int(found.group(1))
    return [row if len(row) == 2 else (*row[:3], int(row[3].split()[0]), *row[4:]) for row in table]


def field(name, value):
    return b'--b0\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name, value)


def file(name, filename, content, content_type=b"application/octet-stream"):
    return (b'--b0\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\nContent-Type: %s\r\n\r\n%s\r\n'
            % (name, filename, content_type, content))


END = b"--b0--\r\n"


def curl(site, *args, **kw):
    out = subprocess.run(["curl", "-sS", "-m", "30", f"http://127.0.0.1:{site.port}/", *map(str, args)], text=True, timeout=40,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)
    assert out.returncode == 0, out.stderr
    return out.stdout


needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")


def test_the_form_is_shown(site):
    r = site.get("/")
    assert r.status == 200 and "enctype=multipart/form-data" in r.text


@needs_curl
def test_curl_sends_fields_and_files(site, folder):
    small, name = folder / "small.txt", folder / 'we"ird \\ \xe9.txt'
    small.write_bytes(b"some\r\n--text\r\n")
    name.write_bytes(b"\0\r\n")
    (folder / "none").write_bytes(b"")
    got = rows(curl(site, "-F", "a=1", "--form-string", "b=<&> \xe9", "-F", "a=2", "-F", f"f=@{small};type=text/x-y",
                    "-F", f"f=@{folder}/none", "-F", f'g=@"{str(name).replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"'))
    assert got[:3] == [("a", "1"), ("b", "<&> \xe9"), ("a", "2")]
    assert got[3] == ("f", "small.txt", "text/x-y", 14, fnv(small.read_bytes()), "memory")
    assert got[4] == ("f", "none", "application/octet-stream", 0, fnv(b""), "memory")
    # Its name is escaped in one of two ways, by version; of the slash that is a folder's, only the rest is taken.
    assert got[5][1].endswith(" \xe9.txt") and got[5][3:] == (3, fnv(b"\0\r\n"), "memory")


@needs_curl
def test_curl_sends_urlencoded_fields(site):
    assert rows(curl(site, "--data-urlencode", "msg=a b&c=d\xe9\n%", "--data-urlencode", "x=", "-d", "plain=+%2B")) == [
        ("msg", "a b&c=d\xe9\n%"), ("x", ""), ("plain", " +")]


@needs_curl
def test_curl_sends_a_form_of_unknown_length(site, folder):
    big = folder / "big"
    big.write_bytes(pattern(300_000))
    got = rows(curl(site, "-H", "Transfer-Encoding: chunked", "-F", f"f=@{big}"))
    assert got[0][:4] == ("f", "big", "application/octet-stream", 300_000) and got[0][5] == "file"


def app_memory(site):
    """The peak of the resident memory of examples/upload, in bytes."""
    for pid in site.children():
        try:
            if pathlib.Path(f"/proc/{pid}/exe").resolve().name == "upload":
                return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)) * 1024
        except OSError:
            pass
    raise AssertionError("no upload runs")


def test_files_of_ten_mib_come_whole_and_take_no_memory(site):
    content = pattern(10 * MIB)
    body = field(b"a", b"1") + file(b"f", b"x", content) + file(b"g", b"y", b"z") + END
    # The same bytes small, where Python can sum them up, and large, where they must be equal each time.
    site.post("/", file(b"f", b"x", content[:1000]) + END, MULTIPART)
    before, sums = app_memory(site), set()

    def send(_):
        got = rows(site.post("/", body, MULTIPART).text)
        assert got[0] == ("a", "1") and got[2] == ("g", "y", "application/octet-stream", 1, fnv(b"z"), "memory")
        assert got[1][:4] == ("f", "x", "application/octet-stream", 10 * MIB) and got[1][5] == "file"
        sums.add(got[1][4])

    in_threads(8, send)
    assert len(sums) == 1
    # Of 80 MiB, eight at a time; sanitizers keep what is free.
    assert SANITIZED or app_memory(site) - before < 8 * MIB


@pytest.mark.parametrize("size", [65535, 65536, 65537, 200_000])
def test_bytes_are_what_they_were_around_the_limit_of_memory(site, size):
    content = pattern(size)
    got = rows(site.post("/", file(b"f", b"x", content) + END, MULTIPART).text)
    assert got == [("f", "x", "application/octet-stream", size, fnv(content), "memory" if size <= 65536 else "file")]


def test_a_slow_form_is_read_while_others_are_served(site):
    body = field(b"a", b"1") + file(b"f", b"x", b"y" * 300_000) + END
    with site.client() as slow:
        slow.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b0\r\n"
                  b"Content-Length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), 40_000):
            slow.send(body[at:at + 40_000])
            assert site.get("/").status == 200
            time.sleep(0.02)
        got = rows(slow.response().text)
    assert got[1] == ("f", "x", "application/octet-stream", 300_000, fnv(b"y" * 300_000), "file")


REFUSED = {
    "cut": (MULTIPART, field(b"a", b"1"), 400),
    "not multipart": (MULTIPART, b"a=1&b=2", 400),
    "no boundary": ({"Content-Type": "multipart/form-data"}, END, 400),
    "two names": (MULTIPART, field(b'a"; name="b', b"1") + END, 400),
    "bare LF": (MULTIPART, (field(b"a", b"1") + END).replace(b"\r\n", b"\n"), 400),
    "no name": (MULTIPART, b"--b0\r\nContent-Disposition: form-data\r\n\r\n\r\n" + END, 400),
    "base64": (MULTIPART, b"--b0\r\nContent-Transfer-Encoding: base64\r\n" + field(b"a", b"1")[6:] + END, 400),
    "long head": (MULTIPART, field(b"a" * 8192, b"1") + END, 413),
    "many parts": (MULTIPART, field(b"a", b"1") * 1001 + END, 413),
    "many files": (MULTIPART, file(b"f", b"x", b"1") * 21 + END, 413),
    "long field": (MULTIPART, field(b"a", b"1" * (MIB + 1)) + END, 413),
    "much text": (URLENCODED, b"a=" + b"1" * MIB, 413),
    "many pairs": (URLENCODED, b"a=1&" * 1001, 413),
    "65 MiB": (MULTIPART, file(b"f", b"x", b"1" * 65 * MIB) + END, 413),
    "JSON": ({"Content-Type": "application/json"}, b"{}", 415),
    "no type": ({}, b"a=1", 415),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused(site, case):
    fields, body, want = REFUSED[case]
    r = site.post("/", body, fields)
    assert r.status == want and r.complete, r.text
    assert len(r.body) < 100 and r.body.endswith(b"\n")


@pytest.mark.parametrize("count", [1000])
def test_limits_are_where_they_are_said_to_be(site, count):
    assert len(rows(site.post("/", field(b"a", b"1") * count + END, MULTIPART).text)) == count
    assert len(rows(site.post("/", b"a=1&" * count, URLENCODED).text)) == count
    assert len(rows(site.post("/", file(b"f", b"x", b"1") * 20 + END, MULTIPART).text)) == 20


def test_nothing_of_what_was_sent_becomes_markup(site):
    body = field(b"<script>", b"<b>&\"") + file(b"f", b"<i>", b"", b"text/<u>") + END
    text = site.post("/", body, MULTIPART).text
    assert "<script>" not in text and "<b>" not in text and "<i>" not in text and "<u>" not in text
    assert rows(text)[0] == ("<script>", '<b>&"')


def test_a_form_of_near_boundaries_takes_no_longer_than_another(site):
    def seconds(unit):
        n = 8 * MIB // len(unit)
        body = file(b"f", b"x", unit * n) + END
        best = 60.0
        for _ in range(3):
            start = time.monotonic()
            assert rows(site.post("/", body, MULTIPART).text)[0][3] == n * len(unit)
            best = min(best, time.monotonic() - start)
        return best

    plain = seconds(b"x" * 64)
    for unit in (b"\r\n--b", b"\r", b"\r\n", b"\r\n--b1"):
        assert seconds(unit) < 10 * plain + 0.5, unit


def test_clients_that_leave_leave_nothing_behind(site):
    pid = next(p for p in site.children() if pathlib.Path(f"/proc/{p}/exe").resolve().name == "upload")

    def files():
        return sum("(deleted)" in name for name in open_files(pid).values())

    for _ in range(10):
        with site.client() as c:
            c.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b0\r\n"
                   b"Content-Length: 9000000\r\n\r\n" + file(b"f", b"x", b"y" * 3_000_000))
    wait_until(lambda: files() == 0)
    assert site.get("/").status == 200
