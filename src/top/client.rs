//! Asks the admin API by HTTP and reads its answers.

use super::answers::{Allocation, Drain, ErrorBody, History, One, Page, Stats, Tunnel, Version};
use super::question::Question;
use super::text::Clean;
use crate::fetch::{Bounds, FetchError, Fetcher, Target, sentence};
use crate::secret::Secret;
use crate::tls::public_roots;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

const BOUNDS: Bounds = Bounds {
    connect: Duration::from_secs(3),
    // The server itself gives up after 10 s.
    request: Duration::from_secs(12),
    // A page of 1000 allocations with all that a list shows of each has about 3 MB.
    answer_bytes_max: 16 << 20,
};

pub(super) enum Answer {
    Stats(Box<Stats>),
    History(Box<History>),
    Allocations(Page<Allocation>),
    Allocation(Box<One>),
    Tunnels(Page<Tunnel>),
    Ended,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody is there, or it takes too long: with the reason.
    Away(Clean),
    /// 401, with or without a token having been sent.
    Unauthorized { with_token: bool },
    /// 429.
    TooManyFailures,
    /// 404.
    NotFound,
    /// Another status, with the server's own words.
    Refused { status: u16, message: Clean },
    /// An answer that is none of relayd's.
    NotRelayd,
}

#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    #[error("{url:?} is no http:// or https:// address of an admin listener")]
    NoUrl { url: String },
    #[error("the token holds characters that no HTTP header can hold")]
    Token,
}

/// One server's admin API.
#[derive(Clone)]
pub struct Client {
    fetcher: Fetcher,
    base: String,
    token: Option<HeaderValue>,
}

impl Client {
    /// `url` may have a path, of a proxy that serves the API below it.
    pub fn new(url: &str, token: Option<&Secret>) -> Result<Arc<Self>, UrlError> {
        let refused = || UrlError::NoUrl {
            url: url.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| refused())?;
        if Target::of(&uri).is_none() || uri.query().is_some() {
            return Err(refused());
        }
        let header = |token: &Secret| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                .map_err(|_| UrlError::Token)?;
            value.set_sensitive(true);
            Ok(value)
        };
        Ok(Arc::new(Self {
            fetcher: Fetcher::new(public_roots(), BOUNDS),
            base: url.trim_end_matches('/').to_owned(),
            token: token.map(header).transpose()?,
        }))
    }

    /// Whom it asks, for the title.
    pub(super) fn place(&self) -> Clean {
        let plain = self.base.strip_prefix("http://");
        Clean::new(plain.unwrap_or(&self.base))
    }

    pub(super) async fn ask(&self, question: &Question) -> Result<Answer, Trouble> {
        let (method, target) = (question.method(), question.target());
        match question {
            Question::Stats => match self.get(&target).await {
                Err(Trouble::NotFound) => self.older().await,
                stats => Ok(Answer::Stats(Box::new(stats?))),
            },
            Question::History => Ok(Answer::History(Box::new(self.get(&target).await?))),
            Question::Allocations(_) => Ok(Answer::Allocations(self.get(&target).await?)),
            Question::Allocation(_) => Ok(Answer::Allocation(Box::new(self.get(&target).await?))),
            Question::Tunnels(_) => Ok(Answer::Tunnels(self.get(&target).await?)),
            Question::End(_) => {
                self.exchange(method, &target).await?;
                Ok(Answer::Ended)
            }
        }
    }

    /// A server without `/stats`.
    async fn older(&self) -> Result<Answer, Trouble> {
        let version: Version = self.get("/version").await?;
        let drain: Drain = self.get("/drain").await?;
        Ok(Answer::Stats(Box::new(Stats::of_older(version, drain))))
    }

    async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, Trouble> {
        let body = self.exchange(Method::GET, target).await?;
        serde_json::from_slice(&body).map_err(|_| Trouble::NotRelayd)
    }

    async fn exchange(&self, method: Method, target: &str) -> Result<Bytes, Trouble> {
        let url = format!("{}{target}", self.base);
        let uri: Uri = url.parse().map_err(|_| Trouble::NotFound)?;
        let target = Target::of(&uri).ok_or(Trouble::NotFound)?;
        let mut request = Request::new(());
        *request.method_mut() = method;
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        let (parts, ()) = request.into_parts();
        let answer = self.fetcher.fetch(&target, parts, Bytes::new()).await;
        let answer = answer.map_err(away)?;
        match answer.status() {
            status if status.is_success() => Ok(answer.into_body()),
            status => Err(trouble(status, answer.body(), self.token.is_some())),
        }
    }
}

