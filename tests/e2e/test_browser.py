# SPDX-License-Identifier: MIT
"""What a person sees: the demo and a wiki in Chromium. FERRY_SCREENSHOTS names a folder for pictures of it."""
import contextlib
import os
import pathlib
import shutil

import pytest
from conftest import BUILD, wait_until
from phpsite import NOBODY, need, serving, short_folder
from test_dokuwiki import PACKAGE, make_wiki

webdriver = pytest.importorskip("selenium.webdriver", reason="python3-selenium is not installed")
By = pytest.importorskip("selenium.webdriver.common.by").By
Gone = pytest.importorskip("selenium.common.exceptions").WebDriverException

pytestmark = pytest.mark.skipif(not shutil.which("chromedriver") or not shutil.which("chromium"),
                                reason="chromium-driver is not installed")


@pytest.fixture(scope="module")
def chromium():
    options = webdriver.ChromeOptions()
    with short_folder() as folder:
        for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1200,1600",
                       "--disable-background-networking", "--no-first-run", f"--user-data-dir={folder}/profile"):
            options.add_argument(option)
        options.binary_location = shutil.which("chromium")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.chrome.service.Service(shutil.which("chromedriver"))
        browser = webdriver.Chrome(options=options, service=service)
        browser.set_page_load_timeout(30)
        yield browser
        browser.quit()


