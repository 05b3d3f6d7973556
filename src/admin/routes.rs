//! The table of routes: method, path, who may ask, and who answers. A route is one line here, and its description in
//! `openapi.json`; a test holds the two together.

use super::answer::{Fault, Reply};
use super::handlers::{
    allocations, config, drain, health, history, log_level, reload, stats, tunnels,
};
use super::query::Query;
use super::state::AdminState;
use bytes::Bytes;
use http::{HeaderMap, Method};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A request that may be carried out.
pub(super) struct Call {
    pub state: Arc<AdminState>,
    /// What stands for `{id}` in the path.
    pub id: Option<String>,
    pub query: Query,
    pub headers: HeaderMap,
    /// Empty for GET and HEAD.
    pub body: Bytes,
}

pub(super) type Handling = Pin<Box<dyn Future<Output = Result<Reply, Fault>> + Send>>;

pub(super) struct Route {
    pub method: &'static str,
    pub path: &'static str,
    pub handle: fn(Call) -> Handling,
}

macro_rules! routes {
    ($($method:literal $path:literal => $handler:path,)+) => {
        &[$(Route {
            method: $method,
            path: $path,
            handle: |call| Box::pin($handler(call)),
        },)+]
    };
}

pub(super) const ROUTES: &[Route] = routes![
    "GET" "/healthz" => health::healthz,
    "GET" "/readyz" => health::readyz,
    "GET" "/version" => health::version,
    "GET" "/metrics" => health::metrics,
    "GET" "/openapi.json" => health::openapi,
    "GET" "/allocations" => allocations::list,
    "DELETE" "/allocations" => allocations::end,
    "GET" "/allocations/{id}" => allocations::one,
    "DELETE" "/allocations/{id}" => allocations::end_one,
    "GET" "/tunnels" => tunnels::list,
    "DELETE" "/tunnels" => tunnels::end,
    "GET" "/tunnels/{id}" => tunnels::one,
    "DELETE" "/tunnels/{id}" => tunnels::end_one,
    "GET" "/stats" => stats::show,
    "GET" "/history" => history::show,
    "GET" "/config" => config::show,
    "GET" "/log-level" => log_level::show,
    "PUT" "/log-level" => log_level::set,
    "POST" "/reload" => reload::reload,
    "GET" "/drain" => drain::show,
    "POST" "/drain" => drain::begin,
    "DELETE" "/drain" => drain::take_back,
];

/// What load balancers and supervisors ask, by GET or HEAD, without a token.
pub(super) const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// What a path and a method lead to.
pub(super) enum Found {
    Route(&'static Route, Option<String>),
    /// The path is there, with other methods.
    OtherMethods {
        path: &'static str,
        allow: String,
    },
    Nothing,
}

/// Finds the route; HEAD is served where GET is.
pub(super) fn find(method: &Method, path: &str) -> Found {
    let asked = match *method {
        Method::HEAD => "GET",
        ref method => method.as_str(),
    };
    let mut allow = Vec::new();
    let mut known = None;
    for route in ROUTES {
        let Some(id) = match_path(route.path, path) else {
            continue;
        };
        if route.method == asked {
            return Found::Route(route, id.map(str::to_owned));
        }
        known = Some(route.path);
        allow.push(route.method);
        if route.method == "GET" {
            allow.push("HEAD");
        }
    }
    match known {
        Some(path) => Found::OtherMethods {
            path,
            allow: allow.join(", "),
        },
        None => Found::Nothing,
    }
}

/// Segment by segment, as sent: nothing is decoded, and `..` is a segment like any other.
fn match_path<'a>(template: &str, path: &'a str) -> Option<Option<&'a str>> {
    let mut id = None;
    let mut segments = path.split('/');
    for wanted in template.split('/') {
        let segment = segments.next()?;
        if wanted == "{id}" {
            id = Some(segment);
        } else if wanted != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_matched_whole_and_as_they_are_sent() {
        let found = |method: Method, path: &str| match find(&method, path) {
            Found::Route(route, id) => format!("{} {} {id:?}", route.method, route.path),
            Found::OtherMethods { allow, .. } => format!("allow {allow}"),
            Found::Nothing => "nothing".to_owned(),
        };
        assert_eq!(found(Method::GET, "/drain"), "GET /drain None");
        assert_eq!(found(Method::HEAD, "/drain"), "GET /drain None");
        assert_eq!(
            found(Method::PATCH, "/drain"),
            "allow GET, HEAD, POST, DELETE"
        );
        let one = "DELETE /allocations/{id} Some(\"7\")";
        assert_eq!(found(Method::DELETE, "/allocations/7"), one);
        for path in [
            "",
            "/",
            "//drain",
            "/drain/",
            "/Drain",
            "/drain/x",
            "/allocations/7/8",
            "/allocations/../config",
            "/%64rain",
            "*",
        ] {
            assert_eq!(found(Method::GET, path), "nothing", "{path}");
        }
    }

    #[test]
    fn no_route_is_in_the_table_twice() {
        for (index, route) in ROUTES.iter().enumerate() {
            let same = |other: &&Route| other.method == route.method && other.path == route.path;
            assert!(!ROUTES.iter().skip(index + 1).any(|other| same(&other)));
        }
    }

    #[test]
    fn every_route_is_described_and_nothing_else_is() {
        let description: serde_json::Value =
            serde_json::from_str(crate::admin::OPENAPI).expect("JSON");
        let paths = description["paths"].as_object().expect("paths");
        let mut described: Vec<String> = paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().expect("methods").keys();
                methods.map(move |method| format!("{} {path}", method.to_ascii_uppercase()))
            })
            .collect();
        described.sort();
        let mut routes: Vec<String> = ROUTES
            .iter()
            .map(|route| format!("{} {}", route.method, route.path))
            .collect();
        routes.sort();
        assert_eq!(described, routes);
    }
}
