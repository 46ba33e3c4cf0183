# SPDX-License-Identifier: MIT
"""Scripts under a real PHP: what it does to forms that are too large for it, and the example scripts.

Whatever PHP drops, no message is told to be saved that is not (S20-S23).
"""
import base64
import hashlib
import random
import shutil
import zlib

import pytest
from conftest import ROOT, needs_php_fpm
from mailing import Mail
from phpsite import php_fpm, short_folder

pytestmark = needs_php_fpm

BIG = random.Random(5).randbytes(2 << 20).replace(b"\r", b" ").replace(b"\n", b" ").replace(b"\0", b" ")
BIG = b"Subject: big\r\n\r\n" + b"\r\n".join(BIG[i:i + 900] for i in range(0, len(BIG), 900)) + b"\r\n"

# Each stores what it has as it is, by its own way of getting at it, and keeps the token's promise.
WRITE = """<?php header('Content-Type: text/plain');
file_put_contents(getenv('MAIL_STORE') . '/got', $body);
file_put_contents(getenv('MAIL_STORE') . '/sizes', $_SERVER['MAIL_SIZE'] . ' ' . $_SERVER['MAIL_SHA256']);
echo 'SAVED ', """
SAVES = {
    "urlencoded": "<?php $body = $_POST['body']; ?>" + WRITE + "$_POST['token'];",
    "multipart": "<?php $body = file_get_contents($_FILES['body']['tmp_name']); ?>" + WRITE + "$_POST['token'];",
    "rfc822": "<?php $body = file_get_contents('php://input'); ?>" + WRITE + "hash('sha256', $body);",
    "careless": "<?php echo 'SAVED';",
    "trusting": "<?php echo 'SAVED ', $_POST['token'];",
    "warns": "<?php ini_set('display_errors', 1); echo $missing; echo 'SAVED ', $_POST['token'];",
    "fails": "<?php ini_set('display_errors', 1); throw new Exception('the database is down');",
    "exhausts": "<?php ini_set('display_errors', 0); $x = str_repeat('x', PHP_INT_MAX >> 8); echo 'SAVED';",
}


TO_OK = "EHLO x", "MAIL FROM:<>", "RCPT TO:<ok@example.com>"
SECRET = "$2y$05$qRa4RfmEZ4/OMzYdyt0zHe1ynf8CQUpHwTJZJjQ/C8jT4Vtj7CJfi"  # password_hash('secret', PASSWORD_DEFAULT)


class Php:
    def __init__(self, folder, pool=""):
        self.store = folder / "store"
        self.store.mkdir()
        self.store.chmod(0o777)
        for name, text in SAVES.items():
            (folder / f"{name}.php").write_text(text.replace("?><?php", ""))
        for example in (ROOT / "examples/mail").glob("*.php"):
            shutil.copy(example, folder)
        self.folder = folder
        # More than there are gateways at once: each keeps its connections for a while.
        self.fpm = php_fpm(folder / "fpm", f"pm.max_children=24 env[MAIL_STORE]={self.store} {pool}")

    def __enter__(self):
        _, self.address = self.fpm.__enter__()
        self.mails = []
        return self

    def __exit__(self, *exc):
        try:
            for mail in self.mails:
                mail.end()
        finally:
            self.fpm.__exit__(*exc)

    def mail(self, save=None, **settings):
        folder = self.folder / f"mail{len(self.mails)}"
        settings = {"save": str(self.folder / f"{save}.php"), "errors_max": 1000, "error_delay": "1ms", **settings}
        mail = Mail(folder, top=f'application php {{ connect = "{self.address}" }}', application="php", **settings)
        self.mails.append(mail)
        return mail


@pytest.fixture(scope="module")
def php():
    """As PHP is installed, but for uploads, of which it takes 2M: post_max_size is 8M."""
    with short_folder() as folder:
        folder.chmod(0o755)
        with Php(folder, "php_admin_value[upload_max_filesize]=8M") as running:
            yield running


@pytest.fixture(scope="module")
def little_php():
    """One that takes little: 1M, and ten variables."""
    with short_folder() as folder:
        folder.chmod(0o755)
        with Php(folder, "php_admin_value[post_max_size]=1M php_admin_value[max_input_vars]=10") as running:
            yield running


def told(c, *commands):
    """The last reply."""
    return [c.command(command) for command in commands][-1]


def said(mail, body=b"Subject: x\r\n\r\nhi\r\n", **kw):
    with mail.client() as c:
        reply = c.mail(body, **kw)
    return reply.code, reply.enhanced


