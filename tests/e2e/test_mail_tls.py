# SPDX-License-Identifier: MIT
"""TLS of the mail gateway: STARTTLS and from the first byte, certificates, and what must not go through.

The ids are those of docs/mail.md, "What is tested".
"""
import hashlib
import itertools
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile

import pytest
from conftest import wait_until
from mailing import HIDDEN, NO_ENDS, Smtp, mailing, talk

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
BEGUN = "EHLO client.example => 250\n"
READY = BEGUN + "MAIL FROM:<a@b.example> => 250\nRCPT TO:<ok@example.com> => 250\n"
NUMBERS = itertools.count()


def sent():
    """A message like no other: who goes without seeing that one is taken is remembered by it."""
    return READY + f"DATA => 354\n|Subject: x\\r\\n\\r\\nhi {next(NUMBERS)}\\r\\n.\\r\\n => 250\n"


class Cert:
    """A certificate for `name` in a file, with its key; signed by itself or by `by`."""

    def __init__(self, folder, name, by=None):
        self.path, self.name = folder / f"{name.replace('*', 'any')}.pem", name
        key = folder / "key.tmp"
        run = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
               "-subj", f"/O=The Tests/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key)]
        if by:
            run += ["-CA", str(by.path), "-CAkey", str(by.path), "-addext", "basicConstraints=critical,CA:FALSE"]
        pem = subprocess.run(run, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        self.path.write_bytes(pem + key.read_bytes())
        key.unlink()
        self.path.chmod(0o644)
        self.der = ssl.PEM_cert_to_DER_cert(pem.decode())


@pytest.fixture(scope="module")
def certs():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ferry-mail-tls-"))
    folder.chmod(0o755)
    made = {name: Cert(folder, name) for name in ("mx.example.com", "other.example.net", "ca.example")}
    made["client.example"] = Cert(folder, "client.example", by=made["ca.example"])
    yield made
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(certs):
    both = [str(certs[name].path) for name in ("mx.example.com", "other.example.net")]
    with mailing(tls_cert=both, errors_max=1000, error_delay="1ms") as started:
        yield started


def context(maximum=None, minimum=ssl.TLSVersion.TLSv1_2, cert=None, alpn=None):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    if minimum < ssl.TLSVersion.TLSv1_2:
        c.set_ciphers("ALL:@SECLEVEL=0")
    c.minimum_version = minimum
    if maximum:
        c.maximum_version = maximum
    if cert:
        c.load_cert_chain(cert.path)
    if alpn:
        c.set_alpn_protocols(alpn)
    return c


def wrapped(c, how=None, name="mx.example.com"):
    """Goes on in TLS; whether the end is a proper one is looked at."""
    assert not c.buffer
    c.socket = (how or context()).wrap_socket(c.socket, server_hostname=name, suppress_ragged_eofs=False)
    return c


def started(mail, how=None, name="mx.example.com", before=BEGUN):
    c = mail.client()
    talk(c, before + "STARTTLS => 220 2.0.0")
    return wrapped(c, how, name)


def fails(c, how=None):
    """No TLS comes about, and the connection ends without another word in plain text."""
    raw = c.socket
    with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError)) as e:
        wrapped(c, how)
    raw.close()
    return str(e.value)


def rest(s):
    """All bytes up to the end."""
    s.settimeout(20)
    found = b""
    try:
        while more := s.recv(4096):
            found += more
    except ConnectionResetError:
        pass
    return found


def test_all_begins_again(server):
    """T01 T05 G21"""
    mail, scripts = server
    scripts.forget()
    c = mail.client()
    talk(c, BEGUN)
    assert re.search(r"(?m)^STARTTLS$", c.command("EHLO client.example").text)
    talk(c, "STARTTLS => 220 2.0.0")
    with wrapped(c):
        talk(c, "MAIL FROM:<a@b.example> => 503 5.5.1")
        assert "STARTTLS" not in c.command("EHLO client.example").text
        talk(c, "STARTTLS => 503|554\n" + sent() + "QUIT => 221")
        assert c.socket.recv(1) == b"", "the end is not a close_notify"
    assert len(scripts.saved) == 1
    assert scripts.saved[0].fields["tls_on"] == b"true"


