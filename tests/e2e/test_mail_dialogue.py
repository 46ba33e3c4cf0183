# SPDX-License-Identifier: MIT
"""The dialogue: what is answered to whom, command by command. Each goes over the wire whole and a byte at a time.

The ids are those of docs/mail.md, "What is tested".
"""
import contextlib
import re
import time

import pytest
from mailing import HIDDEN, NO_ENDS, Smtp, mailing, stuffed, talk, talk_at_once

BEGUN = "EHLO client.example => 250\n"
MAILED = BEGUN + "MAIL FROM:<a@b.example> => 250 2.1.0\n"
READY = MAILED + "RCPT TO:<ok@example.com> => 250 2.1.5\n"
MAIL = "MAIL FROM:{} => {}\nRSET => 250\n"
RCPT = "RCPT TO:{} => {}\n"


def senders(reply, *addresses):
    return BEGUN + "".join(MAIL.format(a, reply) for a in addresses)


def rcpts(reply, *addresses):
    return MAILED + "".join(RCPT.format(a, reply) for a in addresses)


DIALOGUES = {
    # -- greeting and HELO
    "G06": "HELO client.example => 250 ~mx.example.com",
    "G07": "HELO => 501\nEHLO => 501\nNOOP => 250",
    "G08": "EHLO  client.example => 250",
    "G09": "EHLO [127.0.0.1] => 250\nEHLO [IPv6:::1] => 250\nEHLO under_score.example => 250",
    "G10": 'EHLO "><script> => 250\nQUIT => 221, close',
    "G11": MAILED + "EHLO client.example => 250\nMAIL FROM:<a@b.example> => 250",
    "G12": "EHLO client.example => 250\nHELO client.example => 250\nMAIL FROM:<a@b.example> SIZE=1 => 555|501",
    "G13": "ehlo client.example => 250\neHLo client.example => 250\nmAiL fRoM:<a@b.example> => 250\nqUiT => 221, close",
    "G14": "NOOP => 250 2.0.0\nHELP => 214 2.0.0\nRSET => 250 2.0.0\nVRFY x => 252 2.0.0\nQUIT => 221 2.0.0, close",
    "G15": "MAIL FROM:<a@b.example> => 503 5.5.1\nHELO x => 250\nMAIL FROM:<a@b.example> => 250",
    "G16": "LHLO client.example => 500 5.5.1",
    "G17": f"EHLO {'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 11} => 250\n"
           f"EHLO {'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 12} => 501",
    "G18": "EHLO client.example more words => 250",
    "G19": READY + "EHLO client.example => 250\nDATA => 503 5.5.1",
    # -- MAIL
    "M01": senders("250 2.1.0", "<a@b.c>"),
    "M02": senders("250 2.1.0", "<>"),
    "M03": BEGUN + "mail from:<a@b> => 250",
    "M04-M06": senders("250", " <a@b>", "\t<a@b>", "a@b.example"),
    "M07": senders("501", ""),
    "M08": senders("501", " BODY=7BIT"),
    "M09": BEGUN + "MAIL => 501\nMAIL LALA:<> => 501|500\nMAIL FROM => 501\nMAIL FROM<a@b> => 501\n"
                   "MAILFROM:<a@b> => 500\nNOOP => 250",
    "M10a": senders("501 5.1.7", "<", "x", "<<>>", "<justatest>", "<a@b", "a@b>"),
    "M10b": senders("501 5.1.7", "<a@b>x", "<a b@c>", "<a @b>", "<@b>", "<a@>", "<a@b@c>", "><"),
    "M11": senders("501", "<a@b..c>", "<a@-b>", "<a@.b>"),
    "M12": senders("250", "<.a@b>", "<a.@b>", "<a..b@c>"),
    "M13": senders("250", '<"a b"@c>', '<"a@b"@c>', '<"a\\\\"b"@c>') + 'MAIL FROM:<""> => 501\nMAIL FROM:<"a@b> => 501',
    "M14": senders("250", "<@x,@y:a@b>") + "MAIL FROM:<@x:@y:a@b> => 501\nMAIL FROM:<@x,a@b> => 501",
    "M15": senders("250", "<a@[127.0.0.1]>", "<a@[IPv6:::1]>", "<a@[IPv6:::127.0.0.1]>") +
    "MAIL FROM:<a@[1.2.3]> => 501\nMAIL FROM:<a@[IPv6:zz]> => 501",
    "M16": senders("250", f"<{'l' * 64}@b.example>", f"<a@{'d' * 63}.example>") +
    f"MAIL FROM:<{'l' * 65}@b.example> => 501\nMAIL FROM:<a@{'d' * 64}.example> => 501\n"
    f"MAIL FROM:<a@{'.'.join(['d' * 50] * 6)}> => 501",
    "M17": MAILED + "MAIL FROM:<c@d.example> => 503 5.5.1\nRCPT TO:<ok@example.com> => 250",
    "M18": MAILED + "RSET => 250\nMAIL FROM:<c@d.example> => 250",
    "M19": READY + "DATA => 354\n|.\\r\\n => 250\nMAIL FROM:<c@d.example> => 250",
    "M20": BEGUN + "MAIL FROM:<x => 501\nMAIL FROM:<a@b> => 250",
    "M21": senders("250", "<a@b> SIZE=1000", "<a@b> SIZE=100000", "<a@b> SIZE=0", "<a@b> size=5") +
    "MAIL FROM:<a@b> SIZE=100001 => 552 5.3.4\nRCPT TO:<ok@example.com> => 503\nMAIL FROM:<a@b> SIZE= => 501\n"
    "MAIL FROM:<a@b> SIZE=x => 501\nMAIL FROM:<a@b> SIZE=-1 => 501\n"
    "MAIL FROM:<a@b> SIZE=99999999999999999999 => 501|552",
    "M22": senders("250", "<a@b> BODY=7BIT", "<a@b> BODY=8BITMIME", "<a@b> body=8bitmime") +
    "MAIL FROM:<a@b> BODY=RABIIT => 501\nMAIL FROM:<a@b> BODY => 501\nMAIL FROM:<a@b> BODY= => 501",
    "M24": senders("250", "<a@b> SMTPUTF8") + "MAIL FROM:<a@b> SMTPUTF8=1 => 501",
    "M25": BEGUN + "MAIL FROM:<j\xfcrgen@b.example> => 553 5.6.7\nMAIL FROM:<j\xfcrgen@b.example> SMTPUTF8 => 250\nRSET => 250\n"
    "MAIL FROM:<\\xc3(@b> SMTPUTF8 => 500|501\nMAIL FROM:<\\xc0\\xaf@b> SMTPUTF8 => 500|501\n"
    "MAIL FROM:<\\xed\\xa0\\x80@b> SMTPUTF8 => 500|501\nMAIL FROM:<a@b> SMTPUTF8 \\xc3 => 500|501",
    "M27": BEGUN + "MAIL FROM:<a@b> UNKNOWN=1 => 555 5.5.4\nMAIL FROM:<a@b> SI--ZE=2000 => 555\n"
                   "MAIL FROM:<a@b> SI--ZE-=1 => 501|555\nMAIL FROM:<a@b> =1 => 501\nMAIL FROM:<a@b> -X=1 => 501",
    "M28": "HELO x => 250\nMAIL FROM:<a@b> SIZE=1 => 501|555\nMAIL FROM:<a@b> BODY=8BITMIME => 501|555",
    "M29": senders("501", "<a@b> SIZE=1 SIZE=2", "<a@b> BODY=7BIT BODY=7BIT"),
    "M30": senders("250", "<a@b> ", "<a@b>   "),
    "M31": senders("250", "<a@b> ENVID=QQ314159", "<a@b> RET=FULL", "<a@b> RET=HDRS", "<a@b> ret=hdrs") +
    "MAIL FROM:<a@b> ENVID=ab+0D+0A => 501\nMAIL FROM:<a@b> ENVID=+00 => 501\nMAIL FROM:<a@b> RET=HDR => 501\n"
    f"MAIL FROM:<a@b> ENVID=++ => 501\nMAIL FROM:<a@b> ENVID={'e' * 101} => 501",
    "M33": BEGUN + "MAIL FROM:<a\\x01@b> => 500|501\nMAIL FROM:<a\xe2\x80\x8b@b> SMTPUTF8 => 501|500\n"
    "MAIL FROM:<a\u202e@b> SMTPUTF8 => 501\nMAIL FROM:<a\u200b@b> SMTPUTF8 => 501",
    # -- RCPT
    "R04": rcpts("550 5.1.1", "<unknown@example.com>"),
    "R06": BEGUN + "RCPT TO:<ok@example.com> => 503 5.5.1",
    "R07a": rcpts("501 5.1.3", "<", "x", "<<>>", "<justatest>", "<a@b", "a@b>", "<a@b>x"),
    "R07b": rcpts("501 5.1.3", "<a b@c>", "<@b>", "<a@>", "<a@b@c>", "<a@b..c>", "<@x:@y:a@b>", f"<{'l' * 65}@example.com>"),
    "R07c": rcpts("250 2.1.5", " <ok1@example.com>", "ok2@example.com", "<@x,@y:ok3@example.com>", '<"ok4"@example.com>'),
    "R08": rcpts("501|550", "<>"),
    "R09": rcpts("250", "<postmaster>", "<PostMaster>"),
    "R10": rcpts("550 5.7.1", "<ok@elsewhere.example>", "<ok@sub.example.com>", "<ok@xexample.com>"),
    "R11": rcpts("250", "<ok1@EXAMPLE.com>", "<ok2@Example.COM>"),
    "R12": rcpts("250", "<ok1@a.wild.example>", "<ok2@b.a.WILD.example>", "<ok@[127.0.0.1]>") +
    RCPT.format("<ok@wild.example>", "550 5.7.1"),
    "R13": rcpts("250", "<ok%elsewhere@example.com>") + RCPT.format("<a@b@example.com>", "501"),
    "R16": MAILED + "RCPT TO:<unknown@example.com> => 550\nDATA => 554 5.5.1|503\nRCPT TO:<ok@example.com> => 250\nDATA => 354\n"
                    "|.\\r\\n => 250",
    "R18": rcpts("250", "<ok1@example.com> NOTIFY=NEVER", "<ok2@example.com> NOTIFY=SUCCESS,FAILURE,DELAY",
                 "<ok3@example.com> notify=success", "<ok4@example.com> ORCPT=rfc822;a+3Db@c"),
    "R18b": rcpts("501", "<ok@example.com> NOTIFY=NEVER,DELAY", "<ok@example.com> NOTIFY=", "<ok@example.com> NOTIFY=FOO",
                  "<ok@example.com> ORCPT=rfc822;", "<ok@example.com> ORCPT=++", "<ok@example.com> ORCPT=rfc822"),
    "R19": rcpts("555 5.5.4", "<ok@example.com> FOO=1", "<ok@example.com> SIZE=1"),
    "R20": READY + "DATA => 354\n|.\\r\\n => 250\nRCPT TO:<ok@example.com> => 503 5.5.1",
    # -- DATA
    "D01": READY + "DATA => 354\n|Subject: x\\r\\n\\r\\nhi\\r\\n.\\r\\n => 250 2.0.0 ~saved as",
    "D02": BEGUN + "DATA => 503 5.5.1\nMAIL FROM:<a@b> => 250\nDATA => 503 5.5.1\n. => 500\nRSET => 250",
    "D03": READY + "DATA x => 501 5.5.4\nDATA => 354\n|.\\r\\n => 250",
    "D04": READY + "DATA => 354\n|.\\r\\n => 250 2.0.0\n" + MAILED[len(BEGUN):] + "RCPT TO:<ok@example.com> => 250\nDATA => 354\n"
           "|\\r\\n.\\r\\n => 250",
    "D20": READY + "DATA => 354\n|x\\r\\n.\\r\\n => 250\nDATA => 503\nMAIL FROM:<a@b> => 250\nDATA => 503",
    "D23": READY + "DATA => 354\n|x\\r\\n.\\r\\nQUIT\\r\\n => 250, 221, close",
    # -- lines
    "L01": f"NOOP {'x' * (2048 - 7)} => 250\nNOOP {'x' * (2048 - 6)} => 500 5.5.2\nNOOP => 250\n"
           f"NOOP {'x' * 60000} => 500\nNOOP => 250",
    "L03": "|RSET\\rQUIT\\r\\n => 500\nNOOP => 250",
    "L04": 'BELL\\x08 => 500\nNOOP "\\x01" => 500\n|NO\\0OP\\r\\n => 500|501\nNOOP => 250',
    "L05": "|NOOP\\nNOOP\\r\\n => 500\nNOOP => 250",
    "L06": "RSET    => 250\nNOOP   => 250",
    "L07": "| NOOP\\r\\n => 500\n|\\r\\n => 500",
    "L11": "NO\xd6P => 500",
    "L12": 'QUIT extra => 501\nNOOP args => 250\nNOOP "frop => 250|501',
    "L13": "HELP => 214\nHELP MAIL => 214",
    "L14": MAILED + "EXPN x => 502\nVRFY => 501\nVRFY a@b => 252\nVRFY j\xfcrgen@b SMTPUTF8 => 252\nRCPT TO:<ok@example.com> => 250",
    "L15": "TURN => 502|500\nSEND FROM:<a@b> => 502|500\nSAML FROM:<a@b> => 502|500\nETRN x => 502|500",
    "L17a": "GET / HTTP/1.1 => 221|500, close",
    "L17b": "POST / HTTP/1.1 => 221|500, close",
    "L17c": "CONNECT mx.example.com:25 HTTP/1.1 => 221|500, close",
    # -- chunks
    "C01": READY + "|BDAT 5\\r\\nhello => 250 2.0.0\n|BDAT 7 LAST\\r\\n world\\n => 550|250",
    "C02": READY + "BDAT 0 => 250\nBDAT 0 LAST => 250 2.0.0",
    "C03": BEGUN + "|BDAT 10\\r\\nMAIL FROM: => 503\nNOOP => 250\nMAIL FROM:<a@b> => 250\n|BDAT 9 LAST\\r\\nRSET\\r\\nRSE => 503\nNOOP => 250",
    "C04a": READY + "BDAT => 501|521, close",
    "C04b": READY + "BDAT x => 501|521, close",
    "C04c": READY + "BDAT -1 => 501|521, close",
    "C04d": READY + "|BDAT 4 FOO\\r\\nRSET => 501, nothing\nNOOP => 250",
    "C04e": READY + "BDAT 99999999999999999999 => 501|521|552, close",
    "C05": READY + "|BDAT 1\\r\\nx => 250\nDATA => 503\nRSET => 250",
    "C06": READY + "|BDAT 1\\r\\nx => 250\nRSET => 250\nMAIL FROM:<a@b> => 250\nRCPT TO:<ok@example.com> => 250\nBDAT 0 LAST => 250",
    "C08": READY + f"|BDAT 90000\\r\\n{'x' * 90000} => 250\n|BDAT 10001\\r\\n{'x' * 10001} => 552\n|BDAT 5 LAST\\r\\nRSET\\n => 503|552\n"
           "NOOP => 250\nMAIL FROM:<a@b> => 250|503",
    "C13": MAILED + "RCPT TO:<unknown@example.com> => 550\n|BDAT 6 LAST\\r\\nRSET\\r\\n => 503|554\nNOOP => 250",
    # -- others
    "X01": BEGUN + "XCLIENT ADDR=1.2.3.4 => 550\nXFORWARD ADDR=1.2.3.4 => 550\nNOOP => 250",
    "Y08": "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 => 500\nEHLO x => 250",
    "A01": BEGUN + "AUTH PLAIN AGEAYg== => 538|503\nAUTH => 501|503",
    "T06": BEGUN + "STARTTLS => 502|454\nSTARTTLS x => 501|502",
}


