# SPDX-License-Identifier: MIT
"""`ferry mail` around the gateway: configurations and options, go-guerrilla's files, starting, reloading, ending, and
`ferry mail check`. V.. and K12 are the numbers of the list of checks.
"""
import contextlib
import grp
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import threading

import pytest
from conftest import BUILD, children_of, needs_php_fpm, wait_until
from mailing import SANITIZED, Mail, Smtp, mailing
from phpsite import php_fpm, short_folder

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples/mail"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def folder():
    with short_folder() as path:
        yield path


def ferry(*args, cwd=None, stdin=None, timeout=60):
    return subprocess.run([BUILD / "ferry", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          input=stdin, timeout=timeout, cwd=cwd)


def refused(code, *args, **kw):
    """What is said by a command that ends with this code."""
    r = ferry("mail", *args, **kw)
    assert r.returncode == code, (r.returncode, r.stdout, r.stderr)
    assert not r.stdout
    return r.stderr


def printed(*args, **kw):
    r = ferry("mail", *args, "--print-config", **kw)
    assert r.returncode == 0, r.stderr
    return r.stdout


# -- configurations ----------------------------------------------------------------------------------------------------

APP = 'application php { connect = unix:/run/nobody.sock }\n'

WRONG = [
    (APP + "mail m {\n  listen = :2525\n  application = php\n  save = /s.php\n}\n",
     "FILE:3: on :2525 anybody could send mail to anywhere"),
    (APP + 'mail m {\n  listen = [::]:2525\n  domains = { example.com, * }\n  application = php\n  save = /s.php\n}\n',
     "FILE:3: on [::]:2525 anybody could send mail to anywhere"),
    (APP + "mail m {\n  listen = 127.0.0.1:25\n  protocol = lmtp\n  application = php\n  save = /s.php\n}\n",
     "FILE:3: LMTP does not belong on port 25"),
    (APP + "mail m {\n  listen = 127.0.0.1:2525\n}\n", "FILE:2: this mail service needs 'save' or 'maildir'"),
    (APP + "mail m {\n  listen = 127.0.0.1:2525\n  save = /s.php\n}\n", "FILE:4: 'save' needs 'application'"),
    (APP + "mail m {\n  listen = 127.0.0.1:2525\n  maildir = m\n  size = 5M\n}\n",
     "FILE:5: there is no 'size' in a mail service; did you mean 'size-max'?"),
    (APP + "mail m {\n  listen = 127.0.0.1:2525\n  maildir = m\n  rcpts-max = 0\n}\n",
     "FILE:5: 'rcpts-max = 0': 1 is the least"),
    (APP + "mail m {\n  listen = 127.0.0.1:2525\n  maildir = m\n  deny = 10.0.0.0/33\n}\n",
     "FILE:5: '10.0.0.0/33' in 'deny': an address is expected"),
    (APP + "mail m {\n  listen = 127.0.0.1:0\n  maildir = m\n  tls-cert = not-there.pem\n}\n", "not-there.pem"),
    ('site { listen = 127.0.0.1:8080 route "*" { files { root = / } } }\n', "FILE: there is no mail service in it"),
    ("", "there is neither a site nor a mail service"),
]


@pytest.mark.parametrize("text, said", WRONG, ids=range(len(WRONG)))
def test_a_wrong_configuration_does_not_start(folder, text, said):
    (folder / "f").write_text(text)
    for args in (["-c", folder / "f"], ["-t", "-c", folder / "f"]):
        assert said.replace("FILE", str(folder / "f")) in refused(78, *args)


def test_all_that_is_wrong_is_said_at_once(folder):
    (folder / "f").write_text("mail m {\n  hostname = a..b\n  domains = x@y\n  tls-min = 2\n  bogus = 1\n}\n")
    assert re.findall(r"f:(\d+):", refused(78, "-c", folder / "f")) == ["2", "3", "4", "5"]


def test_a_configuration_is_checked_without_starting(folder):
    (folder / "f").write_text(APP + "mail m { listen = 127.0.0.1:1 application = php save = /s.php }\n")
    r = ferry("mail", "-t", "-c", folder / "f")
    assert (r.returncode, r.stdout, r.stderr) == (0, f"{folder}/f is good\n", "")
    r = ferry("config", "check", folder / "f")
    assert (r.returncode, r.stdout) == (0, f"{folder}/f is good: 1 mail service, 1 application\n")


def test_a_file_may_hold_sites_and_mail(folder):
    """ferry run has its sites, ferry mail its mail; each says when there is nothing for it."""
    (folder / "f").write_text("mail m { listen = 127.0.0.1:0 maildir = box }\n")
    r = ferry("run", "-t", "-c", folder / "f")
    assert r.returncode == 78 and "there is no site in it; its mail services are for 'ferry mail'" in r.stderr
    (folder / "f").write_text("mail m { listen = 127.0.0.1:0 maildir = box }\n"
                              f'site {{ listen = 127.0.0.1:0 route "*" {{ files {{ root = {folder} }} }} }}\n')
    for verb in ("run", "mail"):
        assert ferry(verb, "-t", "-c", folder / "f").returncode == 0


def test_each_starts_its_own_applications(folder):
    """One file, two programs: an application that only mail has is not started for sites, and the other way round."""
    (folder / "f").write_text(f"""
{'sandbox = off' if SANITIZED else ''}
application web {{ spawn = {BUILD}/examples/hello }}
application scripts {{ spawn = {BUILD}/examples/hello }}
site {{ listen = 127.0.0.1:0 route "*" {{ application web {{}} }} }}
mail m {{ listen = 127.0.0.1:0 application = scripts save = /s.php }}
""")
    for verb in ("run", "mail"):
        with subprocess.Popen([BUILD / "ferry", verb, "-v", "-c", folder / "f"], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.PIPE, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}) as p:
            try:
                assert "://" in p.stdout.readline()
                below, found = [p.pid], 0
                while below:
                    children = children_of(below.pop())
                    below += children
                    found += sum(pathlib.Path(f"/proc/{c}/exe").resolve().name == "hello" for c in children)
            finally:
                p.terminate()
                p.communicate(timeout=60)
            assert found == 1, (verb, found)