def test_arguments(server):
    """T02"""
    with server[0].client() as c:
        talk(c, BEGUN + "STARTTLS x => 501\nNOOP => 250\nMAIL FROM:<a@b.example> => 250")


@pytest.mark.parametrize("injected", ["NOOP\r\n", "EHLO x\r\nMAIL FROM:<evil@b.example>\r\n", "\r\n", "\x16",
                                      "RSET\r\n" * 500])
@pytest.mark.parametrize("shakes", [False, True])
def test_nothing_is_injected(server, injected, shakes):
    """T03 T04: what came in plain text behind STARTTLS is never obeyed, in TLS or before it."""
    mail, scripts = server
    scripts.forget()
    with mail.client() as c:
        talk(c, BEGUN)
        c.send("STARTTLS\r\n" + injected)
        reply = c.reply()
        assert reply.code in (220, 554), reply
        if reply.code == 220 and shakes:
            fails(c)
        else:
            if reply.code == 220:
                c.socket.shutdown(socket.SHUT_WR)
            assert not re.search(rb"250", c.buffer + rest(c.socket))
    assert not scripts.asked


def test_a_transaction_is_forgotten(server):
    """T07"""
    with started(server[0], before=READY) as c:
        talk(c, "RCPT TO:<ok@example.com> => 503\nDATA => 503\n" + sent())


def test_required(certs):
    """T08"""
    with mailing(tls="required", tls_cert=[str(certs["mx.example.com"].path)]) as (mail, scripts):
        with mail.client() as c:
            talk(c, "NOOP => 250\n" + BEGUN + "MAIL FROM:<a@b.example> => 530 5.7.0\nRCPT TO:<ok@example.com> => 530 5.7.0\n"
                    "VRFY ok => 530\nHELP => 530|214\nRSET => 530|250\nNOOP => 250\nEHLO x => 250\nQUIT => 221, close")
        with started(mail) as c:
            talk(c, sent())
        assert len(scripts.saved) == 1


@pytest.mark.parametrize("said", ["NOOP\r\n", "EHLO client.example\r\nMAIL FROM:<a@b.example>\r\n", "\x16\x03\x01\x00\x04abcd",
                                  "\x80\x2e\x01\x03\x01"])
def test_no_plain_text_after_a_failed_handshake(server, said):
    """T09"""
    with server[0].client() as c:
        talk(c, BEGUN + "STARTTLS => 220")
        c.send(said.encode("latin-1"))
        found = rest(c.socket)
        assert not re.search(rb"[2-5]\d\d[ -]", found), found


@pytest.mark.parametrize("version, good", [("TLSv1_3", True), ("TLSv1_2", True), ("TLSv1_1", False), ("TLSv1", False)])
def test_versions(server, version, good):
    """T10 T20"""
    mail, scripts = server
    scripts.forget()
    version = getattr(ssl.TLSVersion, version)
    how = context(maximum=version, minimum=version)
    if not good:
        c = mail.client()
        talk(c, BEGUN + "STARTTLS => 220")
        assert "PROTOCOL_VERSION" in fails(c, how).upper().replace(" ", "_")
        return
    with started(mail, how) as c:
        talk(c, sent())
        cipher, _, bits = c.socket.cipher()
        spoken = c.socket.version()
    asked, = scripts.saved
    assert asked.fields["tls_version"].decode() == asked.params["MAIL_TLS_VERSION"] == spoken
    assert asked.fields["tls_cipher"].decode() == cipher
    assert asked.fields["tls_bits"].decode() == str(bits)
    assert asked.fields["tls_sni"] == b"mx.example.com"
    assert asked.fields["protocol"] == b"ESMTPS"
    assert f"(using {spoken} with cipher {cipher} ({bits}/{bits} bits))".encode() in asked.fields["body"]
    assert b" with ESMTPS id " in asked.fields["body"]
    validated, = scripts.validated
    assert validated.fields["tls_version"].decode() == spoken


def test_old_versions_where_they_are_wanted(certs):
    """T10"""
    with mailing(tls_cert=[str(certs["mx.example.com"].path)], tls_min="1.0", tls_max="1.2") as (mail, _):
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_2):
            with started(mail, context(maximum=version, minimum=version)) as c:
                talk(c, sent())