@pytest.fixture(scope="module")
def server():
    with mailing(size_max="100000", errors_max=1000, error_delay="1ms", junk_max=1000) as (mail, scripts):
        yield mail, scripts


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("name", DIALOGUES)
def test_dialogue(server, name, bytewise):
    if bytewise and len(DIALOGUES[name]) > 50000:
        pytest.skip("too long to send byte by byte")
    with server[0].client() as c:
        talk(c, DIALOGUES[name], bytewise)


def capabilities(c, hello="EHLO client.example"):
    reply = c.command(hello)
    assert reply.code == 250
    return [line[4:].decode() for line in reply.lines]


def test_the_greeting(server):
    """G01, G24"""
    with server[0].client() as c:
        assert c.greeting.lines == [b"220 mx.example.com ESMTP ferry"]
        assert c.quiet()


def test_what_is_offered(server):
    """G03-G05, G22, G23, M37, P01"""
    with server[0].client() as c:
        first, *words = capabilities(c)
    assert first.split()[0] == "mx.example.com"
    assert all(re.fullmatch(r"[A-Z0-9][A-Z0-9-]*( .*)?", w) for w in words)
    names = [w.split()[0] for w in words]
    assert len(names) == len(set(names))
    assert {"PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8", "CHUNKING", "DSN", "LIMITS"} <= set(names)
    assert not {"STARTTLS", "AUTH", "XCLIENT", "XFORWARD", "VRFY", "EXPN", "ETRN", "HELP"} & set(names)
    assert "SIZE 100000" in words
    limits = dict(w.split("=") for w in next(w for w in words if w.startswith("LIMITS ")).split()[1:])
    assert limits["RCPTMAX"] == "100" and limits["MAILMAX"] == "100"