# -- options -----------------------------------------------------------------------------------------------------------

def test_options_stand_for_a_configuration(folder):
    out = printed("--listen", "127.0.0.1:2526", "--listen", "unix:s", "--lmtp", "--hosts", "example.com,*.example.org",
                  "--app", "unix:/run/php.sock", "--validate", "v.php", "--save", "/srv/s.php", "--auth", "a.php",
                  "--maildir", "box", "--hostname", "mx.example.com", "--max-size", "5M", "--tls-cert", "c.pem",
                  "--tls-key", "k.pem", "--tls", "required", "--log", "json", "--threads", "2", "--io", "epoll",
                  "--set", "greet-delay=2s", "-s", "deny=192.0.2.1,unix", cwd=folder)
    assert out == f"""threads = 2
io = epoll
sandbox = off
mail-log-format = json

application scripts {{
    connect = unix:/run/php.sock
}}

mail mail {{
    listen = {{ 127.0.0.1:2526, unix:{folder}/s }}
    protocol = lmtp
    hostname = mx.example.com
    domains = {{ example.com, *.example.org }}
    application = scripts
    validate = {folder}/v.php
    save = /srv/s.php
    auth = {folder}/a.php
    maildir = {folder}/box
    deny = {{ 192.0.2.1, unix }}
    tls = required
    tls-cert = {folder}/c.pem
    tls-key = {folder}/k.pem
    size-max = 5M
    greet-delay = 2s
}}
"""
    (folder / "f").write_text(out)
    assert printed("-c", folder / "f") == out


def test_quotes_in_options(folder):
    weird = 'a "b" \\c {d}'
    out = printed("--maildir", weird, cwd=folder)
    (folder / "f").write_text(out)
    assert printed("-c", folder / "f") == out
    assert '\\"b\\" \\\\c {d}"' in out


def test_without_an_application_php_is_started(folder):
    (folder / "save.php").write_text("<?php echo 'SAVED';")
    out = printed("--save", "save.php", cwd=folder)
    assert "    spawn-php = auto\n" in out and f"    chdir = {folder}\n" in out and f"    save = {folder}/save.php\n" in out
    assert "cannot run nothing.php: No such file" in refused(64, "--save", "nothing.php", cwd=folder)


@pytest.mark.parametrize("args, said", [
    ([], "where shall mail go? --maildir DIR or --save FILE, or -c FILE"),
    (["--hosts", "example.com"], "where shall mail go?"),
    (["-c", "f", "--lmtp"], "a configuration and options of a service do not go together"),
    (["-c", "f", "--guerrilla", "g"], "do not go together"),
    (["--maildir", "m", "x"], "it takes no arguments but options"),
    (["--maildir", "m", "--set", "x"], "--set x: a setting is expected, as NAME=VALUE"),
    (["--maildir", "m", "--set", "a b=1"], "a setting is expected"),
    (["--maildir", "m", "--set", "bogus=1"], "there is no 'bogus' in a mail service"),
    (["--maildir", "m", "--max-size", "x"], "'size-max = x': a size is expected"),
    (["--maildir", "m", "--tls", "x"], "'tls = x': off | starttls | required | implicit is expected"),
    (["--maildir", "m", "--tls", "required"], "'tls = required' needs 'tls-cert', a certificate"),
    (["--maildir", "m", "--log", "x"], "'mail-log-format = x': text | json is expected"),
    (["--maildir", "m", "--threads", "0"], "'threads = 0'"),
    (["--maildir", "m", "--io", "x"], "'io = x'"),
    (["--maildir", "m", "--listen", "x"], "'x' in 'listen'"),
    (["--maildir", "m", "--hosts", "a,b c"], "'b c' in 'domains'"),
    (["--bogus"], "unrecognized option"),
    (["--listen"], "requires an argument"),
])
def test_wrong_options(folder, args, said):
    err = refused(64, *args, cwd=folder)
    assert said in err
    assert not os.listdir(folder)


def test_the_help_lists_every_option():
    r = ferry("help", "mail")
    assert r.returncode == 0 and r.stdout.startswith("usage: ferry mail -c FILE")
    assert ferry("mail", "--help").stdout == r.stdout
    assert "--rcpt ADDRESS" in ferry("mail", "check", "--help").stdout


def test_no_open_relay_by_accident(folder):
    """2.6: any domain on an address that others reach must be said."""
    for listen in (":0", "0.0.0.0:0", "[::]:0"):
        for more in ([], ["--hosts", "."], ["--hosts", "example.com,*"]):
            assert "anybody could send mail to anywhere" in \
                refused(64, "--listen", listen, "--maildir", folder / "m", *more)
    for more in (["--accept-all"], ["--hosts", "example.com"],
                 ["--auth", "/a.php", "--app", ":9000", "--set", "protocol=submission"]):
        printed("--listen", ":0", "--maildir", folder / "m", *more)
    for listen in ("127.0.0.1:0", "[::1]:0", "unix:" + str(folder / "s"), "10.1.2.3:25", "192.168.1.1:25"):
        printed("--listen", listen, "--maildir", folder / "m")


def test_an_inherited_socket_is_no_open_relay_either(folder):
    with socket.create_server(("0.0.0.0", 0)) as s:
        r = subprocess.run([BUILD / "ferry", "mail", "--listen", f"fd:{s.fileno()}", "--maildir", folder / "m"],
                           pass_fds=[s.fileno()], stderr=subprocess.PIPE, text=True, timeout=60)
    assert r.returncode == 78 and "anybody could send mail to anywhere" in r.stderr


def test_lmtp_is_not_for_port_25(folder):
    """K12"""
    assert "LMTP does not belong on port 25 (RFC 2033, 5)" in \
        refused(64, "--lmtp", "--listen", "127.0.0.1:25", "--maildir", folder / "m")
    printed("--lmtp", "--listen", "127.0.0.1:24", "--maildir", folder / "m")