@contextlib.contextmanager
def without_complaints(browser):
    """The browser's own console must have nothing to say: no script fails, nothing on the page is missing."""
    browser.get_log("browser")
    yield
    complaints = [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert not complaints


def picture(browser, name):
    to = os.environ.get("FERRY_SCREENSHOTS")
    if to:
        browser.save_screenshot(str(pathlib.Path(to) / f"{name}.png"))


def text_of(browser, where="body"):
    """Nothing while one page makes room for the next."""
    try:
        return browser.find_element(By.CSS_SELECTOR, where).text
    except Gone:
        return ""


def test_events_of_another_thread(chromium, folder):
    with serving(folder / "run", "--spawn", BUILD / "examples" / "events") as ferry, without_complaints(chromium):
        chromium.get(f"http://localhost:{ferry.port}/")
        wait_until(lambda: text_of(chromium, "#time").count(":") == 2)
        first = text_of(chromium, "#time")
        wait_until(lambda: text_of(chromium, "#time") not in ("", first))
        chromium.execute_script("source.close()")


def test_the_demo(chromium, folder):
    with serving(folder / "run", "--spawn", BUILD / "examples" / "demo") as ferry, without_complaints(chromium):
        chromium.get(f"http://localhost:{ferry.port}/?from=browser")
        assert chromium.title == "ferry"
        body = text_of(chromium)
        for seen in ("This request", "Echo", "Stream", "Upload", "Its params", "QUERY_STRING", "from=browser", "Mozilla/5.0"):
            assert seen in body, seen
        picture(chromium, "demo")

        # The form, sent by the script in the page, comes back without another page.
        line = chromium.find_element(By.NAME, "line")
        line.clear()
        line.send_keys("<i>sailing</i> & more")
        chromium.find_element(By.CSS_SELECTOR, "#echo button").click()
        wait_until(lambda: "<i>sailing</i> & more" in text_of(chromium, "#echo-answer"))
        assert chromium.current_url.endswith("/?from=browser")

        # The stream grows while one watches.
        chromium.find_element(By.ID, "start").click()
        wait_until(lambda: "line 1 of 10" in text_of(chromium, "#lines"))
        assert "line 4 of 10" not in text_of(chromium, "#lines")
        wait_until(lambda: "line 3 of 10" in text_of(chromium, "#lines"))

        (folder / "note.txt").write_bytes(b"123456789")
        chromium.find_element(By.NAME, "file").send_keys(str(folder / "note.txt"))
        chromium.find_element(By.CSS_SELECTOR, "#upload button").click()
        wait_until(lambda: "note.txt" in text_of(chromium, "#upload-answer"))
        answer = text_of(chromium, "#upload-answer")
        assert "9" in answer.split() and "cbf43926" in answer
        picture(chromium, "demo-used")


def test_the_upload_example(chromium, folder):
    with serving(folder / "run", "--spawn", BUILD / "examples" / "upload") as ferry, without_complaints(chromium):
        chromium.get(f"http://localhost:{ferry.port}/")
        greeting = chromium.find_element(By.NAME, "greeting")
        greeting.clear()
        greeting.send_keys("<i>h\xe9</i> & \"more\"")
        names = ("no\"te \xe9.txt", "semi;colon=%22.txt")
        for name in names:
            (folder / name).write_bytes(b"\r\n--\r\n")
        chromium.find_element(By.NAME, "files").send_keys("\n".join(str(folder / name) for name in names))
        picture(chromium, "upload")
        chromium.find_element(By.CSS_SELECTOR, "button").click()
        wait_until(lambda: "3 arrived" in text_of(chromium))
        answer = text_of(chromium)
        assert "greeting <i>h\xe9</i> & \"more\"" in answer
        # Browsers write a quote as %22, and do not say whether it was one (URL: html.spec.whatwg.org, multipart-form-data).
        for name in names:
            assert f"files {name.replace(chr(34), '%22')} text/plain 6 bytes" in answer
        picture(chromium, "upload-done")

        # A form without a file says so, with an empty name.
        chromium.find_element(By.LINK_TEXT, "Again").click()
        wait_until(lambda: "Send something" in text_of(chromium))
        chromium.find_element(By.CSS_SELECTOR, "button").click()
        wait_until(lambda: "2 arrived" in text_of(chromium))
        assert "greeting hello" in text_of(chromium) and "application/octet-stream 0 bytes" in text_of(chromium)


@pytest.mark.skipif(not (PACKAGE / "install.php").exists(), reason="dokuwiki is not installed")
def test_a_wiki_is_installed_and_written_in(chromium, folder):
    def fill(name, value):
        field = chromium.find_element(By.NAME, name)
        field.clear()
        field.send_keys(value)

    make_wiki(folder / "wiki", NOBODY if os.geteuid() == 0 else None)
    with serving(folder / "run", folder / "wiki", "--php", need("php-fpm")) as ferry:
        base = f"http://localhost:{ferry.port}"
        chromium.get(base + "/install.php")
        assert "DokuWiki Installer" in text_of(chromium)
        for name, value in {"d[title]": "Harbour Wiki", "d[superuser]": "ada", "d[fullname]": "Ada", "d[email]": "a@example.org",
                            "d[password]": "pa ss", "d[confirm]": "pa ss"}.items():
            fill(name, value)
        if chromium.find_element(By.NAME, "d[pop]").is_selected():
            chromium.find_element(By.NAME, "d[pop]").click()
        chromium.find_element(By.NAME, "submit").click()
        wait_until(lambda: "finished successfully" in text_of(chromium))

        with without_complaints(chromium):
            chromium.get(base + "/doku.php?id=start&do=login")
            fill("u", "ada")
            fill("p", "pa ss")
            chromium.find_element(By.CSS_SELECTOR, "#dw__login button[type=submit]").click()
            wait_until(lambda: "Logged in as" in text_of(chromium))
            chromium.get(base + "/doku.php?id=quay&do=edit")
            fill("wikitext", "====== The Quay ======\n  * ropes\ngulls")  # its script goes on with the list
            chromium.find_element(By.NAME, "do[save]").click()
            wait_until(lambda: chromium.find_elements(By.CSS_SELECTOR, "#the_quay"))
            assert text_of(chromium, "#the_quay") == "The Quay"
            assert [e.text for e in chromium.find_elements(By.CSS_SELECTOR, ".page li")] == ["ropes", "gulls"]
            # Its style sheet came, and its script ran.
            assert chromium.execute_script("return document.styleSheets[0].cssRules.length") > 20
            assert chromium.execute_script("return typeof jQuery") == "function"
            picture(chromium, "wiki")
