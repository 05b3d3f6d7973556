//! What a server process costs: CPU time, memory, and what else the machine did.

use serde_json::{json, Value};
use std::collections::HashSet;
use std::fs;

fn read(path: String) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The processes given and all their descendants.
fn family(roots: &[u32]) -> Vec<u32> {
    let mut all = roots.to_vec();
    let mut at = 0;
    while at < all.len() {
        let pid = all[at];
        at += 1;
        for task in tasks(pid) {
            let kids = read(format!("/proc/{pid}/task/{task}/children"));
            for kid in kids.split_whitespace().filter_map(|k| k.parse().ok()) {
                if !all.contains(&kid) {
                    all.push(kid);
                }
            }
        }
    }
    all
}

fn tasks(pid: u32) -> Vec<u32> {
    let Ok(dir) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return vec![];
    };
    dir.flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect()
}

/// Scheduler run time of one task in nanoseconds.
fn run_ns(pid: u32, task: u32) -> u64 {
    first_number(&read(format!("/proc/{pid}/task/{task}/schedstat")))
}

fn first_number(text: &str) -> u64 {
    text.split_whitespace()
        .next()
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

fn kb(text: &str, key: &str) -> u64 {
    text.lines()
        .find(|l| l.starts_with(key))
        .and_then(|l| l.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

/// Resident memory of the processes, in KiB.
pub fn rss_kb(pids: &[u32]) -> u64 {
    family(pids)
        .iter()
        .map(|p| kb(&read(format!("/proc/{p}/status")), "VmRSS:"))
        .sum()
}

/// Kernel slab of the whole machine, in KiB (sockets live there, not in RSS).
pub fn slab_kb() -> u64 {
    kb(&read("/proc/meminfo".into()), "Slab:")
}

/// Datagrams dropped at the UDP sockets of these processes, their buffers being full.
pub fn udp_drops(pids: &[u32]) -> u64 {
    let sockets: HashSet<u64> = family(pids).into_iter().flat_map(socket_inodes).collect();
    if sockets.is_empty() {
        return 0;
    }
    ["udp", "udp6"]
        .iter()
        .map(|table| drops_of(&read(format!("/proc/net/{table}")), &sockets))
        .sum()
}

fn socket_inodes(pid: u32) -> Vec<u64> {
    let Ok(dir) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return vec![];
    };
    dir.flatten()
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?;
            inode.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

/// The inode is the tenth column, the drops are the last.
fn drops_of(table: &str, sockets: &HashSet<u64>) -> u64 {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let inode = line.split_whitespace().nth(9)?.parse().ok()?;
            let drops = line.split_whitespace().last()?.parse::<u64>().ok()?;
            sockets.contains(&inode).then_some(drops)
        })
        .sum()
}

/// Accounts so far. A thread that ends takes its own along, so a difference is never taken as below zero.
#[derive(Clone, Default)]
pub struct Cpu {
    pub server_ns: u64,
    user_ticks: u64,
    system_ticks: u64,
    ksoftirqd_ns: u64,
    /// The calling thread's: the load is one thread.
    pub own_ns: u64,
    busy_ticks: u64,
    steal_ticks: u64,
    rcvbuf_errors: u64,
}

impl Cpu {
    pub fn sample(pids: &[u32], ksoftirqd: &[u32]) -> Self {
        let mut c = Cpu::default();
        for pid in family(pids) {
            for task in tasks(pid) {
                c.server_ns += run_ns(pid, task);
            }
            let stat = read(format!("/proc/{pid}/stat"));
            let mut f = stat
                .rsplit(')')
                .next()
                .unwrap_or("")
                .split_whitespace()
                .skip(11);
            let mut next = || f.next().and_then(|v| v.parse::<u64>().ok()).unwrap_or(0);
            c.user_ticks += next();
            c.system_ticks += next();
        }
        c.ksoftirqd_ns = ksoftirqd.iter().map(|p| run_ns(*p, *p)).sum();
        c.own_ns = first_number(&read("/proc/thread-self/schedstat".into()));
        let stat = read("/proc/stat".into());
        let f: Vec<u64> = stat
            .lines()
            .next()
            .unwrap_or("")
            .split_whitespace()
            .skip(1)
            .filter_map(|v| v.parse().ok())
            .collect();
        if f.len() >= 8 {
            c.busy_ticks = f[0] + f[1] + f[2] + f[5] + f[6];
            c.steal_ticks = f[7];
        }
        let snmp = read("/proc/net/snmp".into());
        let mut udp = snmp.lines().filter(|l| l.starts_with("Udp:"));
        if let (Some(names), Some(values)) = (udp.next(), udp.next()) {
            c.rcvbuf_errors = names
                .split_whitespace()
                .zip(values.split_whitespace())
                .find(|(n, _)| *n == "RcvbufErrors")
                .and_then(|(_, v)| v.parse().ok())
                .unwrap_or(0);
        }
        c
    }

    /// Differences since `from`; `other_s` is CPU that neither server nor
    /// generator used, the sign of a polluted measurement.
    pub fn since(&self, from: &Cpu) -> Value {
        let s = |ns: u64| ns as f64 / 1e9;
        let ticks = |t: u64| t as f64 / 100.0;
        let server = s(self.server_ns.saturating_sub(from.server_ns));
        let own = s(self.own_ns.saturating_sub(from.own_ns));
        let soft = s(self.ksoftirqd_ns.saturating_sub(from.ksoftirqd_ns));
        let busy = ticks(self.busy_ticks.saturating_sub(from.busy_ticks));
        let r = |v: f64| (v * 1000.0).round() / 1000.0;
        json!({
            "server_s": r(server),
            "server_user_s": ticks(self.user_ticks.saturating_sub(from.user_ticks)),
            "server_system_s": ticks(self.system_ticks.saturating_sub(from.system_ticks)),
            "generator_s": r(own),
            "ksoftirqd_s": r(soft),
            "other_s": r((busy - server - own - soft).max(0.0)),
            "steal_s": ticks(self.steal_ticks.saturating_sub(from.steal_ticks)),
            "udp_rcvbuf_errors": self.rcvbuf_errors.saturating_sub(from.rcvbuf_errors),
        })
    }
}

/// Pids of the ksoftirqd threads: their time belongs to nobody's process.
pub fn ksoftirqd() -> Vec<u32> {
    let Ok(dir) = fs::read_dir("/proc") else {
        return vec![];
    };
    dir.flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok())
        .filter(|p| read(format!("/proc/{p}/comm")).starts_with("ksoftirqd"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmsg::{drops, local_addr, udp_bind};
    use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

    /// Both ways of asking the kernel name the datagrams that a full buffer lost.
    #[test]
    fn a_full_buffer_is_counted() {
        let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let fd = udp_bind(any, 4096).expect("binds");
        let to = local_addr(fd).expect("has an address");
        let from = UdpSocket::bind(any).expect("binds");
        let before = udp_drops(&[std::process::id()]);
        for _ in 0..200 {
            from.send_to(&[0; 1000], to).expect("loopback takes all");
        }
        assert!(drops(fd) > 100, "{}", drops(fd));
        assert!(udp_drops(&[std::process::id()]) - before >= drops(fd));
    }
}