def test_the_program_for_mail_is_missed(folder):
    shutil.copy(BUILD / "ferry", folder / "ferry")
    r = subprocess.run([folder / "ferry", "mail", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       timeout=60)
    if r.returncode == 0:
        pytest.skip("ferry-mail is installed on this machine")
    assert r.returncode == 1 and "the program ferry-mail is not there" in r.stderr
    (folder / "ferry-mail").write_text("#!/bin/sh\necho \"$0 $*\"\n")
    (folder / "ferry-mail").chmod(0o755)
    r = subprocess.run([folder / "ferry", "mail", "-c", "x"], stdout=subprocess.PIPE, text=True, timeout=60)
    assert r.stdout == f"{folder}/ferry-mail -c x\n"


# -- go-guerrilla ------------------------------------------------------------------------------------------------------

BACKEND = {"save_process": "HeadersParser|Header|Hasher|Debugger|FastCGI", "validate_process": "FastCGI",
           "fcgi_script_filename_save": "/srv/save.php", "fcgi_script_filename_validate": "/srv/validate.php",
           "fcgi_connection_type": "unix", "fcgi_connection_address": "/run/php/php-fpm.sock"}
SERVER = {"is_enabled": True, "listen_interface": "127.0.0.1:2525"}


def guerrilla(folder, top=None, server=None, servers=None, **backend):
    config = {"allowed_hosts": ["example.com"], "servers": servers if servers is not None else [{**SERVER, **(server or {})}],
              "backend_config": {k: v for k, v in {**BACKEND, **backend}.items() if v is not None}, **(top or {})}
    path = folder / "g.json"
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}, indent=1))
    return path


def test_guerrilla_becomes_ferrys_own(folder):
    path = guerrilla(folder, {"allowed_hosts": ["example.com", "*.example.org", "[192.0.2.1]"], "pid_file": "/run/g.pid",
                              "log_file": "/var/log/g.log"},
                     {"host_name": "mx.example.com", "max_size": 1000000, "timeout": 180, "max_clients": 200, "log_file": "stderr",
                      "tls": {"start_tls_on": False}},
                     save_workers_size=3, gw_save_timeout="1m30s", gw_val_rcpt_timeout="2.5s", log_received_mails=True)
    r = ferry("mail", "--guerrilla", path, "--print-config")
    assert (r.returncode, r.stderr) == (0, "")
    assert r.stdout == """pid-file = /run/g.pid
mail-log = /var/log/g.log

application fastcgi {
    connect = unix:/run/php/php-fpm.sock
    connections = 3
}

mail server-0 {
    listen = 127.0.0.1:2525
    hostname = mx.example.com
    domains = { example.com, *.example.org, [192.0.2.1] }
    application = fastcgi
    validate = /srv/validate.php
    save = /srv/save.php
    validate-timeout = 2500ms
    save-timeout = 90s
    headers = delivered
    debug = on
    tls = off
    size-max = 1000000
    clients-max = 200
    idle-timeout = 3m
}
"""
    assert ferry("config", "dump", "--guerrilla", path).stdout == r.stdout
    assert ferry("mail", "--guerrilla", path, "-t").returncode == 0
    (folder / "f").write_text(r.stdout)
    assert printed("-c", folder / "f") == r.stdout


def test_guerrilla_has_the_same_defaults(folder):
    path = folder / "g.json"
    path.write_text(json.dumps({"backend_config": {**BACKEND, "validate_process": None, "save_process": "FastCGI"}}))
    out = printed("--guerrilla", path)
    assert "    listen = 127.0.0.1:2525\n" in out
    assert f"    domains = {socket.gethostname()}\n" in out
    assert "size-max = 10M\n" in out and "clients-max = 100\n" in out and "idle-timeout = 30s\n" in out
    assert "headers = none\n" in out  # no Header in the chain
    assert "validate" not in out  # all are good


@pytest.mark.parametrize("key", ["fcgi_script_filename_save", "fcgi_script_filename_validate", "fcgi_connection_type",
                                 "fcgi_connection_address"])
@pytest.mark.parametrize("value", [None, 3, ["x"]])
def test_guerrilla_says_which_key_is_missing(folder, key, value):
    """In go-guerrilla's words."""
    err = refused(78, "--guerrilla", guerrilla(folder, **{key: value}))
    assert err == (f"ferry: {folder}/g.json: failed to load backend config "
                   f"(missing/invalid: '{key}' of type: string)\n")


@pytest.mark.parametrize("change, said", [
    (dict(save_process="HeadersParser|Header|Debugger"), "'save_process' stores nothing: FastCGI or MailDir must be in it"),
    (dict(save_process=None), "'save_process' stores nothing"),
    (dict(save_process="FastCGI|redis"), "the processor 'redis' is not supported"),
    (dict(save_process="FastCGI|Bogus"), "processor [Bogus] not found"),
    (dict(validate_process="MailDir"), "the processor 'maildir' is not supported in 'validate_process'"),
    (dict(fcgi_connection_type="carrier-pigeon"), "unknown network carrier-pigeon"),
    (dict(gw_save_timeout="soon"), "'gw_save_timeout' is no duration: soon"),
    (dict(save_process="MailDir"), "failed to load backend config (missing/invalid: 'maildir_path' of type: string)"),
    (dict(save_process="MailDir", maildir_path="/var/mail/[user]"), "'[user]' in 'maildir_path' is not supported"),
    (dict(top={"allowed_hosts": ["mail.*"]}), "of patterns only *.example.com is supported"),
    (dict(top={"allowed_hosts": "example.com"}), "'allowed_hosts' must be a list of hosts"),
    (dict(top={"servers": {}}), "'servers' must be a list of servers"),
    (dict(servers=[{"is_enabled": True}]), "listen interface not specified for server at index 0"),
    (dict(servers=[{**SERVER, "is_enabled": False}]), "no server is enabled"),
    (dict(servers=[SERVER, SERVER]), "listens on 127.0.0.1:2525 already"),
    (dict(server={"max_size": -1}), "'max_size' must be a whole number"),
    (dict(server={"timeout": "30"}), "'timeout' must be a whole number"),
    (dict(server={"host_name": 3}), "'host_name' must be a string"),
    (dict(server={"tls": {"start_tls_on": True}}), "PublicKeyFile is empty"),
    (dict(server={"tls": {"start_tls_on": True}}), "PrivateKeyFile is empty"),
    (dict(server={"tls": {"start_tls_on": True, "public_key_file": "/no.pem", "private_key_file": "/no.key"}}),
     "could not stat key for server [127.0.0.1:2525], stat /no.pem: No such file or directory"),
    (dict(server={"tls": {"tls_always_on": True, "public_key_file": "/dev/null", "private_key_file": "/dev/null",
                          "ciphers": ["TLS_BOGUS"]}}), "'TLS_BOGUS' in 'ciphers' is not known"),
])
def test_guerrilla_what_cannot_be_done_is_an_error(folder, change, said):
    err = refused(78, "--guerrilla", guerrilla(folder, **change))
    assert said in err
    assert all(line.startswith(f"ferry: {folder}/g.json: ") for line in err.splitlines())


