# SPDX-License-Identifier: MIT
"""The gateways that stand before an application, in the tests and in the benchmarks: how each is configured and started.

    running = Nginx().start(folder, app="unix:/tmp/x/app.sock")    # or "127.0.0.1:9000"
    ... http://127.0.0.1:{running.port}/ ...
    running.stop()

Every one gets the same terms: a free port, two workers, no access log, its files in `folder`, connections to clients
and (where it can) to the application kept, its ordinary buffering unless `streaming` is asked for. The folder and the
application's socket must be open to every user, since some gateways give up root. An application sees the path that
was asked for in REQUEST_URI, and in SCRIPT_NAME or PATH_INFO, as each gateway divides it.
"""
import os
import shutil
import signal
import socket
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("FERRY_BUILD", "build"))
MODULES = "/usr/lib/apache2/modules"  # Apache's


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def find(*names):
    for name in names:
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if path:
            return path
    return None


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        f.write(text)
    return path


def unix_path(address):
    """The path of an address like unix:/path, None of one like host:port."""
    return address[5:] if address.startswith("unix:") else None


def listens_at(path):
    """Does anybody listen on this unix socket? Its file is there before that, and has another mode at first."""
    with open("/proc/net/unix") as f:
        return any(line.split()[3] == "00010000" and line.endswith(f" {path}\n") for line in f)


# -- processes


def process_tree(pid):
    """The process and all below it."""
    pids = [pid]
    for p in pids:
        try:
            for task in os.listdir(f"/proc/{p}/task"):
                with open(f"/proc/{p}/task/{task}/children") as f:
                    pids += [int(child) for child in f.read().split()]
        except OSError:
            pass
    return pids


def cpu_ns(pids):
    """Time on a processor of all threads of these processes, user and kernel."""
    total = 0
    for pid in pids:
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                    total += int(f.read().split()[0])
        except OSError:
            pass
    return total


def rss_kib(pids):
    """Memory of these processes, shared pages divided among those who share them."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as f:
                for line in f:
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
        except OSError:
            pass
    return total


class Running:
    """A started program and the folder of its files. It is there when this returns: something listens at `port`, at
    127.0.0.1, or at `path`. Nothing waits for a program that is given neither."""

    def __init__(self, argv, cwd, port=None, path=None, env=None, **more):
        self.folder = str(cwd)
        self.port = port
        self.path = path
        with open(os.path.join(cwd, "output"), "ab") as log:
            self.process = subprocess.Popen(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **(env or {})}, start_new_session=True, **more)
        end = time.monotonic() + 15
        while not self.listens():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError(f"{argv[0]} does not start:\n{self.output()}")
            time.sleep(0.01)

    def listens(self):
        if self.path:
            return listens_at(self.path)
        if not self.port:
            return True
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def pids(self):
        return process_tree(self.process.pid)

    def output(self):
        """What it has said, on its standard output and error and in its logs."""
        text = ""
        for name in sorted(os.listdir(self.folder)):
            if name == "output" or name.endswith(".log"):
                with open(os.path.join(self.folder, name), errors="replace") as f:
                    text += f.read()
        return text

    def kill(self):
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        return self.process.wait()

    def stop(self):
        """The exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            return self.kill()


def start_app(folder, *args, name="hello", address=None, env=None, io=None):
    """One of ferry's examples in a folder of its own, and where it listens. Users who are not root may use it."""
    program = os.path.join(BUILD, "examples", name)
    address = address or "unix:" + os.path.join(folder, "app.sock")
    path = unix_path(address)
    app = Running([program, address, *args], folder, path=path, port=None if path else int(address.split(":")[-1]),
                  env=env)
    if path:
        os.chmod(path, 0o777)
    return app, address


# -- gateways


