use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::{json, Value};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use turnbench::churn::{self, Churn};
use turnbench::frames::Mode;
use turnbench::lane::HEADER;
use turnbench::payload::Payload;
use turnbench::relay::{self, Flow, Load, Peer};
use turnbench::session::{Credentials, Engine, Step};
use turnbench::transport::{StreamFan, Transport, UdpFan};
use turnbench::{mmsg, pin_to_cpu, raise_nofile};

/// Measures a TURN server: relay cost, capacity, latency, allocation rate, memory.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Drive traffic through N allocations.
    Relay(RelayArgs),
    /// Allocate, bind, refresh, hold and delete N allocations.
    Alloc(AllocArgs),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Udp,
    Tcp,
    Tls,
}

#[derive(Args)]
struct Common {
    #[arg(long)]
    server: SocketAddrV4,
    #[arg(long, default_value = "u")]
    user: String,
    #[arg(long, default_value = "p")]
    password: String,
    /// Overrides the realm that the server announces.
    #[arg(long)]
    realm: Option<String>,
    #[arg(long, value_enum, default_value = "udp")]
    transport: Kind,
    /// Processes whose CPU time and memory are booked, with their children.
    #[arg(long, value_delimiter = ',')]
    server_pid: Vec<u32>,
    #[arg(long, default_value = "127.0.0.1")]
    peer_ip: Ipv4Addr,
    #[arg(long, default_value_t = 0)]
    peer_port: u16,
    /// UDP client i sends from this address plus i (loopback, or a local route).
    #[arg(long, default_value = "127.1.0.1")]
    client_base: Ipv4Addr,
    /// Transactions under way at once while setting up.
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// Sessions started per second while setting up (0: no limit).
    #[arg(long, default_value_t = 0.0)]
    setup_rate: f64,
    #[arg(long, default_value_t = 600)]
    lifetime: u32,
    /// Pin the generator to this CPU.
    #[arg(long)]
    cpu: Option<usize>,
    /// A word of your own, copied to the output.
    #[arg(long, default_value = "")]
    label: String,
}

#[derive(Args)]
struct RelayArgs {
    #[command(flatten)]
    common: Common,
    #[arg(long, default_value_t = 100)]
    allocations: usize,
    /// Drive only the first K allocations; the others stay idle.
    #[arg(long)]
    active: Option<usize>,
    /// Packets per second per allocation and direction.
    #[arg(long, default_value_t = 50.0)]
    pps_per_alloc: f64,
    /// Closed loop: as many packets as the server relays without loss.
    #[arg(long)]
    max: bool,
    /// Most packets in flight per direction with --max.
    #[arg(long, default_value_t = 512)]
    max_window: u64,
    /// Consecutive packets of one allocation. Over streams the client's leave in one write; over UDP those of both sides
    /// leave in one datagram that the kernel cuts.
    #[arg(long, default_value_t = 1)]
    burst: u64,
    /// Payload bytes.
    #[arg(long, default_value_t = 172)]
    size: usize,
    /// What the payload looks like to the server.
    #[arg(long, value_enum, default_value = "plain")]
    payload: Payload,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    #[arg(long, value_enum, default_value = "channel")]
    mode: Mode,
    #[arg(long, value_enum, default_value = "both")]
    flow: Flow,
    /// Sleep between polls when nothing is due, rather than spin.
    #[arg(long)]
    no_spin: bool,
    /// Datagrams per sendmmsg/recvmmsg of the generator.
    #[arg(long, default_value_t = 64)]
    batch: usize,
}

#[derive(Args)]
struct AllocArgs {
    #[command(flatten)]
    common: Common,
    #[arg(long, default_value_t = 1000)]
    count: usize,
    /// Seconds to hold the allocations idle before memory is read.
    #[arg(long, default_value_t = 1.0)]
    hold: f64,
    /// Leave out the channel bindings.
    #[arg(long)]
    no_bind: bool,
    /// Then: whole lives (allocate, refresh, delete) of all sessions, this often.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Seconds after the last deletion before memory is read again.
    #[arg(long, default_value_t = 0.0)]
    settle: f64,
}

fn transport(c: &Common, clients: usize, batch: usize) -> std::io::Result<Box<dyn Transport>> {
    Ok(match c.transport {
        Kind::Udp => Box::new(UdpFan::new(c.server, c.client_base, batch)?),
        kind => Box::new(StreamFan::new(c.server, clients, kind == Kind::Tls)),
    })
}

