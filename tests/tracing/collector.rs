//! A collector for tests: takes OTLP over HTTP, reads it by the definition of the OpenTelemetry project, and answers as the
//! test wants.

use super::web::PATIENCE;
use super::web::message::{Message, Reader};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
pub use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

/// What it does with a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    Take,
    /// Refuses so many spans of it.
    TakeBut(i64),
    /// Another status, with more header lines.
    Answer(&'static str),
    /// Ends the connection without a word.
    HangUp,
    /// Says nothing until the mode is another one.
    Hold,
}

pub struct Collector {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    mode: Mode,
    requests: Vec<Message>,
    arrivals: Vec<Instant>,
    spans: Vec<Span>,
    resources: Vec<BTreeMap<String, String>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            mode: Mode::Take,
            requests: Vec::new(),
            arrivals: Vec::new(),
            spans: Vec::new(),
            resources: Vec::new(),
        }
    }
}

impl Collector {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&of_thread);
                thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { addr, shared }
    }

    pub fn set(&self, mode: Mode) {
        self.shared.state().mode = mode;
        self.shared.changed.notify_all();
    }

    /// Every batch as it came.
    pub fn requests(&self) -> Vec<Message> {
        self.shared.state().requests.clone()
    }

    /// When each came.
    pub fn arrivals(&self) -> Vec<Instant> {
        self.shared.state().arrivals.clone()
    }

    pub fn resources(&self) -> Vec<BTreeMap<String, String>> {
        self.shared.state().resources.clone()
    }

    /// What it took so far.
    pub fn spans(&self) -> Vec<Span> {
        self.shared.state().spans.clone()
    }

    /// Waits until it has taken so many spans, and gives all of them.
    pub fn wait_for(&self, count: usize) -> Vec<Span> {
        let state = self.shared.wait(&format!("{count} spans"), |state| {
            state.spans.len() >= count
        });
        state.spans.clone()
    }

    /// Waits until so many batches have come, whatever became of them.
    pub fn wait_for_requests(&self, count: usize) {
        drop(self.shared.wait(&format!("{count} batches"), |state| {
            state.requests.len() >= count
        }));
    }

    /// The spans of exactly one request or call, by name: no more may come with them.
    pub fn exactly(&self, names: &[&str]) -> Vec<Span> {
        let spans = self.wait_for(names.len());
        let mut found: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
        let mut names = names.to_vec();
        found.sort_unstable();
        names.sort_unstable();
        assert_eq!(found, names, "{spans:#?}");
        spans
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    fn wait(&self, what: &str, wanted: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state();
        while !wanted(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what}: {:#?}", state.spans);
            state = self
                .changed
                .wait_timeout(state, left)
                .expect("not poisoned")
                .0;
        }
        state
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    let mut reader = Reader::default();
    while let Ok(Some(message)) = reader.message(&mut stream, false) {
        let mut state = shared.state();
        state.requests.push(message.clone());
        state.arrivals.push(Instant::now());
        shared.changed.notify_all();
        while state.mode == Mode::Hold {
            state = shared.changed.wait(state).expect("not poisoned");
        }
        let answer = match state.mode {
            Mode::Take => state.take(&message, 0),
            Mode::TakeBut(refused) => state.take(&message, refused),
            Mode::Answer(head) => {
                format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n").into_bytes()
            }
            Mode::HangUp => return,
            Mode::Hold => unreachable!("waited for"),
        };
        drop(state);
        if stream.write_all(&answer).is_err() {
            return;
        }
        shared.changed.notify_all();
    }
}

impl State {
    fn take(&mut self, message: &Message, refused: i64) -> Vec<u8> {
        let request = ExportTraceServiceRequest::decode(&message.body[..]).expect("OTLP");
        for resource_spans in request.resource_spans {
            let resource = resource_spans.resource.expect("a resource");
            self.resources.push(attributes(&resource.attributes));
            for scope_spans in resource_spans.scope_spans {
                assert_eq!(scope_spans.scope.expect("a scope").name, "relayd");
                self.spans.extend(scope_spans.spans);
            }
        }
        let partial_success = (refused > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: refused,
            error_message: "not these".to_owned(),
        });
        let body = ExportTraceServiceResponse { partial_success }.encode_to_vec();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.into_bytes(), body].concat()
    }
}

/// By name, as text; no name stands there twice.
pub fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |entry: &KeyValue| show(entry.value.as_ref().expect("a value"));
    let map: BTreeMap<_, _> = list
        .iter()
        .map(|entry| (entry.key.clone(), text(entry)))
        .collect();
    assert_eq!(map.len(), list.len(), "{list:#?}");
    map
}

fn show(value: &AnyValue) -> String {
    match value.value.as_ref().expect("a value") {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::ArrayValue(list) => list.values.iter().map(show).collect::<Vec<_>>().join(","),
        other => panic!("{other:?}"),
    }
}

/// One attribute; empty: it is not there.
pub fn attribute(span: &Span, name: &str) -> String {
    attributes(&span.attributes)
        .remove(name)
        .unwrap_or_default()
}

/// Exactly these attributes; `*` stands for any value.
pub fn assert_attributes(span: &Span, expected: &[(&str, &str)]) {
    let found = attributes(&span.attributes);
    let mut shown = found.clone();
    for (name, value) in expected {
        if *value == "*"
            && let Some(found) = shown.get_mut(*name)
        {
            "*".clone_into(found);
        }
    }
    let expected: BTreeMap<String, String> = expected
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    assert_eq!(shown, expected, "{found:#?}");
}

/// The one span of a kind: 1 internal, 2 server, 3 client.
pub fn of_kind(spans: &[Span], kind: i32) -> &Span {
    let mut found = spans.iter().filter(|span| span.kind == kind);
    let one = found.next().expect("a span of this kind");
    assert!(found.next().is_none(), "{spans:#?}");
    one
}

pub fn failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == 2)
}

/// One within the other, in the same trace.
pub fn assert_below(child: &Span, parent: &Span) {
    assert_eq!(child.trace_id, parent.trace_id);
    assert_eq!(child.parent_span_id, parent.span_id);
    assert_ne!(child.span_id, parent.span_id);
    assert!(child.start_time_unix_nano >= parent.start_time_unix_nano);
}