class Gateway:
    """What they have in common.

    multiplexes   sends requests side by side over one connection to the application
    keeps         keeps connections to the application
    authorizes    start() takes `authorizer`, the address of another application that is asked before each request:
                  "role" as FCGI_AUTHORIZER, "subrequest" as an ordinary request of its own; None when it cannot.
                  The request that it lets pass has the name it found out as `user`
    notices       a client that leaves before it has an answer, and lets the application know; the others do when they
                  have something to send to that client
    """
    multiplexes = False
    keeps = True
    authorizes = None
    notices = False
    modules = ()
    names = ()  # of the program

    def __init__(self):
        self.program = find(*(self.names or [self.name]))

    def missing(self):
        """Why it cannot be used here, or None."""
        if not self.program:
            return f"{self.name} is not installed"
        for module in self.modules:
            if not os.path.exists(module):
                return f"{self.name}: there is no {module}"
        return None

    def version(self):
        argv, at = self.version_how
        run = subprocess.run([self.program, *argv], capture_output=True, text=True)
        return (run.stdout + run.stderr).split()[at].split("/")[-1].lstrip("v")

    def start(self, folder, app=None, root=None, streaming=False, authorizer=None):
        """In front of an application or of a folder of files; None when it does not do that."""
        folder = str(folder)
        for attempt in range(3):  # another may have taken the port meanwhile
            port = free_port()
            argv = self.argv(folder, port, app, root, streaming, authorizer)
            if not argv:
                return None
            try:
                homes = dict.fromkeys(["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"], folder)
                return Running(argv, folder, port=port, env=homes)
            except RuntimeError:
                if attempt == 2:
                    raise


class Ferry(Gateway):
    name = "ferry"
    notices = True
    version_how = ["version"], -1

    def __init__(self, name="ferry", *options):
        self.name = name
        self.options = options
        self.program = os.path.join(BUILD, "ferry")
        self.multiplexes = "on" in options

    def argv(self, folder, port, app, root, streaming, authorizer):
        return [self.program, "serve", "-l", f"127.0.0.1:{port}", "--access-log", "off", "-q", "--threads", "2",
                *self.options, *(["-a", app] if app else [root])]


class Nginx(Gateway):
    name = "nginx"
    version_how = ["-v"], 2
    authorizes = "subrequest"
    notices = True

    PARAMS = "".join(f" fastcgi_param {k} {v};\n" for k, v in [
        ("QUERY_STRING", "$query_string"), ("REQUEST_METHOD", "$request_method"), ("CONTENT_TYPE", "$content_type"),
        ("CONTENT_LENGTH", "$content_length"), ("SCRIPT_NAME", '""'), ("PATH_INFO", "$uri"),
        ("REQUEST_URI", "$request_uri"), ("DOCUMENT_URI", "$document_uri"), ("SERVER_PROTOCOL", "$server_protocol"),
        ("REQUEST_SCHEME", "$scheme"), ("GATEWAY_INTERFACE", "CGI/1.1"), ("SERVER_SOFTWARE", "nginx/$nginx_version"),
        ("REMOTE_ADDR", "$remote_addr"), ("REMOTE_PORT", "$remote_port"), ("SERVER_ADDR", "$server_addr"),
        ("SERVER_PORT", "$server_port"), ("SERVER_NAME", "$server_name"), ("REDIRECT_STATUS", "200")])

    def argv(self, folder, port, app, root, streaming, authorizer):
        upstreams, auth, asked = "", "", ""
        if app:
            how = "fastcgi_buffering off; fastcgi_request_buffering off;" if streaming else "fastcgi_buffers 16 16k;"
            location = f"fastcgi_pass app; fastcgi_keep_conn on; {how}\n{self.PARAMS}"
            upstreams = f"upstream app {{ server {app}; keepalive 64; }}"
        else:
            location = f"root {root};"
        if authorizer:
            upstreams += f" upstream auth {{ server {authorizer}; keepalive 64; }}"
            params = self.PARAMS.replace("$content_length", '""')
            auth = ("location = /_authorizer { internal; fastcgi_pass auth; fastcgi_keep_conn on;"
                    f" fastcgi_pass_request_body off;\n{params} }}")
            # What the answer says in a header Remote-User becomes a param of the request that it let pass.
            asked = ("auth_request /_authorizer; auth_request_set $who $upstream_http_remote_user;"
                     " fastcgi_param REMOTE_USER $who;")
        conf = write(folder, "nginx.conf", f"""
{"user root;" if os.geteuid() == 0 else ""}
worker_processes 2; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 15000; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; client_max_body_size 0;
 types {{ text/plain txt; }}
 client_body_temp_path {folder}/body; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
 uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
 {upstreams}
 server {{ listen 127.0.0.1:{port} reuseport; server_name localhost;
 {auth}
 location / {{ {asked} {location} }} }} }}
""")
        return [self.program, "-p", folder, "-c", conf, "-e", f"{folder}/error.log"]


