# SPDX-License-Identifier: MIT
"""AUTH: by a script, PLAIN and LOGIN, and passwords in no log."""
import base64
import time

import pytest
from mailing import mailing, page, talk

BEGUN = "EHLO client.example => 250\n"


def plain(user, password, identity=""):
    return base64.b64encode(f"{identity}\0{user}\0{password}".encode()).decode()


def word(text):
    return base64.b64encode(text.encode()).decode()


GOOD = plain("jo@example.com", "secret")
DIALOGUES = {
    "A02a": BEGUN + f"AUTH PLAIN {GOOD} => 235 2.7.0",
    "A02b": BEGUN + f"AUTH PLAIN => 334\n{GOOD} => 235",
    "A02c": BEGUN + f"auth login => 334\n{word('jo@example.com')} => 334\n{word('secret')} => 235",
    "A02d": BEGUN + f"AUTH LOGIN {word('jo@example.com')} => 334\n{word('secret')} => 235",
    "A05": BEGUN + "AUTH PLAIN => 334\n* => 501 5.7.0\nAUTH LOGIN => 334\n* => 501\nNOOP => 250",
    "A06": BEGUN + f"AUTH PLAIN !!! => 501 5.5.2\nAUTH PLAIN = => 501\nAUTH PLAIN {word('no nul')} => 501\n"
                   f"AUTH LOGIN => 334\nx => 501\nAUTH PLAIN {GOOD}= => 501",
    "A07": BEGUN + "AUTH CRAM-MD5 => 504 5.5.4\nAUTH FOO => 504",
    "A08": BEGUN + f"AUTH PLAIN {GOOD} => 235\nAUTH PLAIN {GOOD} => 503\nRSET => 250\nAUTH PLAIN {GOOD} => 503",
    "A09": BEGUN + f"AUTH PLAIN {GOOD} => 235\nMAIL FROM:<a@b.example> => 250\nAUTH PLAIN {GOOD} => 503",
    "A10": f"HELO x => 250\nAUTH PLAIN {GOOD} => 503",
    "A11": BEGUN + f"AUTH PLAIN => 334\n{'A' * 12284} => 501|535\nAUTH PLAIN => 334\n{'A' * 13000} => 500 5.5.6\nNOOP => 250",
    "A12": BEGUN + f"MAIL FROM:<a@b.example> => 530 5.7.0\nAUTH PLAIN {GOOD} => 235\nMAIL FROM:<a@b.example> => 250",
    "A14": BEGUN + "AUTH => 501",
    "M26": BEGUN + f"AUTH PLAIN {GOOD} => 235\n" + "".join(
        f"MAIL FROM:<a@b> AUTH={value} => 250\nRSET => 250\n" for value in ("<>", "e+3Dmc2@example.com")) +
    "MAIL FROM:<a@b> AUTH=++ => 501\nMAIL FROM:<a@b> AUTH=a+3 => 501\nMAIL FROM:<a@b> AUTH=a b => 501|555",
    "A15": BEGUN + f"AUTH PLAIN {plain('jürgen@example.com', 'secret')} => 235",
}


@pytest.fixture(scope="module")
def server():
    with mailing(protocol="submission", auth="/auth.php", auth_insecure=True, errors_max=1000, error_delay="1ms", auth_fails_max=1000,
                 auth_fails_per_minute=100000) as (mail, scripts):
        yield mail, scripts


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("name", DIALOGUES)
def test_dialogue(server, name, bytewise):
    with server[0].client() as c:
        talk(c, DIALOGUES[name], bytewise)


def test_who_it_was_is_told(server):
    mail, scripts = server
    scripts.forget()
    with mail.client() as c:
        talk(c, BEGUN + f"AUTH PLAIN {GOOD} => 235\nMAIL FROM:<a@b.example> => 250\nRCPT TO:<ok@example.com> => 250\nDATA => 354\n"
                        "|x\\r\\n.\\r\\n => 250")
    f = scripts.saved[0].fields
    assert (f["auth_user"], f["auth_mech"], f["protocol"]) == (b"jo@example.com", b"PLAIN", b"ESMTPA")
    assert scripts.saved[0].params["REMOTE_USER"] == "jo@example.com"
    assert not any(b"secret" in bytes(a.body) for a in scripts.saved)
    assert "secret" not in mail.err and GOOD not in mail.err  # A13


def test_a_wrong_password_takes_its_time():
    """A03"""
    with mailing(protocol="submission", auth="/auth.php", auth_insecure=True, auth_fails_max=2) as (mail, _):
        with mail.client() as c:
            began = time.monotonic()
            talk(c, BEGUN + f"AUTH PLAIN {plain('jo', 'wrong')} => 535 5.7.8")
            assert time.monotonic() - began > 0.9
            talk(c, f"AUTH PLAIN {plain('jo', 'wrong')} => 535\nAUTH PLAIN {GOOD} => 421, close")
        told = [line for line in mail.err.splitlines() if "event=auth " in line]
        assert len(told) == 2 and all("as=jo mechanism=PLAIN result=refused reply=535 reason=auth-wrong" in line for line in told)
        assert "client=127.0.0.1" in told[0] and "wrong " not in told[0]


@pytest.mark.parametrize("said", [b"Status: 500\r\n\r\n", page("")])
def test_a_script_that_is_down_says_nothing(server, said):
    """A04"""
    mail, scripts = server
    auth, scripts.auth = scripts.auth, lambda asked: said
    try:
        with mail.client() as c:
            talk(c, BEGUN + f"AUTH PLAIN {GOOD} => 454 4.7.0")
        assert "result=deferred reply=454 reason=auth-broken" in mail.err
    finally:
        scripts.auth = auth


def test_not_without_tls():
    """A01"""
    with mailing(auth="/auth.php") as (mail, scripts):
        with mail.client() as c:
            assert "AUTH" not in c.command("EHLO x").text
            talk(c, f"AUTH PLAIN {GOOD} => 538|503")
        assert not scripts.of("auth")
