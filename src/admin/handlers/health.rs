//! `/healthz`, `/readyz`, `/version`, `/metrics`, `/openapi.json`.

use crate::admin::OPENAPI;
use crate::admin::answer::{Fault, Reply, json, ok, respond};
use crate::admin::routes::Call;
use crate::metrics;
use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};
use serde::Serialize;

#[derive(Serialize)]
struct Healthy {
    healthy: bool,
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
}

/// That somebody answers is the answer.
pub async fn healthz(_: Call) -> Result<Reply, Fault> {
    Ok(ok(&Healthy { healthy: true }))
}

pub async fn readyz(call: Call) -> Result<Reply, Fault> {
    let (ready, body) = call.state.readiness();
    let status = match ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    Ok(json(status, &body))
}

pub async fn version(_: Call) -> Result<Reply, Fault> {
    Ok(ok(&Version {
        version: env!("CARGO_PKG_VERSION"),
    }))
}

pub async fn metrics(call: Call) -> Result<Reply, Fault> {
    call.state.note_readiness();
    let numbers = call.state.metrics();
    let (media_type, text) = match wants_plain(&call.headers) {
        true => (metrics::PLAIN_CONTENT_TYPE, numbers.encode_plain()),
        false => (metrics::CONTENT_TYPE, numbers.encode()),
    };
    Ok(respond(StatusCode::OK, media_type, text))
}

/// Whether a scraper names plain text and not OpenMetrics: it could not read what everybody else gets.
fn wants_plain(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    let named: Vec<String> = lines
        .flat_map(|line| line.split(','))
        .map(|range| {
            range
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase()
        })
        .collect();
    let names = |media_type: &str| named.iter().any(|named| named == media_type);
    names("text/plain") && !names("application/openmetrics-text")
}

pub async fn openapi(_: Call) -> Result<Reply, Fault> {
    Ok(respond(StatusCode::OK, "application/json", OPENAPI))
}