def test_from_the_first_byte(certs):
    """T11: and a plain client gets nothing."""
    with mailing(tls="implicit", tls_cert=[str(certs["mx.example.com"].path)]) as (mail, scripts):
        with Smtp(mail.port, wrap=lambda s: context().wrap_socket(s, suppress_ragged_eofs=False)) as c:
            assert "STARTTLS" not in c.command("EHLO client.example").text
            talk(c, "STARTTLS => 503|554|502\n" + sent() + "QUIT => 221")
            assert c.socket.recv(1) == b""
        assert scripts.saved[0].fields["protocol"] == b"ESMTPS"
        with mail.client(greeting=False) as c:
            assert c.quiet()
            c.send("EHLO client.example\r\n")
            assert rest(c.socket) == b""


def test_names(server, certs):
    """T12"""
    for name, expected in (("mx.example.com", "mx.example.com"), ("other.example.net", "other.example.net"),
                           ("unknown.example", "mx.example.com"), (None, "mx.example.com")):
        with started(server[0], name=name) as c:
            assert c.socket.getpeercert(binary_form=True) == certs[expected].der, name
            talk(c, BEGUN)


def test_certificates_of_clients(certs):
    """T13"""
    settings = dict(tls_cert=[str(certs["mx.example.com"].path)], tls_client_ca=str(certs["ca.example"].path))
    with mailing(tls_clients="ask", **settings) as (mail, scripts):
        for whose, verified in ((None, False), ("client.example", True), ("other.example.net", False)):
            scripts.forget()
            cert = certs[whose] if whose else None
            with started(mail, context(cert=cert)) as c:
                talk(c, sent())
            asked, = scripts.saved
            found = {k: asked.fields.get("tls_client_" + k, b"").decode()
                     for k in ("subject", "issuer", "fingerprint_sha256", "verified")}
            assert found["subject"] == (f"CN={whose},O=The Tests" if whose else "")
            assert found["fingerprint_sha256"].replace(":", "").lower() == (hashlib.sha256(cert.der).hexdigest() if whose else "")
            assert (found["verified"] in ("1", "true", "yes", "on")) == verified, found
            if verified:
                assert found["issuer"] == "CN=ca.example,O=The Tests"
    with mailing(tls_clients="need", **settings) as (mail, scripts):
        with started(mail, context(cert=certs["client.example"])) as c:
            talk(c, sent())
        for whose in (None, certs["other.example.net"]):  # in TLS 1.3 a client learns of it when it reads
            c = mail.client()
            talk(c, BEGUN + "STARTTLS => 220")
            with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError)):
                wrapped(c, context(cert=whose))
                c.socket.sendall(b"EHLO client.example\r\n")
                assert not c.socket.recv(100)
                raise ConnectionResetError
            c.close()
        assert len(scripts.saved) == 1


@pytest.mark.parametrize("how", ["cut", "close_notify", "reset", "half a record"])
def test_a_cut_message_is_none(server, how):
    """T14"""
    mail, scripts = server
    scripts.forget()
    with started(mail) as c:
        talk(c, READY + "DATA => 354")
        c.send("Subject: cut\r\n\r\nhalf of it\r\n")
        if how == "reset":
            c.reset()
        elif how == "close_notify":
            with pytest.raises((OSError, ssl.SSLError)):
                c.socket.unwrap()
                raise OSError
        else:
            raw = socket.socket(fileno=c.socket.detach())
            if how == "half a record":
                raw.sendall(b"\x17\x03\x03\x00\x20half")
            raw.shutdown(socket.SHUT_WR)
            raw.settimeout(20)
            assert b"250" not in rest(raw)
            raw.close()
    with mail.client() as c:
        talk(c, sent())
    saved, = scripts.saved
    assert b"cut" not in saved.fields["body"]


def test_a_dot_that_is_forged(server):
    """T14: bytes of nobody who has the keys do not end a message."""
    mail, scripts = server
    scripts.forget()
    c = started(mail)
    talk(c, READY + "DATA => 354")
    c.send("Subject: cut\r\n\r\n")
    raw = socket.socket(fileno=c.socket.detach())
    raw.settimeout(20)
    raw.sendall(b"\r\n.\r\n")
    rest(raw)
    raw.close()
    assert not scripts.saved


