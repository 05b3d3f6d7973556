//! Redirects: followed here where that is safe, so that the browser never leaves the proxy; rewritten otherwise.
//!
//! A hop goes to an allowed host only, at most `redirects` times, over TLS, and Authorization and Cookie stay behind when
//! the host changes. Never: plain http, an address, a Location that leads the browser past relayd.

use super::location::{Location, Place};
use super::route::{Route, Router};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

/// One answer of an upstream, as far as redirects care.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub status: StatusCode,
    pub location: Option<&'a HeaderValue>,
    /// Of the request that it answers.
    pub method: &'a Method,
    pub route: &'a Route,
    /// The authority the client used.
    pub client_authority: &'a str,
    /// Redirects followed for this request so far.
    pub hops: u8,
    /// Whether the body can be sent again; true for a request without one.
    pub body_replayable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Follow(Box<Follow>),
    /// The answer passes with this Location.
    Rewrite(HeaderValue),
    /// The answer passes without Location: it points where no client of relayd may go.
    Strip,
    /// The answer is no redirect.
    Pass,
}

/// The next request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    pub route: Route,
    pub method: Method,
    pub keep_body: bool,
    /// Host or port changed: Authorization and Cookie do not go along (RFC 9110 §15.4).
    pub drop_credentials: bool,
}

impl Decision {
    /// Gives the answer's headers the Location that the client may see.
    pub fn settle(&self, headers: &mut HeaderMap) {
        match self {
            Self::Rewrite(location) => drop(headers.insert(header::LOCATION, location.clone())),
            Self::Strip => drop(headers.remove(header::LOCATION)),
            Self::Follow(_) | Self::Pass => {}
        }
    }
}

/// Describe a body that a GET does not have (Fetch standard §4.4, "request-body-header name").
const OF_THE_BODY: [HeaderName; 6] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
];

impl Follow {
    /// Turns the headers of the request that was redirected into those of the next one.
    pub fn adjust(&self, to_upstream: &mut HeaderMap) {
        if self.drop_credentials {
            to_upstream.remove(header::AUTHORIZATION);
        }
        if self.drop_credentials || self.route.cookie_path.is_none() {
            to_upstream.remove(header::COOKIE);
        }
        if !self.keep_body {
            for name in OF_THE_BODY {
                to_upstream.remove(name);
            }
        }
        match HeaderValue::from_str(&self.route.authority()) {
            Ok(host) => drop(to_upstream.insert(header::HOST, host)),
            Err(_) => drop(to_upstream.remove(header::HOST)),
        }
    }
}

/// Says what becomes of an upstream's answer.
pub fn decide(answer: &Answer<'_>, router: &Router) -> Decision {
    let (Some(location), true) = (answer.location, is_redirect(answer.status)) else {
        return Decision::Pass;
    };
    let from = answer.route;
    let Some(location) =
        Location::resolve(location.as_bytes(), from, router, answer.client_authority)
    else {
        return Decision::Strip;
    };
    let fragment = location.fragment.clone();
    let (target, seen_by_client) = destination(location, answer, router);
    match target {
        Some(route) if answer.hops < router.redirects_max => follow(answer, route),
        Some(_) | None => None,
    }
    .unwrap_or_else(|| rewrite(answer.client_authority, &seen_by_client, &fragment))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The route to follow, if it is allowed, and the path by which the client reaches the same place.
fn destination(
    location: Location,
    answer: &Answer<'_>,
    router: &Router,
) -> (Option<Route>, String) {
    let from = answer.route;
    let path = location.path_and_query;
    let authority = match location.place {
        Place::Upstream(authority) => authority,
        Place::Same => from.to_authority(),
        Place::Own => match router.route(answer.client_authority, &path) {
            Ok(route) => return (Some(route), path),
            // The upstream built its own address from X-Forwarded-Host.
            Err(_) => from.to_authority(),
        },
    };
    let route = router.route_beside(from, &authority, &path);
    let client_path = route.as_ref().and_then(Route::client_path);
    let client_path = client_path.unwrap_or_else(|| format!("{}/{authority}{path}", from.base));
    (route, client_path)
}

fn follow(answer: &Answer<'_>, route: Route) -> Option<Decision> {
    let method = next_method(answer.status, answer.method);
    let keep_body = method == *answer.method;
    if keep_body && !answer.body_replayable {
        return None;
    }
    let drop_credentials = route.to_authority() != answer.route.to_authority();
    Some(Decision::Follow(Box::new(Follow {
        route,
        method,
        keep_body,
        drop_credentials,
    })))
}

/// Fetch standard §4.4 "HTTP-redirect fetch", step 12: 303 makes a GET of all but HEAD, 301 and 302 of a POST.
fn next_method(status: StatusCode, method: &Method) -> Method {
    match status.as_u16() {
        303 if *method != Method::HEAD => Method::GET,
        301 | 302 if *method == Method::POST => Method::GET,
        _ => method.clone(),
    }
}

fn rewrite(client_authority: &str, path: &str, fragment: &str) -> Decision {
    let location = format!("https://{client_authority}{path}{fragment}");
    HeaderValue::from_str(&location).map_or(Decision::Strip, Decision::Rewrite)
}

#[cfg(test)]
#[path = "redirect_tests.rs"]
mod tests;