# -- recipients --------------------------------------------------------------------------------------------------------

def test_foreign_domains_do_not_reach_the_script(server):
    """R10"""
    mail, scripts = server
    scripts.forget()
    with mail.client() as c:
        talk(c, rcpts("550 5.7.1", "<ok@elsewhere.example>") + RCPT.format("<ok@example.com>", "250"))
    assert [a.fields["rcpt_to"] for a in scripts.validated] == [b"ok@example.com"]


def test_each_good_recipient_is_asked_for_once_and_in_order(server):
    """R21, R22, R07, M13, M14"""
    mail, scripts = server
    scripts.forget()
    names = [f"<ok{i}@example.com>" for i in range(100)]
    with mail.client() as c:
        talk(c, BEGUN)
        talk_at_once(c, "MAIL FROM:<a@b.example> => 250\n" + "".join(RCPT.format(n, "250") for n in names))
        # R14: the limit, and one past it; the first hundred are delivered to
        talk(c, RCPT.format("<ok101@example.com>", "452 4.5.3") + "DATA => 354\n|.\\r\\n => 250")
    assert [b"<" + a.fields["rcpt_to"] + b">" for a in scripts.validated] == [n.encode() for n in names]
    saved, = scripts.saved
    assert [saved.fields[f"rcpt_to_{i}"] for i in range(100)] == [n[1:-1].encode() for n in names]
    assert "rcpt_to_100" not in saved.fields