class Lighttpd(Gateway):
    name = "lighttpd"
    version_how = ["-v"], 0
    keeps = False
    authorizes = "role"

    def argv(self, folder, port, app, root, streaming, authorizer):
        def host(address, more=""):
            path = unix_path(address)
            where = f'"socket" => "{path}"' if path else '"host" => "{}", "port" => {}'.format(*address.rsplit(":", 1))
            return f'( {where}, "check-local" => "disable", {more} )'

        hosts = [host(authorizer, f'"mode" => "authorizer", "docroot" => "{folder}",')] if authorizer else []
        hosts += [host(app)] if app else []
        conf = write(folder, "lighttpd.conf", f"""
server.document-root = "{root or folder}"
server.bind = "127.0.0.1"
server.port = {port}
server.max-worker = 2
server.max-connections = 15000
server.max-fds = 20000
server.max-keep-alive-requests = 1000000000
server.errorlog = "{folder}/error.log"
server.upload-dirs = ( "{folder}" )
mimetype.assign = ( ".txt" => "text/plain" )
""" + (f"""
server.modules = ( "mod_fastcgi" )
fastcgi.server = ( "/" => ( {", ".join(hosts)} ) )
""" if hosts else "") + ("""
server.stream-response-body = 1
server.stream-request-body = 1
""" if streaming else ""))
        return [self.program, "-D", "-f", conf]


class H2o(Gateway):
    name = "h2o"
    version_how = ["-v"], 2

    def argv(self, folder, port, app, root, streaming, authorizer):
        if app:
            path = unix_path(app)
            where = (f"port: {path}\n          type: unix" if path else
                     "host: {}\n          port: {}\n          type: tcp".format(*app.rsplit(":", 1)))
            handler = f"fastcgi.connect:\n          {where}\n        fastcgi.timeout.keepalive: 60000"
        else:
            handler = f"file.dir: {root}"
        conf = write(folder, "h2o.conf", f"""
num-threads: 2
max-connections: 15000
{"user: root" if os.geteuid() == 0 else ""}
hosts:
  default:
    listen:
      host: 127.0.0.1
      port: {port}
    paths:
      /:
        {handler}
""")
        return [self.program, "-c", conf]


class Haproxy(Gateway):
    names = ["haproxy"]
    version_how = ["-v"], 2

    def __init__(self, multiplex=False):
        super().__init__()
        self.name = "haproxy mpx" if multiplex else "haproxy"
        self.multiplexes = multiplex

    def argv(self, folder, port, app, root, streaming, authorizer):
        if not app:
            return None
        path = unix_path(app)
        conf = write(folder, "haproxy.cfg", f"""
global
    nbthread 2
    maxconn 9000
defaults
    mode http
    option abortonclose
    timeout client 60s
    timeout server 60s
    timeout connect 5s
    timeout http-keep-alive 60s
frontend web
    bind 127.0.0.1:{port}
    default_backend app
backend app
    use-fcgi-app hello
    http-reuse always
    server one {"unix@" + path if path else app} proto fcgi {"" if self.multiplexes else "pool-max-conn 64"}
fcgi-app hello
    docroot /srv
    option keep-conn
    pass-header authorization
    {"option mpxs-conns" if self.multiplexes else "no option mpxs-conns"}
    {"option max-reqs 64" if self.multiplexes else ""}
""")
        return [self.program, "-db", "-f", conf]


