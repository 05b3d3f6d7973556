//! What a person reads when an authority says no.

use crate::acme::Outcome;
use crate::acme::client::FetchError;
use crate::acme::failure::{Cause, sentence};
use instant_acme::Problem;

fn problem(json: &str) -> Cause {
    let problem: Problem = serde_json::from_str(json).expect("a problem document");
    problem.into()
}

#[test]
fn type_and_detail_of_a_problem_document_are_shown() {
    let cause = problem(
        r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates","status":429}"#,
    );
    assert_eq!(cause.outcome(), Outcome::RateLimited);
    assert_eq!(
        sentence(&cause),
        "too many certificates (urn:ietf:params:acme:error:rateLimited)"
    );
    let bare = problem("{}");
    assert_eq!(bare.outcome(), Outcome::Refused);
    assert_eq!(sentence(&bare), "no detail (no type)");
}

#[test]
fn an_authority_can_put_no_line_of_its_own_into_the_log() {
    let long = "x".repeat(5000);
    let cause = problem(&format!(
        r#"{{"type":"t\r\n","detail":"a\nb\u001b[31m\u0000 {long}ü"}}"#
    ));
    let shown = sentence(&cause);
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert!(shown.len() < 600, "{}", shown.len());
}

#[test]
fn causes_are_told_apart_for_metrics() {
    let status = |code: u16| {
        Cause::Fetch(FetchError::Status {
            host: "ca.example".to_owned(),
            status: http::StatusCode::from_u16(code).expect("a status"),
        })
    };
    assert_eq!(status(429).outcome(), Outcome::RateLimited);
    assert_eq!(status(503).outcome(), Outcome::Unreachable);
    assert_eq!(Cause::Slow.outcome(), Outcome::Unreachable);
    assert_eq!(Cause::Answer(String::new()).outcome(), Outcome::BadAnswer);
    let unknown = problem(r#"{"type":"urn:ietf:params:acme:error:accountDoesNotExist"}"#);
    assert!(unknown.is_unknown_account());
    let wrapped = instant_acme::Error::Other(Box::new(FetchError::NotHttps {
        uri: "http://ca.example/".to_owned(),
    }));
    let cause = Cause::from(wrapped);
    assert_eq!(sentence(&cause), "http://ca.example/ is no https address");
}
