//! The query of a request: names that the route knows, each once, each with a value that parses.

use super::answer::Fault;
use std::cell::RefCell;

/// Parameters of one request.
pub(super) const PARAMETERS_MAX: usize = 16;

/// Name and value pairs, decoded.
#[derive(Debug)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
    known: RefCell<Vec<&'static str>>,
}

impl Query {
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Fault> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text
            .unwrap_or("")
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decode(name), decode(value)) else {
                return Err(Fault::bad("the query is not percent-encoded UTF-8"));
            };
            if pairs.iter().any(|(other, _)| *other == name) {
                return Err(Fault::bad(format!("`{name}` is given twice")));
            }
            if pairs.len() == PARAMETERS_MAX {
                return Err(Fault::bad("the query has too many parameters"));
            }
            pairs.push((name, value));
        }
        Ok(Self {
            pairs,
            known: RefCell::default(),
        })
    }

    pub(super) fn text(&self, name: &'static str) -> Option<&str> {
        self.known.borrow_mut().push(name);
        let found = self.pairs.iter().find(|(other, _)| other == name)?;
        Some(&found.1)
    }

    /// A value that `read` takes; `accepted` says what it takes.
    pub(super) fn value<T>(
        &self,
        name: &'static str,
        accepted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Fault> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let value = read(text);
        let wrong = || Fault::bad(format!("`{name}` cannot be {text:?}; accepted: {accepted}"));
        value.map(Some).ok_or_else(wrong)
    }

    /// An error for a parameter that nobody has asked for: a misspelt filter must not be no filter.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        let known = self.known.borrow();
        let unknown = self
            .pairs
            .iter()
            .find(|(name, _)| !known.contains(&name.as_str()));
        let Some((name, _)) = unknown else {
            return Ok(());
        };
        let accepted = match known.is_empty() {
            true => "none".to_owned(),
            false => known.join(", "),
        };
        Err(Fault::bad(format!(
            "unknown parameter {name:?}; accepted: {accepted}"
        )))
    }
}

/// Percent-decoding with `+` as a space, as forms and URLSearchParams write it.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_first_chunk::<2>()?;
                rest = after;
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_and_unknown_or_repeated_names_refused() {
        let query = Query::parse(Some("user=a+b%26%C3%A9&limit=3")).expect("valid");
        assert_eq!(query.text("user"), Some("a b&é"));
        assert!(query.finish().is_err(), "limit is not asked for yet");
        let limit = query.value("limit", "a number", |text| text.parse::<u8>().ok());
        assert_eq!(limit.expect("a number"), Some(3));
        query.finish().expect("all known");
        for bad in ["a=1&a=2", "a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert!(Query::parse(Some(bad)).is_err(), "{bad}");
        }
        let many = (0..=PARAMETERS_MAX).map(|n| format!("p{n}=1"));
        let many: Vec<String> = many.collect();
        assert!(Query::parse(Some(&many.join("&"))).is_err());
    }
}