class Apache(Gateway):
    """mod_proxy_fcgi, and mod_authnz_fcgi for authorizers (which it reaches over TCP only)."""
    name = "apache"
    names = ["apache2", "httpd"]
    version_how = ["-v"], 2
    authorizes = "role"
    wanted = ["mpm_event", "authz_core", "authn_core", "authz_user", "auth_basic", "proxy", "proxy_fcgi",
              "authnz_fcgi"]
    modules = [f"{MODULES}/mod_{m}.so" for m in wanted]

    def common(self, folder, port, root):
        return f"""
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
ServerName localhost
Listen 127.0.0.1:{port}
DocumentRoot {root or folder}
KeepAlive On
MaxKeepAliveRequests 0
LimitRequestBody 0
<Location "/">
    CGIPassAuth On
</Location>
""" + "".join(f"LoadModule {m}_module {MODULES}/mod_{m}.so\n" for m in self.wanted) + """
StartServers 2
ServerLimit 2
ThreadsPerChild 64
MaxRequestWorkers 128
MinSpareThreads 1
MaxSpareThreads 128
""" + ("User nobody\nGroup nogroup\n" if os.geteuid() == 0 else "")

    def argv(self, folder, port, app, root, streaming, authorizer):
        conf = self.common(folder, port, root)
        if app:
            path = unix_path(app)
            where = f"unix:{path}|fcgi://localhost/" if path else f"fcgi://{app}/"
            conf += f'ProxyPass "/" "{where}" enablereuse=on {"flushpackets=on" if streaming else ""}\n'
        if authorizer:
            conf += f"""
AuthnzFcgiDefineProvider authn who fcgi://{authorizer}/
<Location "/">
    AuthType None
    AuthName ferry
    AuthnzFcgiCheckAuthnProvider who Authoritative On RequireBasicAuth Off UserExpr "%{{reqenv:REMOTE_USER}}"
    Require valid-user
</Location>
"""
        return [self.program, "-DFOREGROUND", "-f", write(folder, "apache.conf", conf)]


class ApacheFcgid(Apache):
    """mod_fcgid, which starts the program itself, with the socket on descriptor 0: `app` is the program's path."""
    name = "apache fcgid"
    keeps = False
    authorizes = None
    wanted = ["mpm_event", "authz_core", "fcgid"]
    modules = [f"{MODULES}/mod_{m}.so" for m in wanted]

    def argv(self, folder, port, app, root, streaming, authorizer):
        conf = self.common(folder, port, root) + f"""
FcgidIPCDir {folder}/fcgid
FcgidProcessTableFile {folder}/fcgid_shm
FcgidMaxRequestLen 1073741824
FcgidMaxProcesses 4
FcgidOutputBufferSize {"0" if streaming else "65536"}
<Location "/">
    SetHandler fcgid-script
    FcgidWrapper {app} virtual
    Options +ExecCGI
</Location>
"""
        return [self.program, "-DFOREGROUND", "-f", write(folder, "apache.conf", conf)]


class Caddy(Gateway):
    name = "caddy"
    version_how = ["version"], 0
    keeps = False
    authorizes = "subrequest"

    def argv(self, folder, port, app, root, streaming, authorizer):
        def upstream(address):
            path = unix_path(address)
            return f"unix/{path}" if path else address

        asked = f"""
    reverse_proxy {upstream(authorizer)} {{
        method GET
        transport fastcgi {{
            root /srv
        }}
        @passed status 2xx
        handle_response @passed {{
            request_header Remote-User {{rp.header.Remote-User}}
        }}
    }}""" if authorizer else ""
        served = f"""
    reverse_proxy {upstream(app)} {{
        {"flush_interval -1" if streaming else ""}
        transport fastcgi {{
            root /srv
        }}
    }}""" if app else f"""
    root * {root}
    file_server"""
        conf = write(folder, "Caddyfile", f"""
{{
    admin off
    auto_https off
    storage file_system {folder}
    log {{
        output file {folder}/error.log
        level ERROR
    }}
}}
http://127.0.0.1:{port}, http://localhost:{port} {{
    bind 127.0.0.1
    route {{{asked}{served}
    }}
}}
""")
        return [self.program, "run", "--config", conf, "--adapter", "caddyfile"]


def others():
    """One of each gateway that is not ferry, installed or not."""
    return [Nginx(), Lighttpd(), H2o(), Haproxy(False), Haproxy(True), Apache(), Caddy()]

