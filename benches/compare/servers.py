"""relayd and its rivals: how each is configured, started and stopped. All on loopback ports of their own.

Each runs on one core as fast as its manual makes it: coturn with one relay thread, nginx with one worker, pooled verified
TLS upstreams and no access log, haproxy with one thread, turn-rs and the `turn` crate's server with one worker thread.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

SERVER_CORE, LOAD_CORE = "0", "1"
START_TIMEOUT_S = 15
RELEASE = os.environ.get("RELEASE_DIR", "target/release")
CACHE = os.environ.get("BENCH_CACHE", os.path.expanduser("~/.cache/relayd-bench"))
UPSTREAM = "up.vendor.com"
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"


class Missing(RuntimeError):
    """A rival that is not on this machine."""


class Server:
    """A server that we started: its process, where it listens, and how it is stopped."""

    def __init__(self, name, command, log):
        self.name = name
        self.log = log
        out = open(log, "wb")
        self.process = subprocess.Popen(["taskset", "-c", SERVER_CORE, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        out.close()

    @property
    def pid(self):
        return self.process.pid

    def wait_for(self, condition):
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            found = condition()
            if found:
                return found
            time.sleep(0.05)
        self.stop()
        with open(self.log, errors="replace") as log:
            raise RuntimeError(f"{self.name} does not start:\n{log.read()[-2000:]}")

    def stop(self):
        for kill in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is not None:
                return
            self.process.send_signal(kill)
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                pass


def free_port():
    """A port that was free a moment ago, below those that relayed addresses are drawn from."""
    free_port.last += 1
    while True:
        port = 20000 + (os.getpid() * 31 + free_port.last * 7) % 12000
        free_port.last += 1
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(("127.0.0.1", port))
            return port
        except OSError:
            continue


free_port.last = 0


def program(name):
    found = shutil.which(name, path=PATH)
    if not found:
        raise Missing(f"{name} is not installed")
    return found


def bound(port):
    """Whether some UDP socket has this port."""
    with open("/proc/net/udp") as table:
        return any(line.split()[1].endswith(f":{port:04X}") for line in table.readlines()[1:])


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Bench:
    """Starts servers in one directory, which holds their configurations, certificates and logs."""

    def __init__(self, directory):
        self.directory = directory
        self.count = 0
        certificates(directory)

    def path(self, name):
        return os.path.join(self.directory, name)

    def file(self, name, text):
        with open(self.path(name), "w") as out:
            out.write(text)
        return self.path(name)

    def log(self, name):
        self.count += 1
        return self.path(f"{name}-{self.count}.log")

    def relayd(self, origin=None):
        return self.started("relayd", self.relayd_file(origin))

    def relayd_without_quality(self, origin=None):
        return self.started("relayd without quality", self.relayd_file(origin, "call_quality = false"))

    def started(self, name, text):
        config = self.file(f"{name.replace(' ', '-')}.toml", text)
        server = Server(name, [f"{RELEASE}/relayd", "--config", config], self.log(name.replace(" ", "-")))
        ready = server.wait_for(lambda: relayd_ready(server.log))
        server.udp, server.tcp, server.tls = (ready[kind][0] for kind in ("udp", "tcp", "tls"))
        return server

    def relayd_file(self, origin=None, turn=""):
        """relayd's configuration, with the lines `turn` in its table of that name."""
        upstream = f"{UPSTREAM}:{origin}" if origin else UPSTREAM
        resolve = f'"{upstream}" = "127.0.0.1:{origin}"' if origin else ""
        return f"""
[server]
domain = "proxy.test"
workers = 1
[listen]
udp = ["127.0.0.1:0"]
tcp = ["127.0.0.1:0"]
tls = ["127.0.0.1:0"]
[tls]
cert = "{self.path("proxy.pem")}"
key = "{self.path("proxy.key")}"
[turn]
realm = "bench"
users = {{ u = "p" }}
{turn}
[turn.peers]
allow = ["127.0.0.0/8"]
[turn.limits]
unauthenticated_per_second_per_address = 0
[proxy]
allow = ["{upstream}"]
resolve = {{ {resolve} }}
ca_file = "{self.path("ca.pem")}"
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
level = "warn,relayd::app=info"
"""

    def coturn(self, origin=None):
        plain, tls = free_port(), free_port()
        # --no-stdout-log and the log file together keep it from writing a line for each allocation to a disk.
        command = [program("turnserver"), "-n", "--no-cli", "--lt-cred-mech", "--user=u:p", "--realm=bench", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"]
        command += [f"--listening-port={plain}", f"--tls-listening-port={tls}", "--allow-loopback-peers", "--relay-threads=1", "--no-stdout-log", "--log-file=/dev/null", "--simple-log"]
        command += [f"--cert={self.path('proxy.pem')}", f"--pkey={self.path('proxy.key')}", f"--pidfile={self.path('coturn.pid')}", f"--userdb={self.path('coturn.db')}"]
        server = Server("coturn", command, self.log("coturn"))
        server.wait_for(lambda: listens(tls) and listens(plain))
        server.udp = server.tcp = f"127.0.0.1:{plain}"
        server.tls = f"127.0.0.1:{tls}"
        return server

    def turn_crate(self, origin=None):
        server = Server("turn crate", [f"{RELEASE}/rivals"], self.log("turn"))
        server.udp = server.wait_for(lambda: first_line(server.log))
        return server

    def nginx(self, origin=None):
        port = free_port()
        config = self.file(
            "nginx.conf",
            f"""
worker_processes 1;
daemon off;
pid {self.path("nginx.pid")};
error_log stderr crit;
worker_rlimit_nofile 20000;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {self.path("nginx-body")};
    proxy_temp_path {self.path("nginx-proxy")};
    proxy_max_temp_file_size 0;
    fastcgi_temp_path {self.path("nginx-fastcgi")};
    uwsgi_temp_path {self.path("nginx-uwsgi")};
    scgi_temp_path {self.path("nginx-scgi")};
    upstream up {{ server 127.0.0.1:{origin or 1}; keepalive 128; keepalive_requests 100000000; }}
    map $http_upgrade $connection_up {{ default upgrade; '' ''; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {self.path("proxy.pem")};
        ssl_certificate_key {self.path("proxy.key")};
        ssl_protocols TLSv1.2 TLSv1.3;
        location ~ ^/up\\.vendor\\.com:\\d+/(.*)$ {{
            proxy_pass https://up/$1$is_args$args;
            proxy_http_version 1.1;
            proxy_set_header Host {UPSTREAM};
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_up;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_ssl_server_name on;
            proxy_ssl_name {UPSTREAM};
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {self.path("ca.pem")};
            proxy_read_timeout 3600;
            proxy_send_timeout 3600;
        }}
    }}
}}
""",
        )
        server = Server("nginx", [program("nginx"), "-p", self.directory, "-c", config], self.log("nginx"))
        server.wait_for(lambda: listens(port))
        server.tls = f"127.0.0.1:{port}"
        return server

    def haproxy(self, origin=None):
        port = free_port()
        with open(self.path("proxy.pem")) as cert, open(self.path("proxy.key")) as key:
            both = self.file("haproxy.pem", cert.read() + key.read())
        config = self.file(
            "haproxy.cfg",
            f"""
global
    nbthread 1
    maxconn 4000
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
frontend proxy
    bind 127.0.0.1:{port} ssl crt {both} alpn http/1.1
    http-request replace-path /up\\.vendor\\.com:[0-9]+(/.*) \\1
    http-request set-header Host {UPSTREAM}
    http-request set-header X-Forwarded-For %[src]
    default_backend up
backend up
    http-reuse always
    server up 127.0.0.1:{origin or 1} ssl verify required ca-file {self.path("ca.pem")} sni str({UPSTREAM}) verifyhost {UPSTREAM} pool-max-conn 128
""",
        )
        server = Server("haproxy", [program("haproxy"), "-db", "-f", config], self.log("haproxy"))
        server.wait_for(lambda: listens(port))
        server.tls = f"127.0.0.1:{port}"
        return server

    def turn_rs(self, origin=None):
        port = free_port()
        config = self.file(
            "turn-rs.toml",
            f"""
[server]
port-range = "49152..65535"
max-threads = 1
realm = "bench"
[[server.interfaces]]
transport = "udp"
listen = "127.0.0.1:{port}"
external = "127.0.0.1:{port}"
idle-timeout = 600
[log]
level = "error"
stdout = true
[auth.static-credentials]
u = "p"
""",
        )
        server = Server("turn-rs", [program(f"{CACHE}/bin/turn-server"), "--config", config], self.log("turn-rs"))
        server.wait_for(lambda: bound(port))
        server.udp = f"127.0.0.1:{port}"
        return server

    def origin(self):
        port = free_port()
        command = [f"{RELEASE}/proxybench", "origin", "--addr", f"127.0.0.1:{port}", "--cert", self.path("up.pem"), "--key", self.path("up.key")]
        server = Server("origin", command, self.log("origin"))
        subprocess.run(["taskset", "-pc", LOAD_CORE, str(server.pid)], check=True, stdout=subprocess.DEVNULL)
        server.wait_for(lambda: listens(port))
        server.port = port
        return server


def certificates(directory):
    """A test CA, a certificate of the proxy and one of the origin, all P-256."""

    def run(*command):
        subprocess.run(["openssl", *command], cwd=directory, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "ca.key")
    run("req", "-x509", "-new", "-key", "ca.key", "-days", "2", "-subj", "/CN=bench CA", "-out", "ca.pem")
    for name, names in (("proxy", "DNS:proxy.test,IP:127.0.0.1"), ("up", f"DNS:{UPSTREAM}")):
        run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
        run("req", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr")
        with open(os.path.join(directory, f"{name}.ext"), "w") as out:
            out.write(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
        run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")


def relayd_ready(log):
    """The body of /readyz, once the admin address has been logged and the server is ready."""
    with open(log, errors="replace") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            admin = entry.get("admin") or entry.get("fields", {}).get("admin")
            if not admin:
                continue
            try:
                with urllib.request.urlopen(f"http://{admin}/readyz", timeout=2) as answer:
                    return json.load(answer)
            except (OSError, ValueError):
                return None
    return None


def first_line(log):
    with open(log, errors="replace") as lines:
        line = lines.readline()
    return line.strip() if line.endswith("\n") else None
