//! A WebSocket handshake, and a ping if it succeeds (RFC 6455).

use super::judge::{Asked, NoStream};
use crate::live::http::{HttpError, USER_AGENT};
use crate::live::turn::Stream;
use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use http::header;
use std::time::Duration;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// relayd looks up, connects and shakes hands on the way: as many steps.
const STEPS: u32 = 4;
const PING: &[u8] = b"relayd check";
/// A server may wish to see a login first.
const PONG_WAIT: Duration = Duration::from_secs(1);
/// Messages that may come before the pong.
const BEFORE_PONG_MAX: usize = 16;

pub(super) async fn ask(stream: Box<dyn Stream>, url: &str, step: Duration) -> Asked {
    let Ok(mut request) = url.into_client_request() else {
        return Asked::NoStream(NoStream::Http(HttpError::NotHttp));
    };
    let agent = HeaderValue::from_static(USER_AGENT);
    request.headers_mut().insert(header::USER_AGENT, agent);
    match timeout(step * STEPS, client_async(request, stream)).await {
        Ok(Ok((mut socket, _))) => {
            let pong = timeout(PONG_WAIT.min(step), pong(&mut socket)).await;
            // The other end may be gone; it is over in any case.
            let _ = timeout(PONG_WAIT.min(step), socket.close(None)).await;
            Asked::Opened {
                pong: pong.unwrap_or(false),
            }
        }
        Ok(Err(Error::Http(response))) => Asked::Answered {
            status: response.status().as_u16(),
            body: response.body().clone().unwrap_or_default(),
        },
        Ok(Err(Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed)) => {
            Asked::NoStream(NoStream::Http(HttpError::Closed))
        }
        Ok(Err(error)) => Asked::Odd(error.to_string()),
        Err(_) => Asked::NoStream(NoStream::Http(HttpError::TimedOut)),
    }
}

/// Whether a ping was answered: there and back through the tunnel.
async fn pong(socket: &mut WebSocketStream<Box<dyn Stream>>) -> bool {
    if socket
        .send(Message::Ping(Bytes::from_static(PING)))
        .await
        .is_err()
    {
        return false;
    }
    for _ in 0..BEFORE_PONG_MAX {
        match socket.next().await {
            Some(Ok(Message::Pong(payload))) if payload == PING => return true,
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return false,
        }
    }
    false
}
