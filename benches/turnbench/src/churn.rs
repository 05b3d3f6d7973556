//! Control-plane load: allocate, hold, refresh and delete, phase by phase or
//! as whole lives, with the server's CPU time and memory per allocation.

use crate::procstat::{ksoftirqd, rss_kb, slab_kb, Cpu};
use crate::session::{Engine, Step};
use crate::transport::Transport;
use serde_json::{json, Value};

pub struct Churn {
    pub concurrency: usize,
    pub rate: f64,
    pub hold_s: f64,
    /// Bind a channel on every allocation.
    pub bind: bool,
    /// Whole lives after the phases, over all sessions, each time from new
    /// client addresses: challenge, allocate, refresh, delete.
    pub rounds: usize,
    /// How long the server has to give memory back before it is read again.
    pub settle_s: f64,
    pub server_pids: Vec<u32>,
}

pub fn run(engine: &mut Engine, t: &mut dyn Transport, c: &Churn) -> Value {
    let softirq = ksoftirqd();
    let n = engine.sessions.len();
    let sample = || {
        (
            Cpu::sample(&c.server_pids, &softirq),
            rss_kb(&c.server_pids),
            slab_kb(),
        )
    };
    let first = sample();
    let mut out = json!({ "count": n, "concurrency": c.concurrency });
    let connect = if t.padded() {
        vec![Step::Connect]
    } else {
        vec![]
    };
    let phases: [(&str, Vec<Step>); 4] = [
        ("connect", connect),
        ("allocate", vec![Step::Allocate]),
        ("channel", if c.bind { vec![Step::Channel] } else { vec![] }),
        ("refresh", vec![Step::Refresh]),
    ];
    for (name, plan) in phases.iter().filter(|p| !p.1.is_empty()) {
        let before = sample();
        let stats = engine.run(t, plan, c.concurrency, c.rate);
        let after = sample();
        let mut v = stats.json();
        v["cpu"] = after.0.since(&before.0);
        v["server_cpu_us_each"] = json!(
            (after.0.server_ns.saturating_sub(before.0.server_ns) / stats.ok.max(1)) as f64 / 1e3
        );
        v["rss_kb"] = json!(after.1);
        v["rss_bytes_each"] =
            json!((after.1 as f64 - before.1 as f64) * 1024.0 / stats.ok.max(1) as f64);
        v["slab_bytes_each"] =
            json!((after.2 as f64 - before.2 as f64) * 1024.0 / stats.ok.max(1) as f64);
        out[*name] = v;
    }
    if c.hold_s > 0.0 {
        let before = sample();
        std::thread::sleep(std::time::Duration::from_secs_f64(c.hold_s));
        let after = sample();
        out["hold"] = json!({
            "seconds": c.hold_s, "cpu": after.0.since(&before.0), "rss_kb": after.1,
            "rss_bytes_per_allocation": (after.1 as f64 - first.1 as f64) * 1024.0 / n as f64,
            "slab_bytes_per_allocation": (after.2 as f64 - first.2 as f64) * 1024.0 / n as f64,
        });
    }
    let before = sample();
    let stats = engine.run(t, &[Step::Delete], c.concurrency, c.rate);
    out["delete"] = stats.json();
    out["delete"]["server_cpu_us_each"] = json!(
        (Cpu::sample(&c.server_pids, &softirq)
            .server_ns
            .saturating_sub(before.0.server_ns)
            / stats.ok.max(1)) as f64
            / 1e3
    );
    if c.rounds > 0 && !t.padded() {
        let before = sample();
        let (mut ok, mut failed, mut secs) = (0, 0, 0.0);
        for _ in 0..c.rounds {
            t.renew(n);
            engine.forget();
            let s = engine.run(
                t,
                &[Step::Allocate, Step::Refresh, Step::Delete],
                c.concurrency,
                c.rate,
            );
            ok += s.ok;
            failed += s.failed;
            secs += s.elapsed_s;
        }
        let after = sample();
        out["lives"] = json!({
            "ok": ok, "failed": failed, "per_s": (ok as f64 / secs).round(),
            "server_cpu_us_each": (after.0.server_ns.saturating_sub(before.0.server_ns) / ok.max(1)) as f64 / 1e3,
            "cpu": after.0.since(&before.0),
        });
    }
    if c.settle_s > 0.0 {
        std::thread::sleep(std::time::Duration::from_secs_f64(c.settle_s));
    }
    let last = sample();
    out["rss_kb"] = json!({ "before": first.1, "after_delete": last.1 });
    out
}
