# SPDX-License-Identifier: MIT
"""LMTP (RFC 2033): one answer for each recipient, in their order."""
import stat

import pytest
from mailing import Smtp, mailing, talk

BEGUN = "LHLO relay.example => 250\n"
MAILED = BEGUN + "MAIL FROM:<a@b.example> => 250\n"
TWO = MAILED + "RCPT TO:<ok1@example.com> => 250\nRCPT TO:<ok2@example.com> => 250\n"


@pytest.fixture(scope="module")
def server():
    with mailing(protocol="lmtp", errors_max=1000, error_delay="1ms", size_max="100000") as (mail, scripts):
        yield mail, scripts


@pytest.fixture
def lmtp(server):
    mail, scripts = server
    validate, save = scripts.validate, scripts.save
    scripts.forget()
    with mail.client() as c:
        yield c, scripts
    scripts.validate, scripts.save = validate, save


DIALOGUES = {
    "K01": "LHLO relay.example => 250\nEHLO x => 500 5.5.1\nHELO x => 500 5.5.1\nNOOP => 250",
    "K02": TWO + "DATA => 354\n|x\\r\\n.\\r\\n => 250 2.0.0 ~<ok1@example.com>, 250 2.0.0 ~<ok2@example.com>\nNOOP => 250",
    "K03": MAILED + "RCPT TO:<unknown@example.com> => 550\nRCPT TO:<ok1@example.com> => 250\nDATA => 354\n"
                    "|x\\r\\n.\\r\\n => 250 ~<ok1@example.com>\nNOOP => 250",
    "K04": MAILED + "DATA => 503 5.5.1\nRCPT TO:<unknown@example.com> => 550\nDATA => 503|554\nNOOP => 250",
    "K05": MAILED + "RCPT TO:<ok1@example.com> => 250\nRCPT TO:<ok1@example.com> => 250\nDATA => 354\n"
                    "|x\\r\\n.\\r\\n => 250 ~<ok1@example.com>, 250 ~<ok1@example.com>\nNOOP => 250",
    "K07": TWO + "DATA => 354\n|" + ("x" * 70 + "\\r\\n") * 1500 + ".\\r\\n => 552 5.3.4, 552 5.3.4\nNOOP => 250",
    "C15": TWO + "|BDAT 3\\r\\nx\\r\\n => 250\nBDAT 0 LAST => 250 ~<ok1@example.com>, 250 ~<ok2@example.com>\nNOOP => 250",
}


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("name", DIALOGUES)
def test_dialogue(lmtp, name, bytewise):
    if bytewise and len(DIALOGUES[name]) > 50000:
        pytest.skip("too long to send byte by byte")
    talk(lmtp[0], DIALOGUES[name], bytewise)


def test_the_greeting(lmtp):
    """G02, K01"""
    assert lmtp[0].greeting.lines == [b"220 mx.example.com LMTP ferry"]
    words = lmtp[0].command("LHLO x").text
    assert all(w in words for w in ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME"))


def test_one_call_for_all(lmtp):
    c, scripts = lmtp
    talk(c, TWO + "DATA => 354\n|x\\r\\n.\\r\\n => 250, 250")
    assert len(scripts.saved) == 1 and scripts.saved[0].fields["protocol"] == b"LMTP"


def test_a_fault_is_told_to_each(lmtp):
    """K08"""
    c, scripts = lmtp
    scripts.save = lambda asked: b"Status: 500\r\n\r\n"
    talk(c, TWO + "DATA => 354\n|x\\r\\n.\\r\\n => 451 4.3.0 ~<ok1@example.com>, 451 4.3.0 ~<ok2@example.com>\nNOOP => 250")


@pytest.mark.parametrize("said,codes", [
    ("rcpt 0 REJECT 554 5.7.1 no\nrcpt 1 SAVED\n", [554, 250]), ("rcpt 1 DEFER\nrcpt 0 SAVED\n", [250, 451]),
    ("rcpt 0 SAVED\n", [250, 451]), ("SAVED\n", [250, 250]), ("REJECT\n", [554, 554])])
def test_each_has_its_own(lmtp, said, codes):
    """K06"""
    c, scripts = lmtp
    scripts.save = lambda asked: said
    talk(c, TWO + "DATA => 354")
    c.send(b"x\r\n.\r\n")
    replies = [c.reply(), c.reply()]
    assert [r.code // 10 for r in replies] == [code // 10 for code in codes], replies
    assert "<ok1@example.com>" in replies[0].text and "<ok2@example.com>" in replies[1].text


def test_a_call_for_each():
    with mailing(protocol="lmtp", per_recipient=True) as (mail, scripts):
        scripts.save = lambda a: "REJECT" if a.fields["rcpt_to_0"] == b"ok1@example.com" else "SAVED"
        with mail.client() as c:
            talk(c, TWO + "DATA => 354\n|x\\r\\n.\\r\\n => 554, 250")
        assert len(scripts.saved) == 2 and len({a.fields["message_key"] for a in scripts.saved}) == 2
        assert all("rcpt_to_1" not in a.fields for a in scripts.saved)


def test_a_unix_socket():
    """K09"""
    with mailing(protocol="lmtp", listen=["unix:lmtp.sock"]) as (mail, scripts):
        path = mail.folder / "lmtp.sock"
        assert stat.S_ISSOCK(path.stat().st_mode)
        with Smtp(path) as c:
            talk(c, TWO + "DATA => 354\n|x\\r\\n.\\r\\n => 250, 250")
        assert scripts.saved[0].fields["remote_ip"] in (b"local", b"")


def test_what_stood_in_front_of_it():
    """K11, X07, I07"""
    with mailing(protocol="lmtp", xforward_from=["127.0.0.0/8"]) as (mail, scripts):
        with mail.client() as c:
            assert "XFORWARD NAME ADDR" in c.command("LHLO x").text
            talk(c, "XFORWARD NAME=far.example ADDR=192.0.2.7 PORT=1234 PROTO=ESMTP => 250\n"
                    "XFORWARD HELO=hello.example IDENT=4Q5X+20y SOURCE=REMOTE => 250\nXFORWARD FOO=1 => 501\n"
                    "MAIL FROM:<a@b.example> => 250\nRCPT TO:<ok1@example.com> => 250\nDATA => 354\n|x\\r\\n.\\r\\n => 250\n"
                    "MAIL FROM:<a@b.example> => 250\nRCPT TO:<ok1@example.com> => 250\nDATA => 354\n|x\\r\\n.\\r\\n => 250")
        first, second = [a.fields for a in scripts.saved]
        assert (first["remote_ip"], first["remote_name"], first["helo"], first["origin_queue_id"], first["origin"]) == \
            (b"192.0.2.7", b"far.example", b"hello.example", b"4Q5X y", b"xforward")
        assert first["peer_ip"] == b"127.0.0.1"
        assert second["remote_ip"] == b"127.0.0.1" and second["origin_queue_id"] == b""