def test_a_handshake_has_its_time(server, certs):
    """T15"""
    with mailing(tls="implicit", tls_cert=[str(certs["mx.example.com"].path)]) as (implicit, _):
        first, second, third = implicit.client(greeting=False), server[0].client(), server[0].client()
        for c in (second, third):
            talk(c, BEGUN + "STARTTLS => 220")
        third.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half a hello")
        for c in (first, second, third):
            c.socket.settimeout(100)
            assert c.socket.recv(100) == b""
            c.close()


def test_certificates_are_read_again(certs):
    """T16"""
    folder = certs["mx.example.com"].path.parent
    current = folder / "current.pem"
    shutil.copy(certs["mx.example.com"].path, current)
    with mailing(tls_cert=[str(current)]) as (mail, scripts):
        with started(mail) as old:
            talk(old, READY)
            shutil.copy(certs["other.example.net"].path, current)
            mail.process.send_signal(signal.SIGHUP)

            def is_new():
                with started(mail) as c:
                    der = c.socket.getpeercert(binary_form=True)
                    talk(c, "QUIT => 221")
                    return der == certs["other.example.net"].der
            wait_until(is_new, 40)
            talk(old, "DATA => 354\n|Subject: x\\r\\n\\r\\nhi\\r\\n.\\r\\n => 250")
        assert len(scripts.saved) == 1


def test_who_had_logged_in_has_not(certs):
    """T17"""
    with mailing(protocol="submission", auth="/auth.php", auth_insecure=True,
                 tls_cert=[str(certs["mx.example.com"].path)]) as (mail, _):
        login = "AUTH PLAIN AGpvAHNlY3JldA== => 235\n"
        with started(mail, before=BEGUN + login + "MAIL FROM:<a@b.example> => 250\nRSET => 250\n") as c:
            talk(c, BEGUN + "MAIL FROM:<a@b.example> => 530 5.7.0\n" + login + "MAIL FROM:<a@b.example> => 250")


def test_protocols(server):
    """T18"""
    c = server[0].client()
    talk(c, BEGUN + "STARTTLS => 220")
    assert "NO_APPLICATION_PROTOCOL" in fails(c, context(alpn=["http/1.1"])).upper().replace(" ", "_")
    for offered in (["smtp"], ["http/1.1", "smtp"]):
        with started(server[0], context(alpn=offered)) as c:
            assert c.socket.selected_alpn_protocol() == "smtp"
            talk(c, BEGUN)


def test_no_second_handshake(server):
    """T19"""
    run = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server[0].port}", "-starttls", "smtp", "-tls1_2"],
                         input=b"R\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert b"RENEGOTIATING" in run.stdout
    assert b"no renegotiation" in run.stdout, run.stdout
    with started(server[0]) as c:
        talk(c, sent())


def test_a_session_is_taken_up_again(server, certs):
    """A ticket is good where it was given, and nowhere else."""
    with mailing(tls_cert=[str(certs["mx.example.com"].path)]) as (other, _):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            how = context(maximum=version)
            with started(server[0], how) as c:
                talk(c, BEGUN + "QUIT => 221")
                session = c.socket.session
            for mail in (server[0], other):
                c = mail.client()
                talk(c, BEGUN + "STARTTLS => 220")
                c.socket = how.wrap_socket(c.socket, server_hostname="mx.example.com", session=session)
                with c:
                    talk(c, sent())
                    if mail is other:
                        assert not c.socket.session_reused


@pytest.mark.parametrize("bytewise", [False, True])
def test_much(server, bytewise):
    """A message of many records, and one whose records are a byte each."""
    mail, scripts = server
    scripts.forget()
    text = b"Subject: much\r\n\r\n" + b"".join(b"%06d of many lines\r\n" % i for i in range(40 if bytewise else 50000))
    with started(mail) as c:
        talk(c, BEGUN)
        c.bytewise = bytewise
        assert c.mail(text, hello=None).code == 250
    assert scripts.saved[0].fields["body"].endswith(text)


@pytest.mark.parametrize("end", NO_ENDS)
def test_no_message_hides_another(server, end):
    """D11"""
    mail, scripts = server
    scripts.forget()
    with started(mail) as c:
        talk(c, READY + "DATA => 354")
        c.send(b"Subject: x\r\n\r\nx" + NO_ENDS[end] + HIDDEN + b"\r\n.\r\n")
        assert c.reply().code == 550
    assert not scripts.saved