def test_refused_recipients_and_doubles_are_not_among_those_that_are_saved_for(server):
    """R15, R17, R11"""
    mail, scripts = server
    scripts.forget()
    with mail.client() as c:
        talk(c, MAILED + "RCPT TO:<ok1@example.com> => 250\nRCPT TO:<unknown@example.com> => 550\n"
                         "RCPT TO:<ok1@EXAMPLE.com> => 250\nRCPT TO:<ok2@example.com> => 250\nDATA => 354\n|.\\r\\n => 250")
    fields = scripts.saved[0].fields
    assert [fields[n] for n in sorted(fields) if n.startswith("rcpt_to_")] == [b"ok1@example.com", b"ok2@example.com"]


def test_a_probe_saves_nothing(server):
    """R28"""
    mail, scripts = server
    scripts.forget()
    with mail.client() as c:
        talk(c, READY + "RSET => 250\nQUIT => 221, close")
    assert len(scripts.validated) == 1 and not scripts.saved


# -- what is a message, and where it ends ------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def plain():
    """A server that hands on messages byte for byte."""
    with mailing(size_max="2M", headers="none", errors_max=1000, error_delay="1ms", trusted=["127.0.0.0/8"], bare_newline="keep",
                 keep_nul=True) as (mail, scripts):
        yield mail, scripts


