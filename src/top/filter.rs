//! The text of a filter as parameters of the API: `user=alice transport=udp client=192.0.2.1`. Pure.
//!
//! A word without a name is taken for what it looks like. Values are the server's to judge.

/// Which list is filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Allocations,
    Tunnels,
}

impl Kind {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Allocations => &["user", "transport", "client", "relayed", "peer"],
            Self::Tunnels => &["client", "host"],
        }
    }

    /// For the line below the editor.
    pub(super) fn help(self) -> &'static str {
        match self {
            Self::Allocations => {
                "user=NAME transport=udp|tcp|tls client=IP[:PORT] relayed=… peer=…; empty: all"
            }
            Self::Tunnels => "client=IP[:PORT] host=NAME; empty: all",
        }
    }
}

pub(super) type Pairs = Vec<(&'static str, String)>;

/// The parameters, or what is wrong with the text.
pub(super) fn parse(kind: Kind, text: &str) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    for word in words(text)? {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) if !name.contains(['.', ':', '"']) => (known(kind, name)?, value),
            _ => (guess(kind, &word), word.as_str()),
        };
        if value.is_empty() {
            return Err(format!("{name}= needs a value"));
        }
        if pairs.iter().any(|(other, _)| *other == name) {
            return Err(format!("{name} is given twice"));
        }
        if name == "transport" && !["udp", "tcp", "tls"].contains(&value) {
            return Err("transport is udp, tcp or tls".to_owned());
        }
        pairs.push((name, value.to_owned()));
    }
    Ok(pairs)
}

fn known(kind: Kind, name: &str) -> Result<&'static str, String> {
    let names = kind.names();
    let found = names.iter().find(|known| **known == name);
    found
        .copied()
        .ok_or_else(|| format!("there is no {name:?}; there are {}", names.join(", ")))
}

fn guess(kind: Kind, word: &str) -> &'static str {
    let is_address =
        word.parse::<std::net::IpAddr>().is_ok() || word.parse::<std::net::SocketAddr>().is_ok();
    match kind {
        _ if is_address => "client",
        Kind::Tunnels => "host",
        Kind::Allocations if ["udp", "tcp", "tls"].contains(&word) => "transport",
        Kind::Allocations => "user",
    }
}

/// Words between spaces; double quotes keep spaces together.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quoted, mut begun) = (false, false);
    for char in text.chars() {
        match char {
            '"' => (quoted, begun) = (!quoted, true),
            char if char.is_whitespace() && !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            char => {
                word.push(char);
                begun = true;
            }
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    if begun {
        words.push(word);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocations(text: &str) -> Result<String, String> {
        let pairs = parse(Kind::Allocations, text)?;
        let shown: Vec<String> = pairs.iter().map(|(n, v)| format!("{n}={v}")).collect();
        Ok(shown.join("|"))
    }

    #[test]
    fn names_are_taken_and_bare_words_guessed() {
        for (text, pairs) in [
            ("", ""),
            ("  user=alice  transport=tls ", "user=alice|transport=tls"),
            (
                "alice udp 192.0.2.1",
                "user=alice|transport=udp|client=192.0.2.1",
            ),
            ("[::1]:4000", "client=[::1]:4000"),
            ("relayed=4000 peer=::1", "relayed=4000|peer=::1"),
            (r#"user="a b" "#, "user=a b"),
            ("user=a=b", "user=a=b"),
            ("1700000000:bob", "user=1700000000:bob"),
        ] {
            assert_eq!(allocations(text).as_deref(), Ok(pairs), "{text}");
        }
        let tunnels = parse(Kind::Tunnels, "a.example 192.0.2.1").expect("valid");
        assert_eq!(tunnels[0], ("host", "a.example".to_owned()));
        assert_eq!(tunnels[1].0, "client");
    }

    #[test]
    fn what_is_no_filter_is_told_and_never_taken_for_no_filter() {
        for text in [
            "usr=alice",
            "user=",
            "transport=sctp",
            "alice bob",
            "user=\"a",
            "\"\"",
        ] {
            assert!(allocations(text).is_err(), "{text}");
        }
        assert!(parse(Kind::Tunnels, "user=alice").is_err());
    }
}
