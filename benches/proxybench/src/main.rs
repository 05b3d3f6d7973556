//! Load generator, TLS origin and CPU meter for reverse proxies. Loopback only.
//! See README.md for the commands. Output: one JSON object per line.
mod frames;
mod http;

use frames::{frame, parse};
use http::{exchange, field, head, CORRUPT, FILLING};
use rustls::pki_types::{pem::PemObject, CertificateDer, PrivateKeyDer, ServerName};
use std::{
    cell::RefCell,
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::spawn_local,
};
use tokio_rustls::{client, server, TlsAcceptor, TlsConnector};

type R<T> = Result<T, Box<dyn std::error::Error>>;

// ---------------------------------------------------------------- arguments
#[derive(Clone)]
struct Args(Rc<HashMap<String, String>>);
impl Args {
    fn s(&self, k: &str, d: &str) -> String {
        self.0.get(k).cloned().unwrap_or_else(|| d.into())
    }
    fn n(&self, k: &str, d: u64) -> u64 {
        self.0.get(k).map_or(d, |v| {
            v.parse().unwrap_or_else(|_| panic!("--{k} needs a number"))
        })
    }
    fn addr(&self) -> R<SocketAddr> {
        let a: SocketAddr = self.s("addr", "127.0.0.1:9443").parse()?;
        if !matches!(a.ip(), IpAddr::V4(i) if i.is_loopback()) && !a.ip().is_loopback() {
            return Err("--addr must be a loopback address".into());
        }
        Ok(a)
    }
    fn secs(&self) -> Duration {
        Duration::from_secs(self.n("secs", 5).min(120))
    }
}

// ---------------------------------------------------------------- CPU and memory of the proxy, from /proc
#[derive(Clone, Copy, Default)]
struct Usage {
    cpu_us: f64,
    rss_kib: u64,
}
fn usage(pids: &[u32]) -> Usage {
    let mut u = Usage::default();
    for p in pids {
        // schedstat of every thread: ns on CPU (finer than the 10 ms ticks of stat)
        if let Ok(d) = std::fs::read_dir(format!("/proc/{p}/task")) {
            for t in d.flatten() {
                if let Ok(s) = std::fs::read_to_string(t.path().join("schedstat")) {
                    u.cpu_us += s
                        .split(' ')
                        .next()
                        .and_then(|v| v.parse::<f64>().ok())
                        .unwrap_or(0.0)
                        / 1000.0;
                }
            }
        }
        if let Ok(s) = std::fs::read_to_string(format!("/proc/{p}/status")) {
            u.rss_kib += s
                .lines()
                .find_map(|l| l.strip_prefix("VmRSS:"))
                .and_then(|v| v.split_whitespace().next()?.parse::<u64>().ok())
                .unwrap_or(0);
        }
    }
    u
}
/// Every pid given plus its live descendants.
fn tree(roots: &str) -> Vec<u32> {
    let mut all: Vec<u32> = roots
        .split(',')
        .filter_map(|v| v.trim().parse().ok())
        .collect();
    let mut i = 0;
    while i < all.len() {
        if let Ok(ts) = std::fs::read_dir(format!("/proc/{}/task", all[i])) {
            for t in ts.flatten() {
                if let Ok(s) = std::fs::read_to_string(t.path().join("children")) {
                    all.extend(s.split_whitespace().filter_map(|v| v.parse::<u32>().ok()));
                }
            }
        }
        i += 1;
    }
    all.sort();
    all.dedup();
    all
}