STUFFED = [(b".", b"."), (b".x", b".x"), (b"..x", b"..x"), (b"..", b".."), (b".From: a", b".From: a"), (b" .x", b" .x"),
           (b"x\r\n.", b"x\r\n."), (b"x\r\n.\r\n..\r\ny", b"x\r\n.\r\n..\r\ny")]


@pytest.mark.parametrize("body,saved", STUFFED, ids=range(len(STUFFED)))
@pytest.mark.parametrize("bytewise", [False, True])
def test_dots(plain, body, saved, bytewise):
    """D05, D06: what was stuffed comes out as it was."""
    mail, scripts = plain
    scripts.forget()
    with mail.client() as c:
        c.bytewise = bytewise
        assert c.mail(body + b"\r\n").code == 250
    assert scripts.saved[0].fields["body"] == saved + b"\r\n"


@pytest.mark.parametrize("cut", range(1, 7))
def test_the_end_may_be_cut_anywhere(plain, cut):
    """D06"""
    mail, scripts = plain
    scripts.forget()
    with mail.client() as c:
        talk(c, READY + "DATA => 354")
        whole = b"a\r\n.\r\n"
        c.send(whole[:cut])
        if cut < len(whole):
            assert c.quiet(0.05)
            c.send(whole[cut:])
        assert c.reply().code == 250
    assert scripts.saved[0].fields["body"] == b"a\r\n"


