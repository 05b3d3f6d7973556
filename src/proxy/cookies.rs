//! Cookie scope: one origin serves every vendor, so a cookie is bound to the path of the route that set it.
//!
//! Set-Cookie loses Domain, and its Path gets the route's `cookie_path` in front; a route without one keeps no cookies.
//! A `__Host-` cookie demands the Path `/` and is therefore refused by the browser: that is the safe side. No storage here.

use super::route::{Route, below, split_query};
use http::{HeaderMap, HeaderValue, header};

/// Rewrites every Set-Cookie for the client of `route`, or removes them all.
pub fn scope(headers: &mut HeaderMap, route: &Route) {
    let scoped = scoped(headers, route);
    headers.remove(header::SET_COOKIE);
    for cookie in scoped {
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// The Set-Cookie values of an upstream's answer as the client may have them.
///
/// Also for an answer that the client never sees, because its redirect is followed here.
pub fn scoped(upstream: &HeaderMap, route: &Route) -> Vec<HeaderValue> {
    let Some(cookie_path) = &route.cookie_path else {
        return Vec::new();
    };
    let all = upstream.get_all(header::SET_COOKIE).iter();
    all.filter_map(|cookie| scope_one(cookie.as_bytes(), cookie_path, route))
        .collect()
}

fn scope_one(cookie: &[u8], cookie_path: &str, route: &Route) -> Option<HeaderValue> {
    let mut parts = cookie.split(|b| *b == b';');
    let mut out = parts.next()?.trim_ascii_end().to_vec();
    let mut path = None;
    for attribute in parts.map(<[u8]>::trim_ascii) {
        let (name, value) = split_attribute(attribute);
        if name.eq_ignore_ascii_case(b"path") {
            path = std::str::from_utf8(value).ok();
        } else if !name.eq_ignore_ascii_case(b"domain") && !attribute.is_empty() {
            out.extend_from_slice(b"; ");
            out.extend_from_slice(attribute);
        }
    }
    // RFC 6265 §5.2.4: a path that does not begin with a slash counts as none.
    let path = path.filter(|path| path.starts_with('/'));
    let path = path.unwrap_or_else(|| default_path(&route.path_and_query));
    let inside = match path {
        "/" => "",
        path => below(path, &route.upstream_base).unwrap_or(""),
    };
    out.extend_from_slice(b"; Path=");
    out.extend_from_slice(cookie_path.as_bytes());
    out.extend_from_slice(inside.as_bytes());
    HeaderValue::from_bytes(&out).ok()
}

fn split_attribute(attribute: &[u8]) -> (&[u8], &[u8]) {
    let mut halves = attribute.splitn(2, |b| *b == b'=');
    let name = halves.next().unwrap_or_default().trim_ascii();
    (name, halves.next().unwrap_or_default().trim_ascii())
}

/// RFC 6265 §5.1.4: the request's path up to its last slash, which is left out.
fn default_path(path_and_query: &str) -> &str {
    let (path, _) = split_query(path_and_query);
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(last) => path.get(..last).unwrap_or("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::route::RouteKind;
    use super::*;

    fn route(cookie_path: Option<&str>, upstream_base: &str, path: &str) -> Route {
        Route {
            host: "edge.skype.com".into(),
            port: 443,
            path_and_query: path.into(),
            cookie_path: cookie_path.map(str::to_owned),
            base: String::new(),
            mount: cookie_path.unwrap_or("").into(),
            upstream_base: upstream_base.into(),
            kind: RouteKind::Host,
            user_address: false,
        }
    }

    fn scoped_one(cookie: &str, route: &Route) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(header::SET_COOKIE, cookie.parse().expect("a value"));
        scope(&mut headers, route);
        let all: Vec<_> = headers.get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(all.len(), 1);
        all[0].to_str().expect("ASCII").to_owned()
    }

    #[test]
    fn a_cookie_loses_its_domain_and_is_bound_to_the_path_of_its_route() {
        let route = route(Some("/edge.skype.com"), "", "/a/b/c?d=/e/f");
        for (given, wanted) in [
            ("a=b; Path=/", "a=b; Path=/edge.skype.com"),
            (
                "a=b; Path=/x/y; Secure",
                "a=b; Secure; Path=/edge.skype.com/x/y",
            ),
            (
                "a=b; domain=.skype.com; PATH=/; HttpOnly",
                "a=b; HttpOnly; Path=/edge.skype.com",
            ),
            ("a=b", "a=b; Path=/edge.skype.com/a/b"),
            ("a=b; Path=", "a=b; Path=/edge.skype.com/a/b"),
            ("a=b; Path=x", "a=b; Path=/edge.skype.com/a/b"),
            (
                "a=b; Path=/x; Path=/y; Domain=a; Domain=b",
                "a=b; Path=/edge.skype.com/y",
            ),
            (
                "a=\"b, c\"; SameSite=None;; Expires=Thu, 01 Jan 2026 00:00:00 GMT",
                "a=\"b, c\"; SameSite=None; Expires=Thu, 01 Jan 2026 00:00:00 GMT; Path=/edge.skype.com/a/b",
            ),
        ] {
            assert_eq!(scoped_one(given, &route), wanted, "{given}");
        }
    }

    #[test]
    fn the_upstream_base_of_a_prefix_route_becomes_the_prefix() {
        let route = route(Some("/azure/ws"), "/v2", "/v2/x");
        for (given, wanted) in [
            ("a=b; Path=/v2/x", "a=b; Path=/azure/ws/x"),
            ("a=b; Path=/v2", "a=b; Path=/azure/ws"),
            ("a=b; Path=/", "a=b; Path=/azure/ws"),
            ("a=b; Path=/v22", "a=b; Path=/azure/ws"),
            ("a=b", "a=b; Path=/azure/ws"),
        ] {
            assert_eq!(scoped_one(given, &route), wanted, "{given}");
        }
    }

    #[test]
    fn a_route_without_a_cookie_path_sets_none() {
        let mut headers = HeaderMap::new();
        headers.insert(header::SET_COOKIE, HeaderValue::from_static("a=b"));
        scope(&mut headers, &route(None, "", "/"));
        assert!(headers.is_empty());
    }

    #[test]
    fn every_cookie_of_an_answer_stays() {
        let mut headers = HeaderMap::new();
        for cookie in ["a=1", "b=2", "c=3"] {
            headers.append(header::SET_COOKIE, HeaderValue::from_static(cookie));
        }
        scope(&mut headers, &route(Some("/h.com"), "", "/"));
        let all = headers.get_all(header::SET_COOKIE).iter();
        assert_eq!(
            all.collect::<Vec<_>>(),
            ["a=1; Path=/h.com", "b=2; Path=/h.com", "c=3; Path=/h.com"]
        );
    }
}
