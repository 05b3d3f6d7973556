//! Measuring a packet: alone, and many calls in turn, as a worker meets them.

use crate::bench::Runner;
use relayd::addr::PeerAddr;
use relayd::quality::{Arrived, Call, Counts, Side, measure};
use std::net::{Ipv4Addr, SocketAddrV4};

const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(8, 8, 8, 8), 5000);
/// Of one packet of a stream to the next.
const PACE_NS: u64 = 20_000_000;

pub fn run(runner: &mut Runner) {
    for calls in [1, 1000] {
        let name = |what: &str| format!("quality/{what}/{calls}");
        let (audio, other) = (rtp(), [0x40; 172].to_vec());
        for (name, payload) in [(name("rtp"), audio), (name("other"), other)] {
            if runner.wants(&name) {
                packets(runner, &name, calls, payload);
            }
        }
    }
}

fn packets(runner: &mut Runner, name: &str, calls: usize, mut payload: Vec<u8>) {
    let mut records: Vec<Option<Box<Call>>> = Vec::new();
    records.resize_with(calls, || None);
    let mut counts = Counts::default();
    let is_rtp = payload[0] == 0x80;
    let mut sent = 0_u64;
    runner.bench(name, || {
        let (round, index) = (sent / calls as u64, sent % calls as u64);
        if is_rtp {
            number(&mut payload, round);
        }
        let now_ns = round * PACE_NS + index * PACE_NS / calls as u64;
        let arrived = Arrived::new(Side::Client, PeerAddr::new(PEER.into()), now_ns);
        measure(&mut records[index as usize], &mut counts, arrived, &payload);
        sent += 1;
    });
}

/// A packet of Opus at 60 kbit/s.
pub fn rtp() -> Vec<u8> {
    let mut payload = vec![7; 172];
    payload[..2].copy_from_slice(&[0x80, 111]);
    payload
}

/// Makes it the nth packet of its stream.
pub fn number(payload: &mut [u8], n: u64) {
    payload[2..4].copy_from_slice(&(n as u16).to_be_bytes());
    payload[4..8].copy_from_slice(&(n as u32).wrapping_mul(960).to_be_bytes());
}