// ---------------------------------------------------------------- TLS
fn connector(a: &Args, resume: bool) -> TlsConnector {
    #[derive(Debug)]
    struct Any(Arc<rustls::crypto::CryptoProvider>);
    use rustls::client::danger::*;
    impl ServerCertVerifier for Any {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: rustls::pki_types::UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
    let mut p = rustls::crypto::aws_lc_rs::default_provider();
    // The same X25519 share for every proxy (no hybrid group that some lack); P-256 is listed for TLS 1.2 ECDSA certificates
    p.kx_groups = vec![
        rustls::crypto::aws_lc_rs::kx_group::X25519,
        rustls::crypto::aws_lc_rs::kx_group::SECP256R1,
    ];
    let p = Arc::new(p);
    let v: &[&rustls::SupportedProtocolVersion] = match a.s("tls", "any").as_str() {
        "1.2" => &[&rustls::version::TLS12],
        "1.3" => &[&rustls::version::TLS13],
        _ => rustls::ALL_VERSIONS,
    };
    let mut c = rustls::ClientConfig::builder_with_provider(p.clone())
        .with_protocol_versions(v)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(p)))
        .with_no_client_auth();
    if !resume {
        c.resumption = rustls::client::Resumption::disabled();
    }
    c.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(c).into()
}
async fn dial(a: &Args, c: &TlsConnector) -> R<client::TlsStream<TcpStream>> {
    let s = TcpStream::connect(a.addr()?).await?;
    s.set_nodelay(true)?;
    Ok(
        c.connect(ServerName::try_from(a.s("sni", "proxy.test"))?, s)
            .await?,
    )
}

async fn ws_open(a: &Args, c: &TlsConnector) -> R<client::TlsStream<TcpStream>> {
    let mut s = dial(a, c).await?;
    let r = format!("GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", a.s("path", "/ws"), a.s("sni", "proxy.test"));
    s.write_all(r.as_bytes()).await?;
    s.flush().await?;
    let mut b = Vec::new();
    let n = head(&mut s, &mut b).await?;
    if !b.starts_with(b"HTTP/1.1 101") || b.len() != n {
        return Err(format!(
            "no upgrade: {}",
            String::from_utf8_lossy(&b[..b.len().min(60)])
        )
        .into());
    }
    Ok(s)
}
/// One echo of `size` bytes that start with the tag; returns when the same came back as one frame.
async fn ws_echo(
    s: &mut client::TlsStream<TcpStream>,
    tag: &[u8],
    size: usize,
    buf: &mut Vec<u8>,
) -> R<()> {
    let mut out = Vec::with_capacity(size + 14);
    frame(&mut out, size, true);
    let (at, marked) = (out.len() - size, tag.len().min(size));
    out[at..at + marked].copy_from_slice(&tag[..marked]);
    s.write_all(&out).await?;
    s.flush().await?;
    loop {
        if let Some((t, p, _)) = parse(buf) {
            if buf.len() >= t {
                let same = buf[p..t] == out[at..];
                buf.drain(..t);
                return if same { Ok(()) } else { Err(CORRUPT.into()) };
            }
        }
        if s.read_buf(buf).await? == 0 {
            return Err("early end".into());
        }
    }
}

