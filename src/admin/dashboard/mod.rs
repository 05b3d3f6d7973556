//! The dashboard: one page that shows what `/stats`, `/history`, `/allocations` and `/tunnels` tell.
//!
//! Owns the page's files and their headers. They hold no data, so they need no token; the page asks for one when an answer is
//! a 401. Nothing is loaded from elsewhere, and the policy lets nothing be: no inline script or style, no markup made of text.
//! Absent: the numbers themselves.

use super::answer::{Fault, Reply, respond};
use super::routes::Call;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::fmt::Write;
use std::sync::LazyLock;

const HTML: &str = include_str!("index.html");
const POLICY: &str = include_str!("policy.txt");
const STYLE: &str = concat!(
    include_str!("css/base.css"),
    include_str!("css/parts.css"),
    include_str!("css/plots.css"),
);

/// In the order in which they are joined: whoever is used while a file is read comes before it.
const MODULES: [&str; 19] = [
    include_str!("js/dom.mjs"),
    include_str!("js/format.mjs"),
    include_str!("js/scale.mjs"),
    include_str!("js/samples.mjs"),
    include_str!("js/api.mjs"),
    include_str!("js/plot.mjs"),
    include_str!("js/table.mjs"),
    include_str!("js/parts.mjs"),
    include_str!("js/quality.mjs"),
    include_str!("js/feed.mjs"),
    include_str!("js/calls.mjs"),
    include_str!("js/call.mjs"),
    include_str!("js/overview.mjs"),
    include_str!("js/turn.mjs"),
    include_str!("js/proxy.mjs"),
    include_str!("js/server.mjs"),
    include_str!("js/notices.mjs"),
    include_str!("js/theme.mjs"),
    include_str!("js/main.mjs"),
];

static PAGE: LazyLock<File> = LazyLock::new(|| {
    let html = HTML.replacen("{{version}}", env!("CARGO_PKG_VERSION"), 1);
    File::new("text/html; charset=utf-8", html)
});
static SHEET: LazyLock<File> =
    LazyLock::new(|| File::new("text/css; charset=utf-8", STYLE.to_owned()));
static SCRIPT: LazyLock<File> =
    LazyLock::new(|| File::new("text/javascript; charset=utf-8", joined(&MODULES)));

pub async fn page(call: Call) -> Result<Reply, Fault> {
    Ok(PAGE.reply(&call.headers))
}

pub async fn style(call: Call) -> Result<Reply, Fault> {
    Ok(SHEET.reply(&call.headers))
}

pub async fn script(call: Call) -> Result<Reply, Fault> {
    Ok(SCRIPT.reply(&call.headers))
}