@pytest.mark.parametrize("how", ["urlencoded", "multipart", "rfc822"])
@pytest.mark.parametrize("compress", [False, True])
def test_every_format_brings_the_same_bytes(php, how, compress):
    """S01, S22, S23"""
    mail = php.mail(how, format=how, strict_token=True, compress=compress, headers="none")
    body = b"Subject: \xfc\r\n\r\n" + bytes(range(1, 10)) + bytes(range(14, 256)) + b"\r\n.x\r\na=b&c=d%41+\r\n"
    for message in body, BIG if compress else body * 20:
        with mail.client() as c:
            told(c, "EHLO x", "MAIL FROM:<a@b.example> BODY=8BITMIME", "RCPT TO:<ok@example.com>")
            c.send(f"BDAT {len(message)} LAST\r\n".encode() + message)
            assert c.reply().code == 250, mail.err
        got = (php.store / "got").read_bytes()
        size, sha256 = (php.store / "sizes").read_text().split()
        assert (int(size), sha256) == (len(got), hashlib.sha256(got).hexdigest())
        assert (zlib.decompress(got) if compress else got) == message


def test_a_form_that_php_throws_away_is_not_saved(little_php):
    """S20, 0.3: the script runs with an empty $_POST and says SAVED all the same."""
    careful = little_php.mail("trusting", strict_token=True)
    assert said(careful) == (451, "4.3.0")  # ten variables are few: see below
    for save in "careless", "trusting":
        assert said(little_php.mail(save, strict_token=True, seed_fields_only=True), BIG) == (451, "4.3.0")
    assert said(little_php.mail("trusting", strict_token=True, seed_fields_only=True)) == (250, "2.0.0")
    assert said(little_php.mail("urlencoded", strict_token=True, format="multipart"), BIG) == (451, "4.3.0")


def test_variables_that_php_drops_are_missed(little_php):
    """S21: with max_input_vars = 10 and many recipients the token is not there."""
    mail = little_php.mail("trusting", strict_token=True, seed_fields_only=True)
    assert said(mail, rcpts=["ok@example.com"] * 1) == (250, "2.0.0")
    assert said(mail, rcpts=[f"ok{i}@example.com" for i in range(50)]) == (451, "4.3.0")


def test_without_a_form_there_is_nothing_to_throw_away(little_php):
    """post_max_size is for forms: php://input has all of a message that is none."""
    mail = little_php.mail("rfc822", format="rfc822", strict_token=True, headers="none")
    assert said(mail, BIG) == (250, "2.0.0")
    assert (little_php.store / "got").read_bytes() == BIG


@pytest.mark.parametrize("save", ["warns", "fails", "exhausts"])
def test_what_php_says_is_not_saved(php, save):
    assert said(php.mail(save)) == (451, "4.3.0")


@pytest.mark.parametrize("validate", ["fails", "exhausts"])
def test_a_script_that_fails_bounces_nobody(php, validate):
    """0.2.3: not even when its failure is a page with status 200."""
    mail = php.mail("urlencoded", validate=str(php.folder / f"{validate}.php"))
    with mail.client() as c:
        assert told(c, *TO_OK).code == 451


def test_scripts_that_are_not_there(php):
    """R23: a mistake of ours is never the sender's."""
    for script in "missing.php", "fpm/fpm.conf":
        mail = php.mail("urlencoded", validate=str(php.folder / script))
        with mail.client() as c:
            reply = told(c, *TO_OK)
            assert (reply.code, reply.enhanced) == (451, "4.3.5")
        assert said(php.mail(save="nothing")) == (451, "4.3.5")


def test_the_examples(php):
    """validate.php, auth.php and save.php of examples/mail."""
    (php.folder / "recipients.txt").write_text("jo@example.com\n*@wild.example\n")
    (php.folder / "users.txt").write_text(f"jo@example.com:{SECRET}\n")
    mail = php.mail("save", strict_token=True, validate=str(php.folder / "validate.php"))
    with mail.client() as c:
        told(c, "EHLO x", "MAIL FROM:<>")
        replies = [c.command(f"RCPT TO:<{r}@example.com>") for r in ("jo", "JO", "nobody")]
        assert [(r.code, r.enhanced) for r in replies] == [(250, "2.1.5"), (250, "2.1.5"), (550, "5.1.1")]
    message = b"Subject: example\r\n\r\nhi\r\n"
    for _ in range(2):  # the same twice is stored once
        assert said(mail, message, rcpts=["jo@example.com"]) == (250, "2.0.0")
    stored, = php.store.glob("*.eml")
    assert stored.read_bytes().endswith(message) and stored.read_bytes() != message
    for form in "multipart", "rfc822":
        message += form.encode()
        assert said(php.mail("save", strict_token=True, format=form), message + b"\r\n", rcpts=["jo@example.com"]) == (250, "2.0.0")
    assert len(list(php.store.glob("*.eml"))) == 3
    (php.folder / "recipients.txt").unlink()
    with mail.client() as c:
        assert told(c, "EHLO x", "MAIL FROM:<>", "RCPT TO:<jo@example.com>").code == 451
    mail = php.mail("save", auth=str(php.folder / "auth.php"), protocol="submission", auth_insecure=True)
    for user, password, code in ("jo@example.com", "secret", 235), ("jo@example.com", "Secret", 535), ("who", "secret", 535):
        with mail.client() as c:
            secret = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
            assert told(c, "EHLO x", f"AUTH PLAIN {secret}").code == code
