//! HTTP/2 clients; upstreams are asked over HTTP/1.1 all the same.

use super::support::{ORIGIN, PROXY, World, block_on};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

#[derive(Clone)]
struct Spawn;

impl<F: Future + 'static> Executor<F> for Spawn
where
    F::Output: 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

type Client<B = Full<Bytes>> = SendRequest<B>;

async fn connect<B>(world: &World) -> Client<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TokioIo::new(world.connect(true));
    let (client, connection) = handshake(Spawn, stream).await.expect("a connection");
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    client
}

fn request(method: &str, path: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(format!("https://{PROXY}{path}"))
        .version(Version::HTTP_2)
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .expect("a request")
}

async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.expect("a body");
    String::from_utf8(body.to_bytes().to_vec()).expect("text")
}

#[test]
fn streams_of_one_connection_are_answered_as_the_upstream_answers() {
    block_on(async {
        let world = World::new().await;
        let mut client = connect(&world).await;
        let mut ask = |path: &str| {
            let mut request = request("GET", &format!("/{ORIGIN}{path}"), "");
            request
                .headers_mut()
                .append("cookie", "a=1".parse().expect("a value"));
            request
                .headers_mut()
                .append("cookie", "b=2".parse().expect("a value"));
            tokio::task::spawn_local(client.send_request(request))
        };
        let (slow, fast) = (ask("/slow"), ask("/fast"));
        let (mut one, mut two) = (world.origin.take().await, world.origin.take().await);
        let (first, second) = (one.message().await.head, two.message().await.head);
        for asked in [&first, &second] {
            assert_eq!(asked.one("host"), Some(ORIGIN));
            assert_eq!(asked.one("cookie"), Some("a=1; b=2"));
        }
        let swapped = first.first.contains("/fast");
        let (slow_origin, fast_origin) = match swapped {
            true => (&mut two, &mut one),
            false => (&mut one, &mut two),
        };
        fast_origin.ok("fast").await;
        let answer = fast.await.expect("joined").expect("an answer");
        assert_eq!(answer.headers()["content-length"], "4");
        assert_eq!(text(answer).await, "fast");
        slow_origin
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n4\r\nslow\r\n0\r\n\r\n")
            .await;
        let answer = slow.await.expect("joined").expect("an answer");
        assert!(!answer.headers().contains_key("x-hop"));
        assert_eq!(text(answer).await, "slow");
    });
}

#[test]
fn a_body_passes_with_its_length_where_the_client_gives_one_and_chunked_where_not() {
    block_on(async {
        let world = World::new().await;
        let mut client = connect(&world).await;
        let mut sized = request("POST", &format!("/{ORIGIN}/"), "sized");
        sized
            .headers_mut()
            .insert("content-length", "5".parse().expect("a value"));
        let answering = tokio::task::spawn_local(client.send_request(sized));
        let mut origin = world.origin.take().await;
        let asked = origin.message().await;
        assert_eq!(asked.head.one("content-length"), Some("5"));
        assert_eq!(asked.text(), "sized");
        origin.ok("").await;
        let answer = answering.await.expect("joined").expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
    });
}

#[test]
fn errors_carry_cors_and_websockets_are_not_offered() {
    block_on(async {
        let world = World::new().await;
        let mut client = connect(&world).await;
        let mut denied = request("GET", "/denied.test/", "");
        denied
            .headers_mut()
            .insert("origin", "https://app.test".parse().expect("a value"));
        let answer = client.send_request(denied).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        let allowed = &answer.headers()["access-control-allow-origin"];
        assert_eq!(allowed, "https://app.test");
        let connect = client.send_request(request("CONNECT", "/", "")).await;
        let answer = connect.expect("an answer");
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    });
}