@pytest.mark.parametrize("body", [
    bytes(range(0x80, 0x100)) + b"\r\n", b"x" * 998 + b"\r\n", b"x" * 2048 + b"\r\n", b"x" * 65535 + b"\r\n",
    b"x" * 1000000 + b"\r\n", b"From x\r\nSubject: y\r\n\r\nz\r\n", b"no header at all\r\n"],
    ids=["8-bit", "998", "2048", "65535", "1 MB", "From_", "no header"])
def test_messages_are_not_touched(plain, body):
    """D15, D16, D25, D26"""
    mail, scripts = plain
    scripts.forget()
    with mail.client() as c:
        assert c.mail(body).code == 250
    assert scripts.saved[0].fields["body"] == body


@pytest.mark.parametrize("policy", ["reject", "normalize", "keep"])
@pytest.mark.parametrize("end", NO_ENDS)
def test_no_message_hides_another(smuggled, end, policy):
    """D08, D12-D14"""
    mail, scripts = smuggled(policy)
    scripts.forget()
    with mail.client() as c:
        talk(c, READY + "DATA => 354")
        body = b"Subject: x\r\n\r\nx" + NO_ENDS[end] + HIDDEN
        c.send(body + b"\r\n.\r\n")
        reply = c.reply()
        if policy == "reject" or b"\0" in NO_ENDS[end]:
            assert reply.code == 550, reply
        else:
            assert reply.code == 250, reply
        if reply.code == 550 and reply.enhanced == "5.5.2":
            assert c.closed()
        else:
            talk(c, "NOOP => 250 2.0.0\nQUIT => 221, close")
    assert len(scripts.saved) == (reply.code == 250)
    if reply.code == 250:
        saved = scripts.saved[0].fields["body"]
        if policy == "keep":
            assert saved == re.sub(rb"(\r\n)\.", rb"\1", body) + b"\r\n"  # a dot behind CR LF was stuffed
        else:
            assert not re.search(rb"(?<!\r)\n", saved)
            assert b"MAIL FROM:<evil" in saved


@pytest.mark.parametrize("end", NO_ENDS)
def test_no_message_that_is_too_big_hides_another(smuggled, end):
    """D09"""
    mail, scripts = smuggled("reject")
    scripts.forget()
    with mail.client() as c:
        talk(c, READY + "DATA => 354")
        c.send(b"x" * 70000 + b"\r\n" + b"y" * 40000 + NO_ENDS[end] + HIDDEN + b"\r\n.\r\n")
        reply = c.reply()
        assert reply.code in (550, 552), reply
        assert c.closed(1) or c.command("NOOP").code == 250
    assert not scripts.saved