fn engine(c: &Common, clients: usize, peer: SocketAddrV4) -> Engine {
    let creds = Credentials {
        user: c.user.clone(),
        password: c.password.clone(),
        realm: c.realm.clone(),
        lifetime: c.lifetime,
    };
    Engine::new(clients, creds, SocketAddr::V4(peer))
}

fn run_relay(a: &RelayArgs) -> std::io::Result<Value> {
    let c = &a.common;
    let least = a.payload.head() + HEADER;
    if a.size < least || a.size + 64 > mmsg::MAX_MSG {
        return Err(std::io::Error::other(format!(
            "--size: {least} to {}",
            mmsg::MAX_MSG - 64
        )));
    }
    if a.flow == Flow::Pair && (a.allocations % 2 == 1 || a.active.is_some_and(|k| k % 2 == 1)) {
        return Err(std::io::Error::other(
            "--flow pair wants an even number of allocations",
        ));
    }
    let mut t = transport(c, a.allocations, a.batch)?;
    let mut peer = Peer::bind(SocketAddrV4::new(c.peer_ip, c.peer_port), a.batch)?;
    let mut e = engine(c, a.allocations, peer.addr);
    let bind = if a.mode == Mode::Channel {
        Step::Channel
    } else {
        Step::Permission
    };
    let mut plan = vec![Step::Allocate, bind];
    if c.transport != Kind::Udp {
        plan.insert(0, Step::Connect);
    }
    let later = if a.flow == Flow::Pair {
        plan.split_off(plan.len() - 1)
    } else {
        vec![]
    };
    let mut stats = e.run(t.as_mut(), &plan, c.concurrency, c.setup_rate);
    if a.flow == Flow::Pair && stats.failed == 0 {
        e.pair_up();
        stats = e.run(t.as_mut(), &later, c.concurrency, c.setup_rate);
    }
    let setup = stats.json();
    if stats.failed > 0 {
        return Ok(json!({ "label": c.label, "setup": setup, "error": "setup failed" }));
    }
    let load = Load {
        mode: a.mode,
        flow: a.flow,
        pps: (!a.max).then_some(a.pps_per_alloc),
        payload: a.payload,
        size: a.size,
        seconds: a.seconds,
        warmup: a.warmup,
        max_window: a.max_window,
        burst: a.burst,
        active: a.active.unwrap_or(a.allocations),
        server_pids: c.server_pid.clone(),
        spin: !a.no_spin,
    };
    let mut out = relay::run(&e, t.as_mut(), &mut peer, &load);
    out["teardown"] = e
        .run(t.as_mut(), &[Step::Delete], c.concurrency, 0.0)
        .json();
    out["setup"] = setup;
    out["label"] = json!(c.label);
    out["allocations"] = json!(a.allocations);
    Ok(out)
}

fn run_alloc(a: &AllocArgs) -> std::io::Result<Value> {
    let c = &a.common;
    let mut t = transport(c, a.count, 64)?;
    let mut e = engine(c, a.count, SocketAddrV4::new(c.peer_ip, c.peer_port.max(9)));
    let plan = Churn {
        concurrency: c.concurrency,
        rate: c.setup_rate,
        hold_s: a.hold,
        bind: !a.no_bind,
        rounds: a.rounds,
        settle_s: a.settle,
        server_pids: c.server_pid.clone(),
    };
    let mut out = churn::run(&mut e, t.as_mut(), &plan);
    out["label"] = json!(c.label);
    Ok(out)
}

/// The server corrupted, misrouted or duplicated packets, or lost some below saturation.
const EXIT_FAULTY: i32 = 3;

fn main() {
    let cli = Cli::parse();
    raise_nofile(200_000);
    let common = match &cli.command {
        Command::Relay(a) => &a.common,
        Command::Alloc(a) => &a.common,
    };
    if let Some(cpu) = common.cpu {
        pin_to_cpu(cpu);
    }
    let result = match &cli.command {
        Command::Relay(a) => run_relay(a),
        Command::Alloc(a) => run_alloc(a),
    };
    match result {
        Ok(v) => {
            println!(
                "{}",
                serde_json::to_string_pretty(&v).expect("plain values")
            );
            if v.get("error").is_some() {
                std::process::exit(1);
            }
            let failures = v["failures"].as_array().map_or(&[][..], |f| f);
            for failure in failures {
                eprintln!("turnbench: FAILURE: {}", failure.as_str().unwrap_or("?"));
            }
            if !failures.is_empty() {
                std::process::exit(EXIT_FAULTY);
            }
        }
        Err(e) => {
            eprintln!("turnbench: {e}");
            std::process::exit(2);
        }
    }
}
