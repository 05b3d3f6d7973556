//! Whom clients may send to: coturn's order of rules as relayd's lists.

use super::{Draft, Table, Value, lines};
use crate::import::Fate;
use crate::import::facts::At;
use crate::import::peers::{Range, networks, subtract};

const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];
/// What coturn relays to in no case, whatever is allowed.
const NEVER: [&str; 2] = ["0.0.0.0/8", "::/128"];
const MULTICAST: [&str; 2] = ["224.0.0.0/3", "ff00::/8"];

impl Draft {
    pub(super) fn peers(&mut self) {
        let (loopback, no_multicast) = (
            self.facts.allow_loopback.clone(),
            self.facts.no_multicast.clone(),
        );
        let on = |flag: &Option<At<bool>>| flag.as_ref().is_some_and(|at| at.value);
        let mut closed = ranges(&NEVER);
        if !on(&loopback) {
            closed.extend(ranges(&LOOPBACK));
        }
        if on(&no_multicast) {
            closed.extend(ranges(&MULTICAST));
        }
        let allowed: Vec<Range> = self.facts.allowed.iter().map(|at| at.value).collect();
        let denied: Vec<Range> = self.facts.denied.iter().map(|at| at.value).collect();
        let mut open = subtract(&allowed, &closed);
        let mut from = lines(&self.facts.allowed);
        if let Some(at) = loopback.filter(|at| at.value) {
            let remark =
                "services of this machine trust local callers: leave it out except for tests";
            self.facts.tell([at.from], Fate::Remarked, remark);
            // In coturn too, a denied loopback address stays denied unless it is allowed by name.
            open.extend(ranges(&LOOPBACK));
            from.push(at.from);
        }
        self.about_peers(&allowed, no_multicast);
        // A deny beats an allow here, so what coturn allows is not in it.
        let shut = subtract(&denied, &allowed);
        self.add_networks("allow", &open, from);
        self.add_networks("deny", &shut, lines(&self.facts.denied));
    }

    fn add_networks(&mut self, key: &str, ranges: &[Range], from: Vec<usize>) {
        let nets = networks(ranges);
        if !nets.is_empty() {
            let list = nets.iter().map(ToString::to_string).collect();
            self.add(Table::TurnPeers, key, Value::List(list), from);
        }
    }

    fn about_peers(&mut self, allowed: &[Range], no_multicast: Option<At<bool>>) {
        match no_multicast {
            Some(At { value: true, from }) => {
                self.facts
                    .tell([from], Fate::BuiltIn, "relayd denies multicast peers");
            }
            Some(At { value: false, from }) => {
                let remark = "relayd denies multicast peers unless `turn.peers.allow` has them";
                self.facts.tell([from], Fate::NoCounterpart, remark);
            }
            None => {}
        }
        let denied = self.facts.denied.iter();
        let cut = denied.filter(|at| subtract(&[at.value], allowed) != [at.value]);
        let cut: Vec<usize> = cut.map(|at| at.from).collect();
        let remark = "in coturn what is allowed beats what is denied, in relayd it is the other way round: what is allowed was taken out of it";
        self.facts.tell(cut, Fate::Remarked, remark);
        self.remark("Peers: coturn relays to private, multicast and other special addresses unless they are denied; relayd denies them, loopback and link-local too. If clients are to reach peers there, name the networks in turn.peers.allow, such as allow = [\"10.0.0.0/8\"] in [turn.peers]; `relayd check --peer ADDRESS` tells what holds for one.");
    }
}

fn ranges(nets: &[&str]) -> Vec<Range> {
    let range = |net: &&str| Range::of_net(net.parse().expect("these are networks"));
    nets.iter().map(range).collect()
}