fn away(error: FetchError) -> Trouble {
    match error {
        FetchError::Http { source, .. } if source.is_parse() => Trouble::NotRelayd,
        error => Trouble::Away(Clean::new(&sentence(&error))),
    }
}

fn trouble(status: StatusCode, body: &[u8], with_token: bool) -> Trouble {
    match status {
        StatusCode::UNAUTHORIZED => Trouble::Unauthorized { with_token },
        StatusCode::TOO_MANY_REQUESTS => Trouble::TooManyFailures,
        StatusCode::NOT_FOUND => Trouble::NotFound,
        status => {
            let read = serde_json::from_slice::<ErrorBody>(body);
            let words = read.map(|body| body.error.message);
            Trouble::Refused {
                status: status.as_u16(),
                message: words.unwrap_or_default(),
            }
        }
    }
}

impl Trouble {
    /// For a banner: the reason, and what to do about it.
    pub(super) fn sentence(&self) -> String {
        match self {
            Self::Away(reason) => reason.to_string(),
            Self::Unauthorized { with_token: false } => {
                "the server wants its admin.token: give --token-file FILE, RELAYD_ADMIN_TOKEN in the environment, or --config FILE".to_owned()
            }
            Self::Unauthorized { with_token: true } => {
                "the server has another admin.token: look at --token-file, RELAYD_ADMIN_TOKEN or the file of --config".to_owned()
            }
            Self::TooManyFailures => {
                "too many requests with a wrong token came from here: the server listens again in some seconds".to_owned()
            }
            Self::NotFound => "there is no such thing (404)".to_owned(),
            Self::Refused { status, message } if message.as_str().is_empty() => {
                format!("status {status}")
            }
            Self::Refused { status, message } => format!("{message} ({status})"),
            Self::NotRelayd => "what answers there is not relayd's admin listener".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_http_or_https_with_or_without_a_path() {
        for (url, place) in [
            ("http://127.0.0.1:9641", "127.0.0.1:9641"),
            ("http://localhost:9641/", "localhost:9641"),
            (
                "https://ops.example.com/relayd/",
                "https://ops.example.com/relayd",
            ),
        ] {
            let client = Client::new(url, None).expect(url);
            assert_eq!(client.place().as_str(), place);
        }
        for url in [
            "",
            "127.0.0.1:9641",
            "ftp://x/",
            "http://u@x/",
            "http://x/?a=1",
        ] {
            assert!(Client::new(url, None).is_err(), "{url}");
        }
        let token = Secret::new("two\nlines");
        let refused = Client::new("http://localhost", Some(&token));
        assert!(matches!(refused, Err(UrlError::Token)));
    }

    #[test]
    fn a_refusal_says_which_option_to_give_and_never_what_the_terminal_obeys() {
        let said = |status: u16, body: &str, with_token| {
            let status = StatusCode::from_u16(status).expect("a status");
            trouble(status, body.as_bytes(), with_token).sentence()
        };
        assert!(said(401, "", false).contains("--token-file FILE"));
        assert!(said(401, "", true).contains("another admin.token"));
        assert!(said(429, "", true).contains("wrong token"));
        let body = r#"{"error": {"code": "bad_request", "message": "no\u001b[2J"}}"#;
        assert_eq!(said(400, body, true), "no�[2J (400)");
        assert_eq!(said(502, "<html>", true), "status 502");
    }
}