// ---------------------------------------------------------------- origin
async fn origin_conn(s: &mut server::TlsStream<TcpStream>) -> R<()> {
    let (mut b, chunk) = (Vec::with_capacity(4096), vec![FILLING; 65536]);
    loop {
        let n = head(s, &mut b).await?;
        if field(&b[..n], "upgrade").is_some_and(|v| v.eq_ignore_ascii_case("websocket")) {
            // the accept value for the fixed key of ws_open
            s.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n").await?;
            s.flush().await?;
            b.drain(..n);
            b.shrink_to(256);
            let mut out = Vec::new();
            loop {
                let mut at = 0;
                while let Some((t, p, len)) = parse(&b[at..]) {
                    if b.len() - at < t {
                        break;
                    }
                    let (pay, key) = (at + p, b[at + 1] & 0x80 != 0);
                    let start = out.len();
                    frame(&mut out, len, false);
                    let q = out.len() - len;
                    out[q..].copy_from_slice(&b[pay..pay + len]);
                    out[start] = b[at];
                    if key {
                        let k: [u8; 4] = b[pay - 4..pay].try_into().unwrap();
                        if k != [0; 4] {
                            for i in 0..len {
                                out[q + i] ^= k[i & 3];
                            }
                        }
                    }
                    at += t;
                }
                b.drain(..at);
                if !out.is_empty() {
                    s.write_all(&out).await?;
                    s.flush().await?;
                    out.clear();
                }
                if b.is_empty() {
                    b.shrink_to(0);
                }
                if s.read_buf(&mut b).await? == 0 {
                    return Ok(());
                }
            }
        }
        let path = std::str::from_utf8(&b[..n])?
            .split(' ')
            .nth(1)
            .unwrap_or("/")
            .to_string();
        let close = field(&b[..n], "connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        let cl: usize = field(&b[..n], "content-length")
            .and_then(|v| v.parse().ok())
            .unwrap_or(0);
        b.drain(..n);
        let mut left = cl;
        loop {
            let k = left.min(b.len());
            b.drain(..k);
            left -= k;
            if left == 0 {
                break;
            }
            if s.read_buf(&mut b).await? == 0 {
                return Ok(());
            }
        }
        let size = path
            .find("bytes=")
            .and_then(|i| path[i + 6..].split('&').next()?.parse::<usize>().ok())
            .unwrap_or(100);
        s.write_all(format!("HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: {size}\r\n\r\n").as_bytes()).await?;
        let tag = path.find("tag=").map_or("", |i| &path[i + 4..]);
        let tag = &tag.as_bytes()[..tag.find('&').unwrap_or(tag.len()).min(size)];
        s.write_all(tag).await?;
        let mut left = size - tag.len();
        while left > 0 {
            let k = left.min(chunk.len());
            s.write_all(&chunk[..k]).await?;
            left -= k;
        }
        s.flush().await?;
        if close {
            s.shutdown().await?;
            return Ok(());
        }
    }
}
async fn origin(a: Args) -> R<()> {
    let key = PrivateKeyDer::from_pem_file(a.s("key", "up.key"))?;
    let certs =
        CertificateDer::pem_file_iter(a.s("cert", "up.pem"))?.collect::<Result<Vec<_>, _>>()?;
    let c = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()?
    .with_no_client_auth()
    .with_single_cert(certs, key)?;
    let acc = TlsAcceptor::from(Arc::new(c));
    let l = TcpListener::bind(a.addr()?).await?;
    loop {
        let (t, _) = l.accept().await?;
        let acc = acc.clone();
        spawn_local(async move {
            let _ = t.set_nodelay(true);
            if let Ok(mut s) = acc.accept(t).await {
                let _ = origin_conn(&mut s).await;
            }
        });
    }
}

// ---------------------------------------------------------------- measurements
#[derive(Default)]
struct Acc {
    n: u64,
    err: u64,
    corrupt: u64,
    bytes: u64,
    lat: Vec<u32>,
    msg: Option<String>,
}
fn pct(v: &[u32], p: f64) -> u32 {
    if v.is_empty() {
        0
    } else {
        v[((v.len() - 1) as f64 * p) as usize]
    }
}
/// What the kernel booked meanwhile.
struct Spent {
    proxy: Usage,
    rss0_kib: u64,
    /// Of the load and the origin, in percent of a core.
    load_busy_pct: f64,
}
fn report(a: &Args, what: &str, per: f64, acc: &mut Acc, el: Duration, spent: Spent) {
    let Spent {
        proxy: d,
        rss0_kib: rss0,
        load_busy_pct,
    } = spent;
    let corrupt = acc.corrupt;
    acc.lat.sort_unstable();
    let units = acc.n as f64 * per;
    println!("{{\"what\":\"{what}\",\"name\":\"{}\",\"conns\":{},\"size\":{},\"rate\":{},\"secs\":{:.2},\"n\":{},\"errors\":{},\"corrupt\":{corrupt},\"per_s\":{:.0},\"MiB_s\":{:.1},\"proxy_cpu_us\":{:.2},\"proxy_core_pct\":{:.1},\"per_cpu_s\":{:.0},\"p50_us\":{},\"p99_us\":{},\"max_us\":{},\"rss_kib\":{},\"rss0_kib\":{},\"load_busy_pct\":{load_busy_pct:.1}{}}}",
        a.s("name", ""), a.n("conns", 1), acc.bytes.checked_div(acc.n).unwrap_or(0), a.n("rate", 0), el.as_secs_f64(), units, acc.err, units / el.as_secs_f64(), acc.bytes as f64 / 1048576.0 / el.as_secs_f64(), d.cpu_us / units.max(1.0), d.cpu_us / el.as_secs_f64() / 1e4, units / (d.cpu_us / 1e6).max(1e-9),
        pct(&acc.lat, 0.5), pct(&acc.lat, 0.99), acc.lat.last().copied().unwrap_or(0), d.rss_kib, rss0, acc.msg.as_ref().map(|m| format!(",\"first_error\":\"{}\"", m.replace('"', "'"))).unwrap_or_default());
}
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Http,
    Ws,
    Hs,
}
/// Closed loop (--rate 0) or a fixed total rate, latency counted from the intended time.
async fn load(a: Args, kind: Kind) -> R<()> {
    let conns = a
        .n("conns", if kind == Kind::Hs { 4 } else { 32 })
        .min(8000);
    let rate = a.n("rate", 0) as f64;
    let c = connector(&a, kind == Kind::Hs && a.n("resume", 0) == 1);
    let (path, sni) = (a.s("path", "/"), a.s("sni", "proxy.test"));
    let separator = if path.contains('?') { '&' } else { '?' };
    // Each answer is known by its request's tag, so that none can be taken for another's.
    let request: Rc<dyn Fn(&str) -> String> = Rc::new(move |tag| {
        format!("GET {path}{separator}tag={tag} HTTP/1.1\r\nHost: {sni}\r\nUser-Agent: proxybench\r\nAccept: */*\r\nOrigin: https://app.example\r\n\r\n")
    });
    let size = a.n("size", 100) as usize;
    let acc = Rc::new(RefCell::new(Acc::default()));
    let mut socks = Vec::new();
    if kind != Kind::Hs {
        for _ in 0..conns {
            let mut s = if kind == Kind::Ws {
                ws_open(&a, &c).await?
            } else {
                dial(&a, &c).await?
            };
            let mut b = Vec::with_capacity(8192);
            // one exchange before the clock starts: pools, caches and tickets are warm
            if kind == Kind::Ws {
                ws_echo(&mut s, b"first", size, &mut b).await?;
            } else {
                let st = exchange(&mut s, request("first").as_bytes(), b"first", &mut b)
                    .await?
                    .0;
                if st != 200 {
                    return Err(format!("status {st}").into());
                }
            }
            socks.push((s, b));
        }
    }
    let pids = tree(&a.s("pid", ""));
    let mut load_pids = tree(&a.s("load-pid", ""));
    load_pids.push(std::process::id());
    let (u0, load0, t0) = (usage(&pids), usage(&load_pids), Instant::now());
    let end = t0 + a.secs();
    let mut js = Vec::new();
    for i in 0..conns {
        let (a, acc, c, request) = (a.clone(), acc.clone(), c.clone(), request.clone());
        let mut sequence = 0_u64;
        let sock = socks.pop();
        js.push(spawn_local(async move {
            let mut sock = sock;
            let gap = if rate > 0.0 {
                Duration::from_secs_f64(conns as f64 / rate)
            } else {
                Duration::ZERO
            };
            let mut due = t0 + gap.mul_f64(i as f64 / conns as f64);
            loop {
                let mut st = Instant::now();
                if rate > 0.0 {
                    if due >= end {
                        break;
                    }
                    if due > st {
                        tokio::time::sleep_until(due.into()).await;
                    }
                    st = due;
                    due += gap;
                } else if st >= end {
                    break;
                }
                sequence += 1;
                let tag = format!("{i}-{sequence}.");
                let r: R<u64> = async {
                    match (kind, &mut sock) {
                        (Kind::Hs, _) => {
                            let mut s = dial(&a, &c).await?;
                            if a.n("get", 0) == 1 {
                                let req = request(&tag);
                                exchange(&mut s, req.as_bytes(), tag.as_bytes(), &mut Vec::new())
                                    .await?;
                            }
                            s.shutdown().await.ok();
                            Ok(0)
                        }
                        (Kind::Ws, Some((s, b))) => {
                            ws_echo(s, tag.as_bytes(), size, b).await?;
                            Ok(size as u64)
                        }
                        (_, Some((s, b))) => {
                            let req = request(&tag);
                            let (st, n) = exchange(s, req.as_bytes(), tag.as_bytes(), b).await?;
                            if st == 200 {
                                Ok(n)
                            } else {
                                Err(format!("status {st}").into())
                            }
                        }
                        _ => Err("no connection".into()),
                    }
                }
                .await;
                let mut g = acc.borrow_mut();
                match r {
                    Ok(n) => {
                        g.n += 1;
                        g.bytes += n;
                        g.lat.push(st.elapsed().as_micros() as u32);
                    }
                    Err(e) => {
                        g.err += 1;
                        g.corrupt += u64::from(e.to_string() == CORRUPT);
                        g.msg.get_or_insert(e.to_string());
                        if kind != Kind::Hs {
                            break;
                        }
                    }
                }
            }
        }));
    }
    for j in js {
        j.await?;
    }
    let el = t0.elapsed();
    let (mut u, load1) = (usage(&pids), usage(&load_pids));
    u.cpu_us -= u0.cpu_us;
    let load_busy_pct = (load1.cpu_us - load0.cpu_us) / el.as_secs_f64() / 1e4;
    let what = match kind {
        Kind::Hs => "handshake",
        Kind::Ws => "ws",
        Kind::Http => "http",
    };
    // an echo is two relayed messages
    report(
        &a,
        what,
        if kind == Kind::Ws { 2.0 } else { 1.0 },
        &mut acc.borrow_mut(),
        el,
        Spent {
            proxy: u,
            rss0_kib: u0.rss_kib,
            load_busy_pct,
        },
    );
    Ok(())
}
/// Opens --conns WebSockets, one echo each, then holds them --secs and reads the proxy's memory.
async fn idle(a: Args) -> R<()> {
    let pids = tree(&a.s("pid", ""));
    let (n, c) = (a.n("conns", 2000).min(8000), connector(&a, false));
    let size = a.n("size", 100) as usize;
    let u0 = usage(&pids);
    let mut v = Vec::new();
    for _ in 0..n {
        let mut s = ws_open(&a, &c).await?;
        ws_echo(
            &mut s,
            v.len().to_string().as_bytes(),
            size,
            &mut Vec::new(),
        )
        .await?;
        v.push(s);
    }
    let u1 = usage(&pids);
    tokio::time::sleep(a.secs()).await;
    let u2 = usage(&pids);
    println!("{{\"what\":\"idle\",\"name\":\"{}\",\"conns\":{n},\"rss0_kib\":{},\"rss_kib\":{},\"kib_per_conn\":{:.2},\"setup_cpu_us\":{:.0},\"idle_cpu_ms_s\":{:.2}}}", a.s("name", ""), u0.rss_kib, u2.rss_kib, (u2.rss_kib as f64 - u0.rss_kib as f64) / n as f64, (u1.cpu_us - u0.cpu_us) / n as f64, (u2.cpu_us - u1.cpu_us) / 1000.0 / a.secs().as_secs_f64().max(0.001));
    Ok(())
}

fn main() -> R<()> {
    let mut it = std::env::args().skip(1);
    let cmd = it.next().unwrap_or_default();
    let mut m = HashMap::new();
    while let Some(k) = it.next() {
        m.insert(
            k.trim_start_matches('-').to_string(),
            it.next().ok_or("every option takes a value")?,
        );
    }
    let a = Args(Rc::new(m));
    let rt = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&rt, async move {
        match cmd.as_str() {
            "origin" => origin(a).await,
            "http" => load(a, Kind::Http).await,
            "ws" => load(a, Kind::Ws).await,
            "handshake" => load(a, Kind::Hs).await,
            "idle" => idle(a).await,
            _ => Err("commands: origin http ws handshake idle (see README.md)".into()),
        }
    })
}
