//! The built-in test page: a relay-only call to itself through this server by UDP, TCP and TLS, and the proxy's probes.
//!
//! Owns the page's text, its data and its headers. One self-contained document: nothing is loaded from elsewhere, and the
//! Content-Security-Policy names the one script and the one style by their hashes. The page may carry a TURN credential (a
//! first try without a file), so its answers must never get CORS headers. No I/O here, and no state: what it shows, the browser found out.

mod probe;

pub use probe::{Expect, Probe, ProbeKind, probes};

use crate::secret::Secret;
use crate::snippet::Snippet;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::json;

const HTML: &str = include_str!("index.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Where the page lives beside `/`: reachable also where `/` is somebody else's.
const PREFIX: &str = "/relayd-test/";

/// What the page knows about this server.
#[derive(Clone, Debug, Default)]
pub struct PageData {
    /// The name that the certificate is for, if there is one: advice to a person who opened the page by another.
    pub domain: Option<String>,
    /// Port of a UDP listener; `None`: the page does not test UDP.
    pub udp_port: Option<u16>,
    /// Port of a plain TCP listener.
    pub tcp_port: Option<u16>,
    /// Port of a TLS listener. A page opened by HTTPS tests the port it was opened by instead.
    pub tls_port: Option<u16>,
    /// A TURN user, shown to everyone who can open the page: for a first try only. `None`: the page asks.
    pub username: Option<String>,
    pub credential: Option<Secret>,
    /// The certificate made at start, in DER, if there is one: Chromium takes it for TURN only when it is started with the hash of its key.
    pub self_signed: Option<Vec<u8>>,
    /// What to fetch and open through the proxy.
    pub probes: Vec<Probe>,
    /// The labels of the proxy's own errors: they tell relayd's answer from the host's.
    pub error_labels: Vec<&'static str>,
    /// Client code to copy; it carries credentials only where `credential` does.
    pub snippets: Vec<Snippet>,
}

/// The page, made once; answering costs a reference count.
#[derive(Clone, Debug)]
pub struct Page {
    html: Bytes,
    policy: HeaderValue,
}

impl Page {
    pub fn new(data: &PageData) -> Self {
        // The data last: what it holds is not searched for placeholders.
        let html = HTML
            .replacen("{{style}}", STYLE, 1)
            .replacen("{{script}}", SCRIPT, 1)
            .replacen("{{data}}", &data_text(data), 1);
        Self {
            html: Bytes::from(html),
            policy: policy(),
        }
    }

    /// The answer to a request for the page; `None`: the path is not the page's, and the proxy goes on.
    pub fn respond(&self, method: &Method, path: &str) -> Option<Response<Bytes>> {
        if path != "/" && !path.starts_with(PREFIX) {
            return None;
        }
        if path != "/" && path != PREFIX {
            return Some(plain(StatusCode::NOT_FOUND, "the test page is at /\n"));
        }
        if method != Method::GET && method != Method::HEAD {
            let mut refusal = plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "the test page answers GET and HEAD\n",
            );
            let allow = HeaderValue::from_static("GET, HEAD");
            refusal.headers_mut().insert(header::ALLOW, allow);
            return Some(refusal);
        }
        let mut response = guarded(
            StatusCode::OK,
            "text/html; charset=utf-8",
            self.html.clone(),
        );
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(self.html.len()));
        if method == Method::HEAD {
            *response.body_mut() = Bytes::new();
        }
        Some(response)
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Bytes> {
    guarded(
        status,
        "text/plain; charset=utf-8",
        Bytes::from_static(text.as_bytes()),
    )
}

/// An answer that is kept in no cache, shown in no frame, and read by no other origin.
fn guarded(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            http::HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            http::HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// `'self'` covers `wss:` to the same host and port in the browsers that WebRTC needs (CSP 3 §6.7.2.8).
fn policy() -> HeaderValue {
    let text = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        source_hash(SCRIPT),
        source_hash(STYLE),
    );
    HeaderValue::try_from(text).expect("directives and base64 are visible ASCII")
}

/// A hash source (CSP 3 §2.3.1): what the browser computes over the element's text.
fn source_hash(text: &str) -> String {
    format!("sha256-{}", BASE64.encode(digest(&SHA256, text.as_bytes())))
}

/// The data as JSON that can stand in a script element: no `<` is left that could end it.
fn data_text(data: &PageData) -> String {
    let probes: Vec<_> = data.probes.iter().map(Probe::to_json).collect();
    json!({
        "domain": data.domain,
        "udp_port": data.udp_port,
        "tcp_port": data.tcp_port,
        "tls_port": data.tls_port,
        "username": data.username,
        "credential": data.credential.as_ref().map(Secret::expose),
        "self_signed": data.self_signed.is_some(),
        "key_sha256": data.self_signed.as_deref().and_then(key_hash),
        "probes": probes,
        "error_labels": data.error_labels,
        "snippets": data.snippets.iter().map(shown).collect::<Vec<_>>(),
    })
    .to_string()
    .replace('<', "\\u003c")
}

fn shown(snippet: &Snippet) -> serde_json::Value {
    json!({ "title": snippet.title, "text": snippet.to_string().trim_end() })
}

/// SHA-256 over the certificate's SubjectPublicKeyInfo, as `--ignore-certificate-errors-spki-list` wants it.
pub fn key_hash(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(BASE64.encode(digest(&SHA256, certificate.public_key().raw)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snippet::{Facts, Login};

    fn sample() -> PageData {
        PageData {
            domain: Some("relay.example.com".to_owned()),
            udp_port: Some(3478),
            tcp_port: Some(3478),
            tls_port: Some(8443),
            username: Some("guest".to_owned()),
            credential: Some(Secret::new("</script><script>alert(1)</script>")),
            self_signed: None,
            probes: probes(|_| true),
            error_labels: vec!["host_not_allowed"],
            snippets: Vec::new(),
        }
    }

    fn html(page: &Page) -> String {
        let response = page.respond(&Method::GET, "/").expect("the page is at /");
        String::from_utf8(response.body().to_vec()).expect("the page is UTF-8")
    }

    /// The text between the first `open` and the next `close`.
    fn between<'a>(text: &'a str, open: &str, close: &str) -> &'a str {
        let (_, rest) = text.split_once(open).expect("the opening tag is there");
        rest.split_once(close).expect("the closing tag is there").0
    }

    #[test]
    fn page_is_at_the_root_and_under_its_prefix_and_nowhere_else() {
        let page = Page::new(&sample());
        for path in ["/", "/relayd-test/"] {
            let response = page.respond(&Method::GET, path).expect(path);
            assert_eq!(response.status(), StatusCode::OK, "{path}");
        }
        let below = page
            .respond(&Method::GET, "/relayd-test/other")
            .expect("below the prefix");
        assert_eq!(below.status(), StatusCode::NOT_FOUND);
        for path in [
            "",
            "/relayd-test",
            "/index.html",
            "/api.example.com/",
            "//",
            "*",
        ] {
            assert!(page.respond(&Method::GET, path).is_none(), "{path}");
        }
    }

    #[test]
    fn page_is_neither_cached_nor_framed_nor_readable_by_another_origin() {
        let response = Page::new(&sample())
            .respond(&Method::GET, "/")
            .expect("the page is at /");
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .map(|value| value.to_str().expect("ASCII"))
        };
        assert_eq!(header("cache-control"), Some("no-store"));
        assert_eq!(header("referrer-policy"), Some("no-referrer"));
        assert_eq!(header("x-content-type-options"), Some("nosniff"));
        assert_eq!(header("x-frame-options"), Some("DENY"));
        assert_eq!(header("cross-origin-resource-policy"), Some("same-origin"));
        assert_eq!(header("access-control-allow-origin"), None);
        let policy = header("content-security-policy").expect("a policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    /// CSP 3 §2.3.1: the hash is over exactly the text between the tags.
    #[test]
    fn policy_admits_the_one_script_and_the_one_style_of_the_page() {
        let page = Page::new(&sample());
        let text = html(&page);
        let policy = page.policy.to_str().expect("ASCII").to_owned();
        assert_eq!(text.matches("<script>").count(), 1);
        assert_eq!(text.matches("<style>").count(), 1);
        assert!(
            policy.contains(&source_hash(between(&text, "<script>", "</script>"))),
            "{policy}"
        );
        assert!(
            policy.contains(&source_hash(between(&text, "<style>", "</style>"))),
            "{policy}"
        );
        assert!(
            !text.contains(" style=\"") && !text.contains(" onclick="),
            "inline attributes are blocked by the policy"
        );
    }

    #[test]
    fn data_cannot_leave_its_element() {
        let text = html(&Page::new(&sample()));
        let data = between(&text, "id=\"relayd-data\">", "</script>");
        let data: serde_json::Value = serde_json::from_str(data).expect("the element holds JSON");
        assert_eq!(data["credential"], "</script><script>alert(1)</script>");
        assert_eq!(data["tls_port"], 8443);
        assert_eq!(data["probes"][0]["expect_text"], "Trouter");
        assert_eq!(data["error_labels"][0], "host_not_allowed");
    }

    #[test]
    fn self_signed_certificate_is_told_by_the_hash_of_its_key() {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = rcgen::PublicKeyData::subject_public_key_info(&made.signing_key);
        let expected = BASE64.encode(digest(&SHA256, &key));
        let page = Page::new(&PageData {
            self_signed: Some(made.cert.der().to_vec()),
            ..PageData::default()
        });
        let text = html(&page);
        let data: serde_json::Value =
            serde_json::from_str(between(&text, "id=\"relayd-data\">", "</script>"))
                .expect("the element holds JSON");
        assert_eq!(data["self_signed"], true);
        assert_eq!(data["key_sha256"], expected);
    }

    #[test]
    fn client_code_is_data_and_cannot_leave_its_element() {
        let login = Login {
            username: "guest".to_owned(),
            password: Secret::new("</script>"),
            note: None,
        };
        let facts = Facts {
            host: "relay.example.com".to_owned(),
            ipv4: None,
            udp: vec![3478],
            tcp: Vec::new(),
            tls: vec![443],
            realm: "relay.example.com".to_owned(),
            login,
            prefix: String::new(),
            vendors: vec!["livekit".to_owned()],
        };
        let text = html(&Page::new(&PageData {
            snippets: crate::snippet::everything(&facts),
            ..PageData::default()
        }));
        let data = between(&text, "id=\"relayd-data\">", "</script>");
        let data: serde_json::Value = serde_json::from_str(data).expect("the element holds JSON");
        let titles: Vec<_> = data["snippets"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|snippet| snippet["title"].as_str().expect("a title").to_owned())
            .collect();
        assert_eq!(titles.len(), 2, "plain WebRTC and LiveKit: {titles:?}");
        let code = data["snippets"][0]["text"].as_str().expect("text");
        assert!(code.contains("credential: \"</script>\""), "{code}");
    }

    #[test]
    fn page_loads_nothing_from_elsewhere() {
        let text = html(&Page::new(&sample()));
        for sign in ["http://", "https://", " src=\"", "@import", "url("] {
            assert!(!text.contains(sign), "{sign}");
        }
    }

    /// RFC 9110 §9.3.2: HEAD answers with the headers of GET and no body.
    #[test]
    fn head_has_the_length_and_no_body_and_other_methods_are_refused() {
        let page = Page::new(&sample());
        let get = page.respond(&Method::GET, "/").expect("GET");
        let head = page.respond(&Method::HEAD, "/").expect("HEAD");
        assert!(head.body().is_empty());
        assert_eq!(
            head.headers().get(header::CONTENT_LENGTH),
            get.headers().get(header::CONTENT_LENGTH)
        );
        let post = page.respond(&Method::POST, "/").expect("POST");
        assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(
            post.headers().get(header::ALLOW),
            Some(&HeaderValue::from_static("GET, HEAD"))
        );
    }

    #[test]
    fn without_credentials_the_page_carries_none() {
        let text = html(&Page::new(&PageData::default()));
        let data = between(&text, "id=\"relayd-data\">", "</script>");
        let data: serde_json::Value = serde_json::from_str(data).expect("the element holds JSON");
        assert!(data["username"].is_null() && data["credential"].is_null());
        assert!(data["udp_port"].is_null() && data["probes"].as_array().is_some_and(Vec::is_empty));
    }
}