def test_guerrilla_json_that_is_none(folder):
    (folder / "g.json").write_text('{\n "servers": [\n}')
    assert re.search(r"g.json:3: .*near '}'", refused(78, "--guerrilla", folder / "g.json"))
    (folder / "g.json").write_text("[]")
    assert "an object is expected" in refused(78, "--guerrilla", folder / "g.json")
    assert "cannot be read: No such file" in refused(78, "--guerrilla", folder / "none")


def test_guerrilla_what_is_passed_over_is_named(folder):
    path = guerrilla(folder, {"log_level": "debug", "typo": 1, "log_file": "stdout"},
                     {"xclient_on": True, "log_file": "x", "proxyon": True, "other": 1},
                     primary_mail_host="x.example", sleep_seconds=1, gw_save_timeout="10m",
                     save_process="Compressor|FastCGI", more=1)
    r = ferry("mail", "--guerrilla", path, "--print-config")
    assert r.returncode == 0
    for what in ("'typo' in the configuration is not known", "'other' in a server is not known",
                 "'more' in 'backend_config' is not known", "'log_level' is ignored", "'log_file' stdout",
                 "'log_file' of 127.0.0.1:2525 is ignored", "'xclient_on' of 127.0.0.1:2525 holds for this machine alone",
                 "'primary_mail_host' is ignored", "'sleep_seconds' is ignored", "'gw_save_timeout' is 120 s here",
                 "the processor 'compressor' is ignored"):
        assert r.stderr.count(what) == 1, what
    assert "xclient-from = { 127.0.0.0/8, ::1 }\n" in r.stdout
    assert "proxy-from = { 0.0.0.0/0, ::/0, unix }\n" in r.stdout
    assert "save-timeout = 2m\n" in r.stdout
    assert ferry("mail", "-q", "--guerrilla", path, "--print-config").stderr == ""


def test_guerrilla_a_dot_is_any_host(folder):
    out = printed("--guerrilla", guerrilla(folder, {"allowed_hosts": ["."]}, {"listen_interface": "0.0.0.0:2525"}))
    assert "    accept-all = on\n" in out and "domains" not in out
    assert "anybody could send mail" in refused(78, "--guerrilla", guerrilla(folder, {"allowed_hosts": ["*"]},
                                                                            {"listen_interface": "0.0.0.0:2525"}))


def test_guerrilla_tls(folder):
    for name in ("c.pem", "k.pem"):
        (folder / name).write_text("")
    tls = {"start_tls_on": True, "public_key_file": str(folder / "c.pem"), "private_key_file": str(folder / "k.pem"),
           "protocols": ["tls1.0", "tls1.3"], "ciphers": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"],
           "curves": ["P256", "X25519"], "client_auth_type": "RequireAndVerifyClientCert", "root_cas_file": "/ca.pem"}
    out = printed("--guerrilla", guerrilla(folder, server={"tls": tls}))
    for line in (f"tls-cert = {folder}/c.pem", f"tls-key = {folder}/k.pem", "tls-min = 1.0", "tls-max = 1.3",
                 "tls-ciphers = ECDHE-RSA-AES128-GCM-SHA256", "tls-ciphersuites = TLS_AES_128_GCM_SHA256",
                 "tls-curves = P-256:X25519", "tls-clients = need", "tls-client-ca = /ca.pem"):
        assert f"    {line}\n" in out, line
    out = printed("--guerrilla", guerrilla(folder, server={"tls": {**tls, "tls_always_on": True}}))
    assert "    tls = implicit\n" in out


def test_guerrilla_tls_as_it_was(folder):
    """Up to 1.5 the keys of TLS stood in the server: who brings such a file is not to serve in clear text."""
    for name in ("c.pem", "k.pem", "other.pem"):
        (folder / name).write_text("")
    old = {"start_tls_on": False, "tls_always_on": True, "public_key_file": str(folder / "c.pem"),
           "private_key_file": str(folder / "k.pem")}
    r = ferry("mail", "--guerrilla", guerrilla(folder, server=old), "--print-config")
    assert (r.returncode, r.stderr) == (0, "")
    for line in ("tls = implicit", f"tls-cert = {folder}/c.pem", f"tls-key = {folder}/k.pem"):
        assert f"    {line}\n" in r.stdout, line
    assert "PublicKeyFile is empty" in refused(78, "--guerrilla", guerrilla(folder, server={**old, "public_key_file": ""}))
    new = {"tls": {**old, "public_key_file": str(folder / "other.pem")}}
    r = ferry("mail", "--guerrilla", guerrilla(folder, server={**old, **new}), "--print-config")
    assert r.returncode == 0 and f"tls-cert = {folder}/other.pem" in r.stdout
    assert "'public_key_file' of 127.0.0.1:2525 is ignored: it has 'tls'" in r.stderr