/// One script of all modules: a request a connection makes many small files slow. Each is a module to editors and tests, so
/// the lines that import one from another go, and the word `export`.
fn joined(modules: &[&str]) -> String {
    let lines = modules.iter().flat_map(|module| module.lines());
    lines
        .filter(|line| !line.starts_with("import "))
        .map(|line| line.strip_prefix("export ").unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect()
}

struct File {
    content_type: &'static str,
    body: Bytes,
    /// Of the content: another version's differs, and a cached file is asked about each time.
    tag: HeaderValue,
}

impl File {
    fn new(content_type: &'static str, text: String) -> Self {
        let mut tag = String::from("\"");
        for byte in digest(&SHA256, text.as_bytes()).as_ref().iter().take(16) {
            write!(tag, "{byte:02x}").expect("a string takes all");
        }
        tag.push('"');
        Self {
            content_type,
            body: Bytes::from(text),
            tag: HeaderValue::try_from(tag).expect("digits in quotes"),
        }
    }

    fn reply(&self, asked: &HeaderMap) -> Reply {
        let (status, body) = match self.is_known(asked) {
            true => (StatusCode::NOT_MODIFIED, Bytes::new()),
            false => (StatusCode::OK, self.body.clone()),
        };
        let mut reply = respond(status, self.content_type, body);
        let headers = reply.headers_mut();
        headers.insert(ETAG, self.tag.clone());
        for (name, value) in [
            (CACHE_CONTROL, "no-cache"),
            (CONTENT_SECURITY_POLICY, POLICY.trim_ascii_end()),
            (REFERRER_POLICY, "no-referrer"),
            (X_FRAME_OPTIONS, "DENY"),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                "same-origin",
            ),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        reply
    }

    /// RFC 9110 §13.1.2: any tag of the list, or all.
    fn is_known(&self, asked: &HeaderMap) -> bool {
        let lists = asked.get_all(IF_NONE_MATCH).iter();
        lists
            .filter_map(|list| list.to_str().ok())
            .flat_map(|list| list.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == "*" || tag.as_bytes() == self.tag.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again_and_another_versions_is() {
        let old = File::new("text/css", "a{}".to_owned());
        let new = File::new("text/css", "b{}".to_owned());
        let asking = |tag: &HeaderValue| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, tag.clone());
            headers
        };
        assert_eq!(new.reply(&HeaderMap::new()).status(), StatusCode::OK);
        assert_eq!(new.reply(&asking(&old.tag)).status(), StatusCode::OK);
        let same = new.reply(&asking(&new.tag));
        assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(same.headers()[ETAG], new.tag);
        assert_eq!(same.headers()[CACHE_CONTROL], "no-cache");
        let list = format!("\"x\", W/{}", new.tag.to_str().expect("ASCII"));
        let list = HeaderValue::try_from(list).expect("a value");
        assert_eq!(new.reply(&asking(&list)).status(), StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn the_policy_lets_nothing_in_from_elsewhere_or_inline() {
        let reply = PAGE.reply(&HeaderMap::new());
        let policy = reply.headers()[CONTENT_SECURITY_POLICY]
            .to_str()
            .expect("ASCII")
            .to_owned();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ] {
            assert!(policy.contains(part), "{part} in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.headers()["x-content-type-options"], "nosniff");
        assert_eq!(reply.headers()[REFERRER_POLICY], "no-referrer");
        for sign in [" style=", " onclick=", " onload=", "<style", "<script>"] {
            assert!(!HTML.contains(sign), "{sign} is what the policy blocks");
        }
    }

    #[test]
    fn no_file_names_another_host() {
        let script = joined(&MODULES);
        // Names of XML namespaces, which nobody fetches.
        for (name, text) in [("html", HTML), ("css", STYLE), ("js", &script)] {
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for sign in ["http://", "https://", "//cdn", "@import", "url("] {
                assert!(!text.contains(sign), "{sign} in {name}");
            }
        }
        for sign in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "eval(",
            "document.write",
        ] {
            assert!(!script.contains(sign), "{sign}");
        }
    }

    /// The modules share one scope once they are joined.
    #[test]
    fn no_two_modules_declare_one_name_and_none_imports_what_is_not_joined() {
        let script = joined(&MODULES);
        let mut names = BTreeSet::new();
        for line in script.lines() {
            assert!(!line.starts_with("import"), "{line}");
            assert!(!line.starts_with("export"), "{line}");
            let line = line.strip_prefix("async ").unwrap_or(line);
            for word in ["const ", "let ", "function ", "class "] {
                if let Some(rest) = line.strip_prefix(word) {
                    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                    let name = &rest[..end.unwrap_or(rest.len())];
                    assert!(names.insert(name), "{name} is declared twice");
                }
            }
        }
        assert!(names.contains("Overview"), "{names:?}");
    }

    #[test]
    fn the_page_knows_the_version_that_it_came_with() {
        let html = String::from_utf8(PAGE.body.to_vec()).expect("UTF-8");
        let expected = format!("content=\"{}\"", env!("CARGO_PKG_VERSION"));
        assert!(html.contains(&expected) && !html.contains("{{"), "{html}");
    }
}
