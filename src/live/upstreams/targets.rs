//! Which upstreams there are to try: every name that the configuration writes out, and the presets' examples. Pure.

use crate::proxy::allowlist::{Authority, HostList, lines};
use crate::proxy::{HostRule, Settings, vendors};

/// More than any configuration has names that are written out, and few enough for a person to wait for.
const TRIED_MAX: usize = 200;

/// How a client names an upstream to this relayd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::live) enum Way {
    /// `/host/path`.
    Host,
    /// A prefix with a fixed upstream.
    Prefix(String),
    Agora,
    Trtc,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::live) struct Target {
    pub authority: Authority,
    pub way: Way,
}

impl Target {
    /// Path and query on relayd that lead to the root of this upstream, or to what its prefix stands for.
    pub(in crate::live) fn path(&self) -> String {
        let Authority { host, port } = &self.authority;
        match &self.way {
            Way::Host => format!("/{}/", self.authority),
            Way::Prefix(prefix) => prefix.clone(),
            Way::Agora => format!("/rs/?h={host}&p={port}&d=/"),
            Way::Trtc => format!("/v2/ws?signalDomain={host}"),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::live) struct Targets {
    pub tried: Vec<Target>,
    /// Rule, and why it is not tried.
    pub untried: Vec<(String, String)>,
}

/// Each host and port once, in the order of the configuration; what `proxy.deny` holds is left out.
pub(in crate::live) fn targets(settings: &Settings, presets: &[String]) -> Targets {
    let lists = [
        (&settings.allow, Way::Host),
        (&settings.agora_hosts, Way::Agora),
        (&settings.trtc_signal_hosts, Way::Trtc),
    ];
    let mut tried = Tried::new(&settings.deny);
    for route in &settings.routes {
        if let Some(authority) = authority_of(&route.upstream) {
            tried.add(authority, Way::Prefix(route.prefix.clone()));
        }
    }
    for (rules, way) in &lists {
        for rule in rules.iter().filter(|rule| !rule.subdomains) {
            tried.add(first(rule), way.clone());
        }
    }
    // Names below a wildcard that somebody wrote out: the operator for their address, a preset as an example.
    let mut written: Vec<Authority> = settings
        .resolve
        .keys()
        .map(|(host, port)| Authority {
            host: host.clone(),
            port: *port,
        })
        .collect();
    written.sort_by(|a, b| (&a.host, a.port).cmp(&(&b.host, b.port)));
    let presets = presets.iter().filter_map(|name| vendors::preset(name));
    let examples = presets.flat_map(|preset| preset.examples);
    written.extend(examples.filter_map(|name| Authority::parse(name)));
    for authority in written {
        let holds = |(rules, _): &&(&Vec<HostRule>, Way)| HostList::new(rules).holds(&authority);
        if let Some((_, way)) = lists.iter().find(holds) {
            tried.add(authority.clone(), way.clone());
        }
    }
    let wildcards: Vec<HostRule> = lists
        .iter()
        .flat_map(|(rules, _)| rules.iter())
        .filter(|rule| rule.subdomains)
        .cloned()
        .collect();
    let mut untried = tried.untried_of(&wildcards);
    if tried.left_out > 0 {
        let what = format!("{} more hosts", tried.left_out);
        untried.push((what, format!("only the first {TRIED_MAX} are tried")));
    }
    Targets {
        tried: tried.targets,
        untried,
    }
}

struct Tried {
    deny: HostList,
    targets: Vec<Target>,
    left_out: usize,
}

impl Tried {
    fn new(deny: &[HostRule]) -> Self {
        Self {
            deny: HostList::new(deny),
            targets: Vec::new(),
            left_out: 0,
        }
    }

    fn add(&mut self, authority: Authority, way: Way) {
        let known = |target: &Target| target.authority == authority;
        if self.deny.holds(&authority) || self.targets.iter().any(known) {
            return;
        }
        if self.targets.len() == TRIED_MAX {
            self.left_out += 1;
            return;
        }
        self.targets.push(Target { authority, way });
    }

    /// One line for each wildcard, with what stood for it.
    fn untried_of(&self, wildcards: &[HostRule]) -> Vec<(String, String)> {
        let mut untried: Vec<(String, String)> = Vec::new();
        for line in lines(wildcards) {
            let name = line.split(':').next().unwrap_or_default();
            let suffix = name.strip_prefix('*').unwrap_or(name);
            let below = |target: &&Target| target.authority.host.ends_with(suffix);
            let tried = self.targets.iter().find(below);
            let why = match tried {
                Some(target) => format!(
                    "any name below it cannot be tried; {} stands for it",
                    target.authority
                ),
                None => "any name below it: cannot be tried".to_owned(),
            };
            if !untried.iter().any(|(same, _)| *same == line) {
                untried.push((line, why));
            }
        }
        untried
    }
}

/// A range of ports is tried at its first one.
fn first(rule: &HostRule) -> Authority {
    Authority {
        host: rule.name.clone(),
        port: *rule.ports.start(),
    }
}

/// `https://host[:port]/path/`.
fn authority_of(upstream: &str) -> Option<Authority> {
    let rest = upstream.strip_prefix("https://")?;
    Authority::parse_any(rest.split('/').next()?)
}
