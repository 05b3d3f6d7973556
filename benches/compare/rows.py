"""What is measured: for each row the load, the servers that can do it, the figures taken from its output, and their budgets."""

from servers import LOAD_CORE, RELEASE, UPSTREAM

LATENCY_SECONDS_MIN = 8.0


class Figure:
    """A number of a load's output. `budget` is what the median must be; of a `plain` one no ratio is taken."""

    def __init__(self, title, take, budget=None, plain=False):
        self.title, self.take, self.budget, self.plain = title, take, budget, plain


class Ratio:
    """relayd's figure to a rival's, of the same round."""

    def __init__(self, rival, at_least=None, at_most=None):
        self.rival, self.at_least, self.at_most = rival, at_least, at_most

    def __str__(self):
        return f">= {self.at_least}" if self.at_least else f"<= {self.at_most}"

    def is_met(self, value):
        return value >= self.at_least if self.at_least else value <= self.at_most


class Absolute:
    """relayd's own figure. `reference` is (rival, its figure on the machine where the budget was set)."""

    def __init__(self, at_most, reference=None):
        self.at_most, self.reference = at_most, reference

    def __str__(self):
        return f"<= {self.at_most:g}"

    def is_met(self, value):
        return value <= self.at_most


class Row:
    """`fresh`: a new process for each run. `plot`: measured for a plot alone, where it is asked for. `times`: so many rounds for one of others."""

    def __init__(self, name, title, servers, load, figures, fresh=False, plot=False, times=1):
        self.name, self.title, self.servers, self.load, self.figures = name, title, servers, load, figures
        self.fresh, self.plot, self.times = fresh, plot, times

    def is_proxy(self):
        return "nginx" in self.servers


def relay(*options, transport="udp", seconds_min=0.0, seconds_max=3600.0):
    def load(server, _origin, args):
        address = getattr(server, transport)
        command = [f"{RELEASE}/turnbench", "relay", "--server", address, "--transport", transport, "--server-pid", str(server.pid), "--cpu", LOAD_CORE]
        return command + ["--seconds", str(min(max(args.seconds, seconds_min), seconds_max)), "--warmup", "1", *options]

    return load


def alloc(*options):
    def load(server, _origin, _args):
        command = [f"{RELEASE}/turnbench", "alloc", "--server", server.udp, "--server-pid", str(server.pid), "--cpu", LOAD_CORE]
        return command + list(options)

    return load


def proxy(kind, path, *options):
    def load(server, origin, args):
        command = [f"{RELEASE}/proxybench", kind, "--addr", server.tls, "--pid", str(server.pid), "--load-pid", str(origin.pid)]
        return command + ["--path", f"/{UPSTREAM}:{origin.port}{path}", "--secs", str(max(1, int(args.seconds))), *options]

    return load


def dig(*keys, scale=1.0):
    def take(out):
        for key in keys:
            out = out[key]
        return out * scale

    return take


def most(at_least):
    """As much as fits: the speed has the budget, the rest says how it came about."""
    return [
        Figure("k packets a CPU-second", dig("packets_per_server_cpu_s", scale=1e-3), Ratio("coturn", at_least=at_least) if at_least else None),
        Figure("k packets/s", dig("relayed_pps", scale=1e-3)),
        Figure("us of CPU a packet", dig("server_cpu_ns_per_packet", scale=1e-3)),
        Figure("loss %", dig("loss_pct"), plain=True),
        Figure("load's core, % busy", dig("load_busy_pct"), plain=True),
    ]


def fixed(budget=None):
    return [
        Figure("us of CPU a packet", dig("server_cpu_ns_per_packet", scale=1e-3), budget),
        Figure("p50 us", dig("client_to_peer", "latency_us", "p50")),
        Figure("p99 us", dig("client_to_peer", "latency_us", "p99")),
        Figure("load's core, % busy", dig("load_busy_pct"), plain=True),
    ]


# "No worse than" leaves room for the histogram's 1.6 % and for what one round differs from the next on a quiet machine.
NO_WORSE = 1.05