# -- starting ----------------------------------------------------------------------------------------------------------

def deliver(port, rcpt="ok@example.com", text="Subject: x\r\n\r\nhi\r\n"):
    """The last reply to a message."""
    with Smtp(port) as c:
        for command in ("EHLO client.example", "MAIL FROM:<a@b.example>", f"RCPT TO:<{rcpt}>", "DATA"):
            reply = c.command(command)
            if reply.code not in (250, 354):
                return reply
        return c.command((text + ".\r\n").encode())


def caught(box):
    """The messages in a Maildir."""
    return sorted((box / "new").iterdir()) if (box / "new").exists() else []


def test_a_catcher_needs_nothing(folder):
    mail = Mail(folder / "run", args=["--listen", "127.0.0.1:0", "--maildir", folder / "box"])
    try:
        assert re.fullmatch(r"smtp://127\.0\.0\.1:\d+\n", mail.out)
        assert deliver(mail.port, "anybody@anywhere.example").code == 250
        message, = caught(folder / "box")
        assert message.read_bytes().endswith(b"Subject: x\r\n\r\nhi\r\n")
    finally:
        mail.end()


@needs_php_fpm
def test_php_is_started_for_scripts(folder):
    """Set up for the largest message, in the form it has."""
    shutil.copy(EXAMPLES / "save.php", folder / "save.php")
    (folder / "store").mkdir()
    (folder / "store").chmod(0o777)  # PHP runs as www-data when root starts it
    mail = Mail(folder / "run", args=["--listen", "127.0.0.1:0", "--hosts", "example.com", "--save", folder / "save.php",
                                      "--set", "strict-token=on", "--set", "headers=none"],
                env={"ASAN_OPTIONS": "detect_leaks=0"})
    try:
        text = "Subject: large\r\n\r\n" + ("\u00fc" * 30 + "\r\n") * 100000
        assert deliver(mail.port, text=text).code == 250
        [stored] = (folder / "store").iterdir()
        assert stored.read_bytes() == text.encode()
        assert deliver(mail.port, "x@other.example").code == 550
    finally:
        mail.end()


def test_where_it_listens_is_printed(folder):
    """V05"""
    config = f"""
{'sandbox = off' if SANITIZED else ''}
mail a {{ listen = {{ 127.0.0.1:0, "[::1]:0", unix:{folder}/a }} maildir = {folder}/box }}
mail b {{ listen = 127.0.0.1:0 protocol = lmtp maildir = {folder}/box }}
mail c {{ listen = unix:{folder}/c protocol = lmtp maildir = {folder}/box }}
"""
    mail = Mail(folder / "run", config=config)
    try:
        wait_until(lambda: mail.out.count("\n") == 5)
        kinds = [re.sub(r"\d+$", "N", line) for line in mail.out.splitlines()]
        assert kinds == ["smtp://127.0.0.1:N", "smtp://[::1]:N", f"smtp:unix:{folder}/a", "lmtp://127.0.0.1:N",
                         f"lmtp:unix:{folder}/c"]
        ports = [int(re.search(r"\d+$", line)[0]) for line in mail.out.splitlines() if line[-1].isdigit()]
        assert len(set(ports)) == 3
        for where in (ports[0], ("::1", ports[1]), folder / "a", ports[2], folder / "c"):
            with Smtp(where) as c:
                lmtp = where in (ports[2], folder / "c")
                assert c.command("LHLO x" if lmtp else "EHLO x").code == 250
                c.send("EHLO x\r\n" if lmtp else "LHLO x\r\n")
                assert c.reply().code == 500
    finally:
        mail.end()
    assert not (folder / "a").exists() and not (folder / "c").exists()


def test_an_address_that_is_taken(folder):
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
        err = refused(1, "--listen", f"127.0.0.1:{port}", "--maildir", folder / "m")
    assert f"cannot listen on 127.0.0.1:{port}" in err and "--listen" in err