@pytest.mark.parametrize("end", NO_ENDS)
def test_no_chunk_hides_a_message(smuggled, end):
    """D10, C10"""
    mail, scripts = smuggled("reject")
    scripts.forget()
    with mail.client() as c:
        talk(c, READY)
        body = b"Subject: x\r\n\r\nx" + NO_ENDS[end] + HIDDEN + b"\r\n.\r\n"
        c.send(b"BDAT %d LAST\r\n" % len(body) + body)
        assert c.reply().code == 550
    assert not scripts.saved


@pytest.fixture(scope="module")
def smuggled():
    """A server for each way to look at bare newlines, started when it is first needed."""
    with contextlib.ExitStack() as stack:
        servers = {}

        def server(policy):
            if policy not in servers:
                servers[policy] = stack.enter_context(
                    mailing(size_max="100000", headers="none", errors_max=1000, error_delay="1ms", bare_newline=policy))
            return servers[policy]

        yield server


def test_the_greatest_message(server):
    """D17-D19"""
    mail, scripts = server
    scripts.forget()
    lines = b"x" * 98 + b"\r\n"
    with mail.client() as c:
        assert c.mail(lines * 1000).code == 250
        assert c.mail(b"." + lines * 1000, hello=None).code == 552
        talk(c, "NOOP => 250")
        assert c.mail(b"." + lines[1:] * 1000, hello=None).code == 250  # the stuffing does not count
        assert c.mail(lines * 1999, hello=None).code == 552
        assert c.mail(b"small\r\n", hello=None).code == 250
        reply = c.mail(lines * 3000, hello=None)
        assert (reply is None or reply.code == 552) and c.closed()
    assert len(scripts.saved) == 3


def test_messages_that_break_off_are_never_saved(server):
    """D21, D28"""
    mail, scripts = server
    scripts.forget()
    whole = stuffed(b"Subject: x\r\n\r\n" + b"line of text\r\n" * 20)
    for at in range(0, len(whole), 3):
        with mail.client() as c:
            talk(c, READY + "DATA => 354")
            c.send(whole[:at])
            if at % 2:
                c.reset()
    with mail.client() as c:
        assert c.mail(b"the last one\r\n").code == 250
    assert len(scripts.saved) == 1


def test_a_client_that_sends_no_more_gets_its_answer(server):
    """D22"""
    mail, scripts = server
    scripts.forget()
    with mail.client() as c:
        talk(c, READY + "DATA => 354")
        c.send(b"x\r\n.\r\nQUIT\r\n")
        c.socket.shutdown(1)
        assert [c.reply().code, c.reply().code] == [250, 221] and c.closed()
    assert len(scripts.saved) == 1


def test_hops(server):
    """D27"""
    with server[0].client() as c:
        received = b"Received: from a by b\r\n"
        assert c.mail(received * 99 + b"receiVED: x\r\n\r\n" + received * 10).code == 250
        reply = c.mail(received * 101 + b"\r\nx\r\n", hello=None)
        assert (reply.code, reply.enhanced) == (554, "5.4.6")


def test_many_transactions_have_many_ids(server):
    """D30, I10"""
    mail, scripts = server
    scripts.forget()
    with mail.client() as c:
        replies = [c.mail(b"mail %d\r\n" % i, hello=None if i else "EHLO x").text for i in range(10)]
    ids = [a.fields["transaction_id"].decode() for a in scripts.saved]
    assert len(set(ids)) == 10 and all(i in r for i, r in zip(ids, replies))
    assert len({a.fields["message_key"] for a in scripts.saved}) == 10


# -- in groups ---------------------------------------------------------------------------------------------------------

def test_a_group_is_answered_in_order(server):
    """P01, P02, P08, P11"""
    with server[0].client() as c:
        talk(c, BEGUN)
        talk_at_once(c, "MAIL FROM:<a@b> => 250\nRCPT TO:<ok@example.com> => 250\nDATA => 354")
        talk_at_once(c, "|x\\r\\n.\\r\\n => 250\nMAIL FROM:<a@b> => 250\nRCPT TO:<unknown@example.com> => 550\nDATA => 554 5.5.1|503")
        talk_at_once(c, "RSET => 250\nMAIL FROM:<a@b> => 250\nNOOP => 250\nRCPT TO:<ok@example.com> => 250\nRSET => 250\nDATA => 503")
        talk_at_once(c, "MAIL FROM:<a@b> => 250\nRCPT TO:<ok@example.com> => 250\nRCPT TO:<ok2@example.com> => 250\n"
                        "MAIL FROM:<c@d> => 503\nDATA => 354")
        talk_at_once(c, "|.\\r\\n => 250\nQUIT => 221, close")