#[test]
fn drain_lets_streams_finish_and_takes_no_more() {
    block_on(async {
        let world = World::new().await;
        let mut client = connect(&world).await;
        let under_way = request("GET", &format!("/{ORIGIN}/"), "");
        let answering = tokio::task::spawn_local(client.send_request(under_way));
        let mut origin = world.origin.take().await;
        origin.message().await;
        world.drain.send_replace(true);
        origin.ok("finished").await;
        let answer = answering.await.expect("joined").expect("an answer");
        assert_eq!(text(answer).await, "finished");
        while client.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_connection_without_requests_is_closed_after_its_idle_time() {
    block_on(async {
        let world =
            World::with(|settings| settings.timeouts.idle = Duration::from_millis(20)).await;
        let mut client = connect(&world).await;
        let answer = client.send_request(request("GET", "/healthcheck", ""));
        assert_eq!(text(answer.await.expect("an answer")).await, "ok\n");
        while client.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
}

/// Bytes without end, counted as they are taken.
struct Endless(Rc<Cell<usize>>);

const CHUNK: usize = 16 << 10;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.set(self.0.get() + CHUNK);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; CHUNK])))))
    }
}

/// Thousands of connections may wait for slow upstreams at the same time.
#[test]
fn no_more_of_a_body_is_taken_than_a_window_while_its_upstream_is_not_there() {
    block_on(async {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = silent.local_addr().expect("an address");
        let world = World::with(|settings| {
            settings.resolve.insert((ORIGIN.to_owned(), 443), address);
            settings.timeouts.connect = Duration::from_millis(500);
        })
        .await;
        let taken = Rc::new(Cell::new(0));
        let mut client = connect(&world).await;
        let request = Request::builder()
            .method("POST")
            .uri(format!("https://{PROXY}/{ORIGIN}/"))
            .version(Version::HTTP_2)
            .body(Endless(Rc::clone(&taken)))
            .expect("a request");
        let answer = client.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
        assert!(taken.get() <= (128 << 10) + CHUNK, "{}", taken.get());
    });
}

/// A client that opens no window must not hold an upstream connection for ever.
#[test]
fn a_stream_that_the_client_does_not_read_is_given_up() {
    block_on(async {
        let world = World::with(|settings| {
            settings.timeouts.response = Duration::from_millis(100);
            settings.timeouts.body_idle = Duration::from_millis(100);
        })
        .await;
        let mut client = connect(&world).await;
        let answering = client.send_request(request("GET", &format!("/{ORIGIN}/"), ""));
        let answering = tokio::task::spawn_local(answering);
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin
            .send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            .await;
        let unread = answering.await.expect("joined").expect("an answer");
        let chunk = vec![b'x'; 1 << 16];
        while origin.stream.write_all(&chunk).await.is_ok() && origin.stream.flush().await.is_ok() {
        }
        drop(unread);
    });
}

#[test]
fn a_client_that_has_waited_before_it_gives_up_counts_with_its_wait() {
    block_on(async {
        let world = World::new().await;
        let mut client = connect(&world).await;
        let answering = client.send_request(request("GET", &format!("/{ORIGIN}/"), ""));
        let answering = tokio::task::spawn_local(answering);
        let mut origin = world.origin.take().await;
        origin.message().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        answering.abort();
        let one = world.abandoned().await;
        assert_eq!((one.abandoned, one.errors), (1, 0));
        assert_eq!(one.latencies.total(), 1);
        assert_eq!(world.proxy.latencies().total(), 1);
    });
}

#[test]
fn a_stream_that_the_client_resets_ends_its_request_to_the_upstream() {
    block_on(async {
        let world = World::new().await;
        let mut client = connect(&world).await;
        let answering = client.send_request(request("GET", &format!("/{ORIGIN}/"), ""));
        let answering = tokio::task::spawn_local(answering);
        let mut origin = world.origin.take().await;
        origin.message().await;
        answering.abort();
        assert!(origin.ends().await);
        let again = client.send_request(request("GET", "/healthcheck", ""));
        assert_eq!(text(again.await.expect("an answer")).await, "ok\n");
    });
}