def late():
    return [Figure(f"{p} us", dig("client_to_peer", "latency_us", p), Ratio("coturn", at_most=NO_WORSE)) for p in ("p50", "p99", "p999")] + [
        Figure("us of CPU a packet", dig("server_cpu_ns_per_packet", scale=1e-3)),
    ]


# What a packet costs with call quality, to what it costs without. One round differs from the next by four per cent: the median of five
# says nothing about three, that of many short ones does.
QUALITY = 1.03
QUALITY_TIMES, QUALITY_SECONDS = 5, 1.0
WITHOUT_QUALITY = "relayd_without_quality"


def measured():
    return [
        Figure("us of CPU a packet", dig("server_cpu_ns_per_packet", scale=1e-3), Ratio(WITHOUT_QUALITY, at_most=QUALITY)),
        Figure("k packets/s", dig("relayed_pps", scale=1e-3)),
        Figure("loss %", dig("loss_pct"), plain=True),
        Figure("load's core, % busy", dig("load_busy_pct"), plain=True),
    ]


LIVES = [
    Figure("us of CPU an Allocate with its 401", dig("allocate", "server_cpu_us_each"), Absolute(31, ("coturn", 98))),
    Figure("us of CPU a whole life", dig("lives", "server_cpu_us_each"), Absolute(45, ("coturn", 137))),
]
HELD = [
    Figure("resident bytes an allocation", dig("hold", "rss_bytes_per_allocation"), Absolute(4000)),
    Figure("kernel slab bytes an allocation", dig("hold", "slab_bytes_per_allocation")),
]
DELETED = [
    Figure("times the idle memory", lambda out: out["rss_kb"]["after_delete"] / out["rss_kb"]["before"], Absolute(2)),
    Figure("kB left", dig("rss_kb", "after_delete")),
    Figure("kB idle", dig("rss_kb", "before")),
]


def each(what, budget, reference):
    return [
        Figure(f"us of CPU {what}", dig("proxy_cpu_us"), Absolute(budget, ("nginx", reference))),
        Figure("k/s", dig("per_s", scale=1e-3)),
        Figure("load's core, % busy", dig("load_busy_pct"), plain=True),
    ]


TURN_UDP = ("relayd", "coturn", "turn_crate")
TURN_PAIR = ("relayd", "coturn", "turn_crate", "turn_rs")
TURN_TWO = ("relayd", "coturn")
HTTP = ("relayd", "nginx", "haproxy")
HUNDRED = ("--allocations", "100")
# One frame a write saturates the load's core before the server's: a write costs the sender more than relaying costs the
# server. A client that sends more than a connection takes writes several at once anyway. Peers send one by one.
WRITES = ("--burst", "4")

BODY_BYTES = 4 << 20


def quality(name, allocations):
    """relayd against itself. A process for each run: what its memory's place makes would go with one side all rounds long."""
    load = relay("--allocations", str(allocations), "--max", "--payload", "rtp", seconds_max=QUALITY_SECONDS)
    title = f"ChannelData with RTP, {allocations} busy allocations, call quality on and off, as much as fits"
    return Row(name, title, ("relayd", WITHOUT_QUALITY), load, measured(), fresh=True, times=QUALITY_TIMES)