def test_who_talks_out_of_turn_is_refused(server):
    """P03, L16"""
    with server[0].client() as c:
        c.send(b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<ok@example.com>\r\nDATA\r\n")
        replies = [r.code for r in iter(c.reply, None)]
        assert replies[-1] == 554 and 354 not in replies


def test_a_body_nobody_asked_for_does_nothing(server):
    """P05"""
    mail, scripts = server
    scripts.forget()
    with mail.client() as c:
        talk(c, MAILED + "RCPT TO:<unknown@example.com> => 550")
        c.send(b"DATA\r\n" + b"MAIL FROM:<evil@b.example>\r\nRCPT TO:<ok@example.com>\r\nDATA\r\n.\r\n")
        for reply in iter(c.reply, None):
            assert reply.code // 100 in (3, 5), reply
            if reply.code == 354:
                break
    assert not scripts.saved


def test_chunks_in_one_write(server):
    """C09, C10, C11"""
    mail, scripts = server
    scripts.forget()
    with mail.client() as c:
        talk(c, BEGUN)
        talk_at_once(c, "MAIL FROM:<a@b> => 250\nRCPT TO:<ok@example.com> => 250\n|BDAT 14\\r\\nSubject: x\\r\\n\\r\\n => 250\n"
                        "|BDAT 11 LAST\\r\\na\\r\\n.\\r\\nb\\r\\nxx => 250")
        talk(c, "NOOP => 250")
    saved = scripts.saved[0].fields
    assert saved["body"].endswith(b"Subject: x\r\n\r\na\r\n.\r\nb\r\nxx\r\n")


def test_many_tiny_chunks(server):
    """C12"""
    mail, scripts = server
    with mail.client() as c:
        talk(c, READY)
        c.send(b"BDAT 1\r\nx" * 900)
        assert {c.reply().code for _ in range(900)} == {250}
        c.send(b"BDAT 0 LAST\r\n")
        assert c.reply().code == 250


# -- floods ------------------------------------------------------------------------------------------------------------

def test_errors_are_slowed_down_and_ended():
    """L08, R27"""
    with mailing(errors_max=6, errors_soft=3, error_delay="300ms") as (mail, _):
        with mail.client() as c:
            began = time.monotonic()
            for _ in range(3):
                talk(c, "FOO => 500")
            quick = time.monotonic() - began
            talk(c, "FOO => 500\nFOO => 500")
            assert time.monotonic() - began - quick > 0.5
            talk(c, "FOO => 500\nFOO => 421 4.7.0, close")


def test_noise_is_ended():
    """L09"""
    with mailing(junk_max=10, errors_max=5, errors_soft=5) as (mail, _):
        with mail.client() as c:
            c.send(b"NOOP\r\n" * 40)
            replies = [r.code for r in iter(c.reply, None)]
            assert replies[:10] == [250] * 10 and replies[-1] == 421 and len(replies) < 25


def test_a_line_without_an_end(server):
    """L02"""
    with server[0].client() as c:
        c.send(b"x" * 200000)
        for reply in iter(c.reply, None):
            assert reply.code == 500


def test_a_tls_client_on_a_plain_port(server):
    """L18"""
    with Smtp(server[0].port) as c:
        c.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500))
        while (reply := c.reply()) is not None:
            assert reply.code // 100 == 5


def test_messages_in_one_connection():
    """M35"""
    with mailing(mails_max=2) as (mail, _):
        with mail.client() as c:
            assert c.mail(b"1\r\n").code == 250 and c.mail(b"2\r\n", hello=None).code == 250
            talk(c, "MAIL FROM:<a@b> => 421 4.7.0, close")