def test_sockets_of_systemd(folder):
    """V03: a socket that was inherited."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
        mail = Mail(folder / "run", args=["--listen", f"fd:{s.fileno()}", "--maildir", folder / "box"], fds=[s.fileno()])
    try:
        assert mail.port == port
        assert deliver(port).code == 250
    finally:
        mail.end()


def test_systemd_is_told(folder):
    """V03: Type=notify and WatchdogSec."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(folder / "notify"))
        s.settimeout(60)
        said = []

        def hear(what):
            while what not in said:
                said.extend(s.recv(4096).decode().split("\n"))
            said.clear()

        config = f"{'sandbox = off' if SANITIZED else ''}\nmail a {{ listen = 127.0.0.1:0 maildir = {folder}/box }}\n"
        mail = Mail(folder / "run", config=config, env={"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "200000"})
        try:
            hear("READY=1")
            hear("WATCHDOG=1")
            mail.process.send_signal(signal.SIGHUP)
            hear("RELOADING=1")
            hear("READY=1")
            mail.process.send_signal(signal.SIGTERM)
            hear("STOPPING=1")
        finally:
            mail.process.wait(60)
            mail.end()


@AS_ROOT
def test_rights_are_given_up(folder):
    """V04: a low port is bound, a certificate's key and a Maildir made as root; then the worker is somebody else."""
    user = pwd.getpwnam("nobody")
    config = f"""
user = nobody
{'sandbox = off' if SANITIZED else ''}
mail-log = {folder}/log
mail a {{ listen = 127.0.0.1:0 maildir = {folder}/box }}
"""
    mail = Mail(folder / "run", config=config)
    try:
        assert deliver(mail.port).code == 250
        message, = caught(folder / "box")
        assert message.stat().st_uid == user.pw_uid
        assert (folder / "box").stat().st_uid == user.pw_uid
        assert (folder / "log").stat().st_uid == 0
        status = pathlib.Path(f"/proc/{mail.worker()}/status").read_text()
        assert re.search(r"Uid:\s+(\d+)\s+\1\s+\1\s+\1", status)[1] == str(user.pw_uid)
        assert re.search(r"Gid:\s+(\d+)", status)[1] == str(grp.getgrgid(user.pw_gid).gr_gid)
    finally:
        mail.end()


@pytest.mark.skipif(SANITIZED, reason="LeakSanitizer cannot work in it")
def test_the_sandbox_leaves_what_mail_needs(folder):
    """A Maildir, a spool for large messages, and the character sets of headers, which are loaded when one is met."""
    config = f"mail a {{ listen = 127.0.0.1:0 maildir = {folder}/box spool-mem = 4k debug = on }}\n"
    mail = Mail(folder / "run", config=config)
    try:
        assert "Seccomp:\t2" in pathlib.Path(f"/proc/{mail.worker()}/status").read_text()
        assert deliver(mail.port, text="Subject: x\r\n\r\n" + "x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 20000).code == 250
        for charset, word in (("iso-2022-jp", "GyRCJDMbKEI="), ("koi8-r", "8NLJ18XU"), ("gb2312", "xOO6ww==")):
            assert deliver(mail.port, text=f"Subject: =?{charset}?B?{word}?=\r\n\r\nx\r\n").code == 250
        assert len(caught(folder / "box")) == 4
    finally:
        mail.end()


def test_another_spool(folder):
    (folder / "spool").mkdir(mode=0o700)
    config = f"spool = {folder}/spool\n{'sandbox = off' if SANITIZED else ''}\n" \
             f"mail a {{ listen = 127.0.0.1:0 maildir = {folder}/box spool-mem = 4k }}\n"
    mail = Mail(folder / "run", config=config)
    try:
        with Smtp(mail.port) as c:
            for command in ("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<ok@example.com>", "DATA"):
                assert c.command(command).code in (250, 354)
            c.send("x: y\r\n\r\n" + ("y" * 70 + "\r\n") * 20000)
            fds = pathlib.Path(f"/proc/{mail.worker()}/fd")
            wait_until(lambda: any(os.readlink(fd).startswith(f"{folder}/spool/") for fd in fds.iterdir() if fd.is_symlink()))
            assert c.command(b".\r\n").code == 250
    finally:
        mail.end()
    assert not list((folder / "spool").iterdir())


# -- reloading ---------------------------------------------------------------------------------------------------------

def reload(mail, said="reloaded: the new configuration is in force"):
    before = mail.err.count(said)
    mail.process.send_signal(signal.SIGHUP)
    wait_until(lambda: mail.err.count(said) > before, 60)


def test_reload_changes_what_new_sessions_see():
    """V02: domains, limits, script paths."""
    with mailing() as (mail, scripts):
        port = mail.port
        scripts.other = lambda asked: "SAVED"
        with Smtp(port) as c:
            assert c.command("EHLO x").code == 250
            old = c.command("EHLO x")
            assert "SIZE 26214400" in old.text
            mail.write(domains=["other.example"], size_max=1000, save="/other.php",
                       hostname="new.example.com")
            # The old session has nothing under way, so it is told; the port is the same.
            before = mail.worker()
            reload(mail)
            wait_until(lambda: mail.worker() != before)
            reply = c.reply()
            assert reply.code == 421 and c.closed()
        assert deliver(port).code == 550
        with Smtp(port) as c:
            assert "new.example.com" in c.greeting.text
            assert "SIZE 1000" in c.command("EHLO x").text
        assert deliver(port, "ok@other.example").code == 250
        assert len(scripts.of("other")) == 1 and not scripts.saved


def test_a_bad_reload_changes_nothing():
    with mailing() as (mail, scripts):
        good = mail.config_path.read_text()
        for text, said in ((good.replace("hostname", "hostnam"), "did you mean 'hostname'?"),
                           (good + "mail b { listen = :2525 maildir = /tmp/x }\n", "anybody could send mail to anywhere"),
                           (good.replace("mail inbound {", "mail inbound { tls-cert = /not/there.pem"), "/not/there.pem"),
                           ("site { listen = 127.0.0.1:0 route \"*\" { files { root = / } } }", "there is no mail service")):
            mail.write(text)
            reload(mail, "reload failed: the configuration stays as it was")
            assert said in mail.err
            assert deliver(mail.port).code == 250
        mail.write(good)
        reload(mail)
        assert deliver(mail.port).code == 250


def test_a_reload_in_the_middle_of_a_message():
    """What is being sent may be sent, and is saved; new sessions are the new worker's."""
    with mailing() as (mail, scripts):
        port = mail.port
        with Smtp(port) as c:
            for command in ("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<ok@example.com>", "DATA"):
                assert c.command(command).code in (250, 354)
            c.send("Subject: slow\r\n\r\n")
            mail.write(hostname="new.example.com")
            reload(mail)
            with Smtp(port) as other:
                assert "new.example.com" in other.greeting.text
            assert c.command(b"text\r\n.\r\n").code == 250
            assert len(scripts.saved) == 1


def test_no_mail_is_lost_while_it_reloads():
    """Every connection is served or told to come again, by 421; what was answered 250 is saved, once."""
    with mailing(top="threads = 2") as (mail, scripts):
        port, done, good, wrong = mail.port, threading.Event(), [], []

        def code(c):
            """Of the next reply; 0 at the end."""
            line = c.line()
            while line and line[3:4] == b"-":
                line = c.line()
            return int(line[:3]) if line else 0

        def send(worker):
            number = 0
            while not done.is_set():
                number += 1
                try:
                    with Smtp(port, greeting=False) as c:
                        last = code(c)
                        for command in ("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<ok@example.com>", "DATA",
                                        f"Subject: {worker}-{number}\r\n\r\nx\r\n."):
                            if last // 100 in (2, 3):
                                c.send(command + "\r\n")
                                last = code(c)
                        if last == 250:
                            good.append(f"{worker}-{number}".encode())
                        elif last != 421:
                            wrong.append(last)
                except (ConnectionError, AssertionError, TimeoutError) as e:
                    wrong.append(repr(e))

        threads = [threading.Thread(target=send, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        try:
            for _ in range(8):
                reload(mail)
        finally:
            done.set()
            for t in threads:
                t.join()
        assert not wrong, wrong[:5]
        assert len(good) > 8
        saved = [a.fields["subject"] for a in scripts.saved]
        assert sorted(saved) == sorted(good)


def test_an_inherited_listener_survives_reloads(folder):
    config = f"{'sandbox = off' if SANITIZED else ''}\nmail a {{ listen = 127.0.0.1:0 maildir = {folder}/box }}\n" \
             f"mail b {{ listen = 127.0.0.1:0 maildir = {folder}/box2 }}\n"
    mail = Mail(folder / "run", config=config)
    try:
        wait_until(lambda: mail.out.count("\n") == 2)
        a, b = mail.addresses
        assert a != b
        reload(mail)
        assert deliver(a).code == 250 and deliver(b).code == 250
        assert len(caught(folder / "box")) == len(caught(folder / "box2")) == 1
    finally:
        mail.end()


def test_the_log_is_opened_anew(folder):
    config = f"{'sandbox = off' if SANITIZED else ''}\nmail-log = {folder}/log\nmail-log-format = json\n" \
             f"mail a {{ listen = 127.0.0.1:0 maildir = {folder}/box }}\n"
    mail = Mail(folder / "run", config=config)
    try:
        log = folder / "log"
        assert deliver(mail.port).code == 250
        wait_until(lambda: "\n" in log.read_text())
        for line in log.read_text().splitlines():
            assert isinstance(json.loads(line), dict)
        log.rename(folder / "old")
        mail.process.send_signal(signal.SIGUSR1)
        wait_until(log.exists)
        size = (folder / "old").stat().st_size
        wait_until(lambda: deliver(mail.port).code == 250 and log.stat().st_size > 0)
        assert (folder / "old").stat().st_size >= size
    finally:
        mail.end()


def test_it_ends_when_it_is_told(folder):
    """V01: idle sessions get 421, a message that is being saved is saved first."""
    with mailing() as (mail, scripts):
        saving, go_on = threading.Event(), threading.Event()

        def save(asked):
            saving.set()
            assert go_on.wait(60)
            return "SAVED"

        scripts.save = save
        idle, busy = Smtp(mail.port), Smtp(mail.port)
        with contextlib.closing(idle), contextlib.closing(busy):
            assert idle.command("EHLO x").code == 250
            for command in ("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<ok@example.com>", "DATA"):
                assert busy.command(command).code in (250, 354)
            busy.send(b"x: y\r\n\r\n.\r\n")
            assert saving.wait(60)
            mail.process.send_signal(signal.SIGTERM)
            assert idle.reply().code == 421 and idle.closed()
            assert mail.process.poll() is None
            go_on.set()
            assert busy.reply().code == 250
            assert mail.process.wait(60) == 0


def test_options_without_a_file_end_with_sighup(folder):
    mail = Mail(folder / "run", args=["--listen", "127.0.0.1:0", "--maildir", folder / "box"])
    mail.process.send_signal(signal.SIGHUP)
    assert mail.process.wait(60) == 0
    mail.end()


def test_guerrilla_runs_and_reloads(folder):
    (folder / "box").mkdir()
    path = guerrilla(folder, {"allowed_hosts": ["example.com"]}, {"listen_interface": "127.0.0.1:0"},
                     save_process="HeadersParser|MailDir", validate_process=None, maildir_path=str(folder / "box"))
    mail = Mail(folder / "run", args=["--guerrilla", path], io=None, env={"ASAN_OPTIONS": "detect_leaks=0"})  # a sandbox
    try:
        port = mail.port
        assert deliver(port).code == 250 and deliver(port, "x@other.example").code == 550
        assert caught(folder / "box")[0].read_bytes() == b"Subject: x\r\n\r\nhi\r\n"  # no Header in the chain
        guerrilla(folder, {"allowed_hosts": ["other.example"]}, {"listen_interface": "127.0.0.1:0"},
                  save_process="HeadersParser|Header|MailDir", validate_process=None, maildir_path=str(folder / "box"))
        reload(mail)
        assert deliver(port, "x@other.example").code == 250 and deliver(port).code == 550
    finally:
        mail.end()


def test_what_was_counted_adds_up(folder):
    """V09: a line at the end of a worker."""
    with mailing(top="mail-log-format = json", size_max=5000) as (mail, scripts):
        scripts.save = lambda asked: {b"good": "SAVED", b"no": "REJECT", b"later": "DEFER"}[asked.fields["subject"]]
        for subject, code in (("good", 250), ("good", 250), ("no", 554), ("later", 451), ("good", 250)):
            assert deliver(mail.port, text=f"Subject: {subject}\r\n\r\nx\r\n").code // 100 == code // 100
        assert deliver(mail.port, text="Subject: good\r\n\r\n" + "x" * 70 + "\r\n" + 100 * ("y" * 70 + "\r\n")).code == 552
        assert deliver(mail.port, "unknown@example.com").code == 550
        with Smtp(mail.port) as c:
            for command in ("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<ok@example.com>", "DATA"):
                assert c.command(command).code in (250, 354)
        wait_until(lambda: '"result":"aborted"' in mail.err, 30)
        mail.stop()
        counts = [json.loads(line) for line in mail.err.splitlines() if '"counts"' in line]
        assert len(counts) == 1
        n = counts[0]
        assert n["accepted"] == n["saved"] + n["rejected"] + n["deferred"] + n["aborted"]
        assert (n["saved"], n["rejected"], n["deferred"], n["aborted"]) == (3, 2, 1, 1)
        assert n["connections"] == 8 and n["sessions"] == 0 and n["recipients"] == 8 and n["recipients_ok"] == 7


# -- ferry mail check --------------------------------------------------------------------------------------------------

def checked(folder, services, *args, address="unix:/run/nobody.sock"):
    (folder / "f").write_text(f'application php {{ connect = "{address}" }}\n' + "".join(
        f"mail {name} {{ listen = 127.0.0.1:0 application = php {text} }}\n" for name, text in services.items()))
    r = ferry("mail", "check", "-c", folder / "f", *args, timeout=120)
    assert not r.stderr, r.stderr
    return r.returncode, r.stdout


@needs_php_fpm
def test_check_finds_what_is_wrong_with_php(folder):
    """V11"""
    for name in ("validate.php", "save.php", "auth.php"):
        shutil.copy(EXAMPLES / name, folder / name)
    for name, text in {"seed.php": '<?php echo "SAVED";', "dies.php": "<?php nothing();", "empty.php": "<?php ",
                       "no.txt": "x", "words.php": '<?php echo "Hello";',
                       "later.php": '<?php error_log("the disk is away"); echo "DEFER later";', "raw.php": """<?php
                       echo "SAVED ", hash("sha256", file_get_contents("php://input"));"""}.items():
        (folder / name).write_text(text)
    (folder / "recipients.txt").write_text("*@example.com\n")
    (folder / "users.txt").write_text("")
    with php_fpm(folder / "fpm") as (_, address):
        def one(text, *args):
            code, out = checked(folder, {"m": text}, *args, address=address)
            return code, out.removeprefix("m: ").rstrip("\n")

        code, out = checked(folder, {"m": "domains = example.com validate = validate.php save = save.php auth = auth.php "
                                          "size-max = 2M strict-token = on"}, address=address)
        assert (code, out) == (0, f"m: validate {folder}/validate.php: ok, PASS\n"
                                  f"m: save {folder}/save.php: ok, SAVED, and it has seen the whole message\n"
                                  f"m: auth {folder}/auth.php: ok, it says no to a password that nobody has\n")
        assert not (folder / "store").exists()  # it was a probe
        code, out = one("validate = validate.php save = save.php size-max = 1M", "--rcpt", "x@other.example")
        assert code == 1 and "validate.php: it says no to x@other.example: REJECT 550 5.1.1" in out
        code, out = one("validate = validate.php save = save.php size-max = 1M")
        assert code == 0 and "it says no to a recipient that need not be (--rcpt names one that is)" in out
        for text, said in (
                ("save = nothing.php", "there is no such script for the application (404)"),
                ("save = no.txt", "the application may not run it (403): see 'security.limit_extensions'"),
                ("save = save.php", "it has not seen the whole message of 26214400 bytes, which is a form of up to 77M: "
                                    "post_max_size of PHP must be more than that"),
                ("save = seed.php", "post_max_size of PHP must be more than that"),
                ("save = save.php format = multipart", "post_max_size and upload_max_filesize of PHP must be 27M at least"),
                ("save = seed.php size-max = 1M strict-token = on", "it must answer SAVED and the token"),
                ("save = dies.php size-max = 1M", "it fails with status 500: PHP message: PHP Fatal error"),
                ("save = empty.php size-max = 1M", "it answers nothing: is there an error in it?"),
                ("save = later.php size-max = 1M", "it will not have the message: DEFER later; it wrote: PHP message: the disk is away"),
                ("save = words.php validate = later.php size-max = 1M", "it says that it cannot tell now: DEFER later; it wrote: "),
                ("save = words.php size-max = 1M", 'it answers "Hello", and not SAVED'),
                ("validate = seed.php save = raw.php format = rfc822", 'it answers "SAVED", and not PASS')):
            code, out = one(text)
            assert code == 1 and said in out, (text, out)
        assert one("save = raw.php format = rfc822 strict-token = on") == \
            (0, f"save {folder}/raw.php: ok, SAVED, and it has seen the whole message")
        code, out = one("save = seed.php size-max = 1M")
        assert code == 0 and "but without the token nobody knows whether it has seen the whole message" in out


def test_check_finds_an_application_that_is_not_there(folder):
    """V11"""
    services = {"m": "save = /s.php size-max = 10k"}
    assert "there is no socket unix:/run/nobody.sock: start the application 'php'" in checked(folder, services)[1]
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    assert f"nobody listens on 127.0.0.1:{port}" in checked(folder, services, address=f"127.0.0.1:{port}")[1]
    with socket.create_server(("127.0.0.1", 0)) as s:
        code, out = checked(folder, {"m": services["m"] + " save-timeout = 200ms"},
                            address="127.0.0.1:%d" % s.getsockname()[1])
        assert code == 1 and "no answer within 200 ms" in out
    (folder / "f").write_text("application php { spawn = { /bin/true } }\n"
                              "mail m { listen = 127.0.0.1:0 application = php save = /s.php }\n")
    r = ferry("mail", "check", "-c", folder / "f")
    assert r.returncode == 1 and "is started by ferry mail itself" in r.stdout


@AS_ROOT
def test_check_finds_a_socket_that_may_not_be_used(folder):
    """V11"""
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(folder / "s"))
        s.listen()
        (folder / "s").chmod(0o600)
        (folder / "f").write_text(f"application php {{ connect = unix:{folder}/s }}\n"
                                  "mail m { listen = 127.0.0.1:0 application = php save = /s.php size-max = 10k }\n")
        r = subprocess.run([BUILD / "ferry", "mail", "check", "-c", folder / "f"], user="nobody", text=True, timeout=60,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert r.returncode == 1 and f"we may not connect to unix:{folder}/s: let its 'listen.owner'" in r.stdout, r.stderr


def test_check_has_a_usage():
    for args in ([], ["-c", "a", "--guerrilla", "b"], ["-c", "a", "b"], ["--bogus"], ["-c", "f", "--rcpt", "x" * 301]):
        assert ferry("mail", "check", *args).returncode == 64
    assert ferry("mail", "check", "-c", "/nothing").returncode == 78