ROWS = [
    Row("channel", "ChannelData, 100 busy allocations, as much as fits", TURN_UDP, relay(*HUNDRED, "--max"), most(1.35)),
    Row("channel1000", "ChannelData, 1000 busy allocations, as much as fits", TURN_UDP, relay("--allocations", "1000", "--max"), most(1.35)),
    Row("send", "Send and Data indications, 100 allocations, as much as fits", TURN_UDP, relay(*HUNDRED, "--max", "--mode", "send"), most(1.35)),
    Row("pair", "client to client on this server, 100 allocations, as much as fits", TURN_PAIR, relay(*HUNDRED, "--max", "--flow", "pair"), most(2.1)),
    Row("tcp", "TCP clients, 4 frames a write, 100 allocations, as much as fits", TURN_TWO, relay(*HUNDRED, "--max", *WRITES, transport="tcp"), most(1.3)),
    Row("tls", "TLS clients, 4 records a write, 100 allocations, as much as fits", TURN_TWO, relay(*HUNDRED, "--max", *WRITES, transport="tls"), most(1.5)),
    Row("tcp1", "TCP clients, one frame a write, 100 allocations, as much as fits", TURN_TWO, relay(*HUNDRED, "--max", transport="tcp"), most(None)),
    Row("steady60k", "ChannelData, 100 allocations, steady 60 000 packets/s", TURN_UDP, relay(*HUNDRED, "--pps-per-alloc", "300"), fixed(Ratio("coturn", at_most=0.85))),
    Row("quiet20k", "ChannelData, 100 allocations, steady 20 000 packets/s", TURN_TWO, relay(*HUNDRED, "--pps-per-alloc", "100", seconds_min=LATENCY_SECONDS_MIN), late()),
    Row("large", "ChannelData, 1200-byte payload, 100 allocations, as much as fits", TURN_TWO, relay(*HUNDRED, "--max", "--size", "1200"), most(None)),
    Row("runs", "ChannelData, 1200-byte payload, 8 packets of an allocation in a row, as much as fits", TURN_TWO, relay(*HUNDRED, "--max", "--size", "1200", "--burst", "8"), most(None)),
    Row("large20k", "ChannelData, 1200-byte payload, steady 20 000 packets/s", TURN_TWO, relay(*HUNDRED, "--size", "1200", "--pps-per-alloc", "100"), fixed()),
    quality("quality", 100),
    quality("quality1000", 1000),
    Row("churn", "allocations that come and go", TURN_UDP, alloc("--count", "2000", "--no-bind", "--hold", "0", "--rounds", "2"), LIVES),
    Row("memory", "5000 allocations held", TURN_UDP, alloc("--count", "5000", "--hold", "1", "--rounds", "0"), HELD, fresh=True),
    Row("deleted", "after 10 000 deletions", TURN_TWO, alloc("--count", "10000", "--hold", "0", "--rounds", "0", "--settle", "3"), DELETED, fresh=True),
    Row("get", "GET of 100 bytes, kept alive", HTTP, proxy("http", "/small", "--conns", "32"), each("a request", 30, 30.9)),
    Row("handshake", "full TLS 1.3 handshake", HTTP, proxy("handshake", "/small", "--conns", "4"), each("a handshake", 180, 345)),
    Row("websocket", "WebSocket message of 100 bytes", HTTP, proxy("ws", "/ws", "--conns", "100", "--size", "100"), each("a message", 8.5, 10.0)),
    Row("idle", "1000 idle WebSockets", HTTP, proxy("idle", "/ws", "--conns", "1000"), [Figure("KiB resident a WebSocket", dig("kib_per_conn"), Absolute(25, ("nginx", 81)))], fresh=True),
    Row(
        "body",
        "bodies of 4 MiB",
        HTTP,
        proxy("http", f"/big?bytes={BODY_BYTES}", "--conns", "4"),
        [Figure("us of CPU a MiB", dig("proxy_cpu_us", scale=(1 << 20) / BODY_BYTES), Absolute(900, ("nginx", 1565))), Figure("MiB/s", dig("MiB_s"))],
    ),
]

# For the plots: (x, name of the row). The saturated end of the first is the row `channel`.
SWEEP_PPS = (5_000, 10_000, 20_000, 40_000, 60_000, 90_000)
SCALE = (10, 100, 1000, 4000)
ROWS += [Row(f"sweep{pps}", f"ChannelData, 100 allocations, steady {pps} packets/s", TURN_TWO, relay(*HUNDRED, "--pps-per-alloc", str(pps / 200)), fixed(), plot=True) for pps in SWEEP_PPS]
ROWS += [Row(f"scale{n}", f"ChannelData, {n} busy allocations, as much as fits", TURN_TWO, relay("--allocations", str(n), "--max"), most(None), plot=True) for n in SCALE if n not in (100, 1000)]
SCALE_ROWS = [(n, {100: "channel", 1000: "channel1000"}.get(n, f"scale{n}")) for n in SCALE]
