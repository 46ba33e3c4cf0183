# SPDX-License-Identifier: MIT
"""The gateways that are measured: how each is configured and started in front of the same application or folder.

Every one gets the same terms: two workers, no access log, connections to clients and (where it can) to the application
kept, its ordinary buffering.
"""
import os
import shutil
import signal
import socket
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.01)
    raise RuntimeError(f"nothing listens on port {port}")


def find(*names):
    for name in names:
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if path:
            return path
    return None


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
    """A started program and the folder of its files."""

    def __init__(self, argv, cwd, port=None, env=None):
        self.log = open(os.path.join(cwd, "output"), "ab")
        self.process = subprocess.Popen(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        env=env, start_new_session=True)
        if port:
            wait_for(port)
        self.port = port

    def pids(self):
        return process_tree(self.process.pid)

    def stop(self):
        pids = self.pids()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            self.process.wait()
        self.log.close()


def start_app(folder, *args):
    path = os.path.join(folder, "app.sock")
    app = Running([os.path.join(ROOT, "build/examples/hello"), "unix:" + path, *args], folder)
    end = time.monotonic() + 5
    while not os.path.exists(path):
        if time.monotonic() > end:
            raise RuntimeError("the application does not start")
        time.sleep(0.01)
    return app, path


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        f.write(text)
    return path


class Ferry:
    def __init__(self, name, *options):
        self.name = name
        self.options = options
        self.program = os.path.join(ROOT, "build/ferry")

    def version(self):
        return subprocess.run([self.program, "version"], capture_output=True, text=True).stdout.split()[-1]

    def start(self, folder, app=None, root=None):
        port = free_port()
        argv = [self.program, "serve", "-l", f"127.0.0.1:{port}", "--access-log", "off", "-q", "--threads", "2",
                *self.options]
        argv += ["-a", "unix:" + app] if app else [root]
        return Running(argv, folder, port)


class Nginx:
    name = "nginx"

    def __init__(self):
        self.program = find("nginx")

    def version(self):
        return subprocess.run([self.program, "-v"], capture_output=True, text=True).stderr.strip().split("/")[-1]

    def start(self, folder, app=None, root=None):
        port = free_port()
        if app:
            location = """fastcgi_pass app; fastcgi_keep_conn on; fastcgi_buffers 16 16k;
            """ + "".join(f"fastcgi_param {k} {v};\n" for k, v in [
                ("QUERY_STRING", "$query_string"), ("REQUEST_METHOD", "$request_method"),
                ("CONTENT_TYPE", "$content_type"), ("CONTENT_LENGTH", "$content_length"),
                ("SCRIPT_NAME", '""'), ("PATH_INFO", "$uri"), ("REQUEST_URI", "$request_uri"),
                ("DOCUMENT_URI", "$document_uri"), ("SERVER_PROTOCOL", "$server_protocol"),
                ("REQUEST_SCHEME", "$scheme"), ("GATEWAY_INTERFACE", "CGI/1.1"),
                ("SERVER_SOFTWARE", "nginx/$nginx_version"), ("REMOTE_ADDR", "$remote_addr"),
                ("REMOTE_PORT", "$remote_port"), ("SERVER_ADDR", "$server_addr"), ("SERVER_PORT", "$server_port"),
                ("SERVER_NAME", "$server_name"), ("REDIRECT_STATUS", "200")])
            upstream = f"upstream app {{ server unix:{app}; keepalive 64; }}"
        else:
            location, upstream = f"root {root};", ""
        conf = write(folder, "nginx.conf", f"""
worker_processes 2; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 15000; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; client_max_body_size 0;
 types {{ text/plain txt; }}
 client_body_temp_path {folder}/body; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
 uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
 {upstream}
 server {{ listen 127.0.0.1:{port} reuseport; server_name localhost; location / {{ {location} }} }} }}
""")
        return Running([self.program, "-p", folder, "-c", conf], folder, port)


class Lighttpd:
    name = "lighttpd"

    def __init__(self):
        self.program = find("lighttpd")

    def version(self):
        return subprocess.run([self.program, "-v"], capture_output=True, text=True).stdout.split()[0].split("/")[-1]

    def start(self, folder, app=None, root=None):
        port = free_port()
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
fastcgi.server = ( "/" => (( "socket" => "{app}", "check-local" => "disable" )) )
""" if app else ""))
        return Running([self.program, "-D", "-f", conf], folder, port)


class H2o:
    name = "h2o"

    def __init__(self):
        self.program = find("h2o")

    def version(self):
        return subprocess.run([self.program, "-v"], capture_output=True, text=True).stdout.split()[2]

    def start(self, folder, app=None, root=None):
        port = free_port()
        handler = (f"fastcgi.connect:\n          port: {app}\n          type: unix\n        "
                   "fastcgi.timeout.keepalive: 60000" if app else f"file.dir: {root}")
        conf = write(folder, "h2o.conf", f"""
num-threads: 2
max-connections: 15000
user: root
hosts:
  default:
    listen:
      host: 127.0.0.1
      port: {port}
    paths:
      /:
        {handler}
""")
        return Running([self.program, "-c", conf], folder, port)


class Haproxy:
    def __init__(self, multiplex):
        self.name = "haproxy mpx" if multiplex else "haproxy"
        self.multiplex = multiplex
        self.program = find("haproxy")

    def version(self):
        return subprocess.run([self.program, "-v"], capture_output=True, text=True).stdout.split()[2]

    def start(self, folder, app=None, root=None):
        if not app:
            return None
        port = free_port()
        conf = write(folder, "haproxy.cfg", f"""
global
    nbthread 2
    maxconn 9000
defaults
    mode http
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
    server one unix@{app} proto fcgi {"pool-max-conn 64" if not self.multiplex else ""}
fcgi-app hello
    docroot /srv
    option keep-conn
    {"option mpxs-conns" if self.multiplex else "no option mpxs-conns"}
    {"option max-reqs 64" if self.multiplex else ""}
""")
        return Running([self.program, "-db", "-f", conf], folder, port)


def installed_peers():
    peers = [Nginx(), Lighttpd(), H2o(), Haproxy(False), Haproxy(True)]
    return [p for p in peers if p.program]
