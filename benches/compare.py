"""Runs relayd and its rivals in alternation and prints one table. Started by compare.sh.

A round measures every server of a row once, one after the other, the first one changing from round to round; what
is compared is the pair within a round, since a machine's speed drifts. Servers are pinned to core 0, the load to
core 1. CPU time is the kernel's account of the server's threads. A round in which something else took more than
OTHER_MAX of a core is thrown away, counted, and played again (twice the rounds at most).
"""

import argparse
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

SERVER_CORE, LOAD_CORE = "0", "1"
OTHER_MAX = 0.2
START_TIMEOUT_S = 15
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
RELEASE = os.environ.get("RELEASE_DIR", "target/release")
UPSTREAM = "up.vendor.com"


# Processes


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


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# The rivals


class Bench:
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
        upstream = f"{UPSTREAM}:{origin}" if origin else UPSTREAM
        resolve = f'"{upstream}" = "127.0.0.1:{origin}"' if origin else ""
        config = self.file(
            "relay.toml",
            f"""
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
""",
        )
        server = Server("relayd", [f"{RELEASE}/relayd", "--config", config], self.log("relayd"))
        ready = server.wait_for(lambda: relayd_ready(server.log))
        server.udp, server.tcp, server.tls = (ready[kind][0] for kind in ("udp", "tcp", "tls"))
        return server

    def coturn(self, origin=None):
        plain, tls = free_port(), free_port()
        # --no-stdout-log and the log file together keep it from writing a line for each allocation to a disk.
        command = ["turnserver", "-n", "--no-cli", "--lt-cred-mech", "--user=u:p", "--realm=bench", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"]
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
        nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        server = Server("nginx", [nginx, "-p", self.directory, "-c", config], self.log("nginx"))
        server.wait_for(lambda: listens(port))
        server.tls = f"127.0.0.1:{port}"
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


# CPU accounts


def family(pid):
    pids = [pid]
    for one in pids:
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{task}/children") as children:
                    pids += [int(child) for child in children.read().split()]
        except OSError:
            continue
    return pids


def cpu_s(pids):
    total_ns = 0
    for pid in pids:
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat") as stat:
                    total_ns += int(stat.read().split()[0])
        except OSError:
            continue
    return total_ns / 1e9


def busy_s():
    with open("/proc/stat") as stat:
        ticks = [int(value) for value in stat.readline().split()[1:]]
    # user, nice, system, irq, softirq: not idle, not waiting.
    return sum(ticks[i] for i in (0, 1, 2, 5, 6)) / TICKS_PER_S


def kernel_threads():
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm") as comm:
                if comm.read().startswith("ksoftirqd"):
                    found.append(int(pid))
        except OSError:
            continue
    return found


KSOFTIRQD = kernel_threads()


def run_load(command, ours):
    """Runs a load; returns its output and how much of a core somebody else used meanwhile."""
    counted = [pid for server in ours for pid in family(server.pid)] + KSOFTIRQD + [os.getpid()]
    before = (busy_s(), cpu_s(counted), time.monotonic())
    load = subprocess.Popen(["taskset", "-c", LOAD_CORE, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    watchdog_s = 180
    try:
        out, err = load.communicate(timeout=watchdog_s)
    except subprocess.TimeoutExpired:
        load.kill()
        load.communicate()
        raise RuntimeError(f"the load did not end in {watchdog_s} s: {' '.join(command)}") from None
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = usage.ru_utime + usage.ru_stime - run_load.children_s
    run_load.children_s += spent
    after = (busy_s(), cpu_s(counted), time.monotonic())
    elapsed_s = after[2] - before[2]
    other = (after[0] - before[0]) - (after[1] - before[1]) - spent
    if load.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{err.decode(errors='replace')}{out.decode(errors='replace')[-2000:]}")
    return json.loads(out), max(0.0, other / elapsed_s)


run_load.children_s = 0.0


# Rows


class Row:
    """What is measured: the servers that can do it, the load, and the figures to take from its output."""

    def __init__(self, name, title, servers, load, figures, fresh=False):
        self.name, self.title, self.servers, self.load, self.figures, self.fresh = name, title, servers, load, figures, fresh


def relay(*options, transport="udp"):
    def load(server, _origin, args):
        address = getattr(server, transport)
        command = [f"{RELEASE}/turnbench", "relay", "--server", address, "--transport", transport, "--server-pid", str(server.pid), "--cpu", LOAD_CORE]
        return command + ["--seconds", str(args.seconds), "--warmup", "1", *options]

    return load


def alloc(*options):
    def load(server, _origin, _args):
        command = [f"{RELEASE}/turnbench", "alloc", "--server", server.udp, "--server-pid", str(server.pid), "--cpu", LOAD_CORE]
        return command + list(options)

    return load


def proxy(kind, path, *options):
    def load(server, origin, args):
        command = [f"{RELEASE}/proxybench", kind, "--addr", server.tls, "--pid", str(server.pid), "--path", f"/{UPSTREAM}:{origin.port}{path}"]
        return command + ["--secs", str(int(args.seconds)), *options]

    return load


def dig(*keys, scale=1.0):
    def figure(out):
        for key in keys:
            out = out[key]
        return out * scale

    return figure


PACKET = ("us of CPU a packet", dig("server_cpu_ns_per_packet", scale=1e-3))
MAX = [("k packets/s", dig("relayed_pps", scale=1e-3)), PACKET, ("loss %", dig("loss_pct"))]
FIXED = [PACKET, ("p50 us", dig("client_to_peer", "latency_us", "p50")), ("p99 us", dig("client_to_peer", "latency_us", "p99"))]
LIVES = [("us of CPU an allocation with its 401", dig("allocate", "server_cpu_us_each")), ("us of CPU a whole life", dig("lives", "server_cpu_us_each"))]
MEMORY = [("resident bytes an allocation", dig("hold", "rss_bytes_per_allocation")), ("kB left after deletion", dig("rss_kb", "after_delete"))]

TURN_UDP = ("relayd", "coturn", "turn_crate")
TURN_STREAM = ("relayd", "coturn")
HTTP = ("relayd", "nginx")

ROWS = [
    Row("channel", "ChannelData, 100 allocations, as much as fits", TURN_UDP, relay("--allocations", "100", "--max"), MAX),
    Row("send", "Send and Data indications, 100 allocations, as much as fits", TURN_UDP, relay("--allocations", "100", "--max", "--mode", "send"), MAX),
    Row("tcp", "TCP clients, 100 allocations, as much as fits", TURN_STREAM, relay("--allocations", "100", "--max", transport="tcp"), MAX),
    Row("tls", "TLS clients, 100 allocations, as much as fits", TURN_STREAM, relay("--allocations", "100", "--max", transport="tls"), MAX),
    Row("fixed20k", "ChannelData, steady 20 000 packets/s", TURN_UDP, relay("--allocations", "100", "--pps-per-alloc", "100"), FIXED),
    Row("fixed60k", "ChannelData, steady 60 000 packets/s", TURN_UDP, relay("--allocations", "100", "--pps-per-alloc", "300"), FIXED),
    Row("churn", "Allocations that come and go", TURN_UDP, alloc("--count", "2000", "--no-bind", "--hold", "0", "--rounds", "2"), LIVES),
    Row("memory", "5000 allocations held", TURN_UDP, alloc("--count", "5000", "--hold", "1", "--rounds", "0"), MEMORY, fresh=True),
    Row("get", "GET of 100 bytes, kept alive", HTTP, proxy("http", "/small", "--conns", "32"), [("us of CPU a request", dig("proxy_cpu_us")), ("k requests/s", dig("per_s", scale=1e-3))]),
    Row("handshake", "Full TLS handshake", HTTP, proxy("handshake", "/small", "--conns", "4"), [("us of CPU a handshake", dig("proxy_cpu_us"))]),
    Row("websocket", "WebSocket message of 100 bytes", HTTP, proxy("ws", "/ws", "--conns", "100", "--size", "100"), [("us of CPU a message", dig("proxy_cpu_us"))]),
    Row("idle", "1000 idle WebSockets", HTTP, proxy("idle", "/ws", "--conns", "1000"), [("KiB resident a WebSocket", dig("kib_per_conn"))], fresh=True),
]


def play(row, bench, args):
    """All rounds of a row: {server: [output, ...]} of the rounds that count, and how many were thrown away."""
    origin = bench.origin() if row.servers is HTTP else None
    running = {}
    results, discarded, rounds = {name: [] for name in row.servers}, 0, 0

    def server(name):
        if name not in running:
            running[name] = getattr(bench, name)(origin.port if origin else None)
        return running[name]

    try:
        while len(results["relayd"]) < args.rounds and rounds < 2 * args.rounds:
            first = rounds % len(row.servers)
            rounds += 1
            outputs, quiet = {}, True
            for name in row.servers[first:] + row.servers[:first]:
                subject = server(name)
                ours = list(running.values()) + ([origin] if origin else [])
                outputs[name], other = run_load(row.load(subject, origin, args), ours)
                complain(name, outputs[name])
                quiet = quiet and other <= OTHER_MAX
                if row.fresh:
                    running.pop(name).stop()
            if quiet or args.noisy:
                for name, output in outputs.items():
                    results[name].append(output)
            else:
                discarded += 1
            print(f"{row.name}: round {rounds}{'' if quiet else ', noisy'}", file=sys.stderr)
    finally:
        for one in running.values():
            one.stop()
        if origin:
            origin.stop()
    return results, discarded


def complain(name, output):
    """A server that answers wrongly has no figures."""
    sides = [output] + [output[side] for side in ("client_to_peer", "peer_to_client") if side in output]
    for key in ("errors", "corrupt", "misrouted"):
        wrong = sum(side[key] for side in sides if isinstance(side.get(key), int))
        if wrong:
            raise RuntimeError(f"{name}: {key} {wrong}; {output.get('first_error', '')}")


def show(row, results, discarded):
    rounds = len(results["relayd"])
    print(f"\n{row.title}  [{row.name}; {rounds} rounds, {discarded} noisy ones thrown away]")
    if not rounds:
        print("  the machine was never quiet: nothing to say")
        return
    for title, figure in row.figures:
        ours = [figure(output) for output in results["relayd"]]
        print(f"  {title:40} {'relayd':11} {spread(ours)}")
        for name in row.servers[1:]:
            theirs = [figure(output) for output in results[name]]
            ratios = [mine / other for mine, other in zip(ours, theirs) if other]
            ratio = f"relayd is {spread(ratios)} of it" if ratios else ""
            print(f"  {'':40} {name.replace('_', ' '):11} {spread(theirs):34} {ratio}")


def spread(values):
    return f"{statistics.median(values):.4g} ({min(values):.4g}-{max(values):.4g})"


def version(*command):
    try:
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        done = subprocess.run([shutil.which(command[0], path=path) or command[0], *command[1:]], capture_output=True, text=True, timeout=10)
        return (done.stdout + done.stderr).strip().splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return "?"


def main():
    parser = argparse.ArgumentParser(description="relayd beside its rivals")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="measured time of each run")
    parser.add_argument("--only", default="", help="rows, separated by commas")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument("--noisy", action="store_true", help="keep noisy rounds too: to see that it runs")
    parser.add_argument("--json", help="also write every output there")
    args = parser.parse_args()
    # Ended from outside, it still ends the servers that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if args.list:
        for row in ROWS:
            print(f"{row.name:10} {row.title}: {', '.join(row.servers)}")
        return 0
    only = [name for name in args.only.split(",") if name]
    unknown = set(only) - {row.name for row in ROWS}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    if (os.cpu_count() or 1) < 2:
        parser.error("a second core is needed for the load")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"relayd {version(f'{RELEASE}/relayd', 'version')}; coturn {version('turnserver', '--version')}; {version('nginx', '-v')}")
    print("median (lowest-highest) of the rounds; a ratio is taken within each round")
    kept = {}
    with tempfile.TemporaryDirectory(prefix="compare-") as directory:
        bench = Bench(directory)
        for row in ROWS:
            if only and row.name not in only:
                continue
            try:
                results, discarded = play(row, bench, args)
            except RuntimeError as fault:
                print(f"\n{row.title}  [{row.name}]\n  failed: {fault}")
                kept[row.name] = {"failed": str(fault)}
                continue
            show(row, results, discarded)
            kept[row.name] = {"discarded": discarded, "rounds": results}
            sys.stdout.flush()
    if args.json:
        with open(args.json, "w") as out:
            json.dump(kept, out, indent=1)
    return 1 if any("failed" in row for row in kept.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
