//! Contexts, sampling and the queue; the whole way is tested by `tests/tracing`.

use super::context::{Context, Parent, Sampler, state};
use super::export::Exporter;
use super::metrics::{Metrics, Outcome};
use super::queue::Queue;
use super::{Kind, Settings, Span, Target, Times, Tracer};
use crate::entropy::Entropy;
use crate::sys::clock;
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::time::Duration;

const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The same byte for ever.
struct Constant(u8);

impl Entropy for Constant {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

#[test]
fn a_traceparent_is_read_as_the_recommendation_says() {
    let parent = Parent::parse(GOOD.as_bytes()).expect("its own example");
    assert_eq!(parent.trace[..2], [0x0a, 0xf7]);
    assert_eq!(parent.span[6..], [0x33, 0x31]);
    assert!(parent.sampled);
    let sampled = |flags: &str| {
        let text = format!("{}{flags}", &GOOD[..53]);
        Parent::parse(text.as_bytes()).map(|parent| parent.sampled)
    };
    assert_eq!(sampled("00"), Some(false));
    assert_eq!(sampled("03"), Some(true));
    assert_eq!(sampled("02"), Some(false));
    // A later version may say more, behind a dash.
    for (text, good) in [
        (format!("cc{}", &GOOD[2..]), true),
        (format!("cc{}-more", &GOOD[2..]), true),
        (format!("cc{}.more", &GOOD[2..]), false),
        (format!("ff{}", &GOOD[2..]), false),
        (format!("{GOOD}-more"), false),
    ] {
        assert_eq!(Parent::parse(text.as_bytes()).is_some(), good, "{text}");
    }
}

#[test]
fn a_traceparent_with_any_fault_is_none() {
    for text in [
        "",
        "00",
        &GOOD[..54],
        &GOOD.to_uppercase(),
        &GOOD.replace('-', "_"),
        &GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
        &GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
        &GOOD.replace("b7ad", "b7+d"),
        &GOOD.replace("b7ad", "g7ad"),
        &GOOD.replacen("00", " 0", 1),
    ] {
        assert_eq!(Parent::parse(text.as_bytes()), None, "{text}");
    }
    assert_eq!(Parent::parse(&[0xff; 55]), None);
    assert_eq!(Parent::parse(&[b'-'; 80]), None);
}

#[test]
fn a_context_is_written_as_it_is_read() {
    for sampled in [true, false] {
        let parent = Parent::parse(GOOD.as_bytes()).expect("good");
        let context = Context::below(parent.trace, sampled, &mut Constant(7));
        let read = Parent::parse(context.to_string().as_bytes()).expect("good");
        assert_eq!(read, context.as_parent());
        assert_ne!(read.span, parent.span);
    }
}

#[test]
fn a_tracestate_is_joined_and_handed_on_only_if_it_can_be() {
    let joined = |lines: &[&[u8]]| state(lines.iter().copied());
    assert_eq!(joined(&[b"a=1", b"", b"b=2"]).as_deref(), Some("a=1,b=2"));
    assert_eq!(joined(&[]), None);
    assert_eq!(joined(&[b"a=\x01"]), None);
    assert_eq!(joined(&[b"a=\xff"]), None);
    assert_eq!(joined(&[&[b'a'; 513]]), None);
    assert!(joined(&[&[b'a'; 512]]).is_some());
}

#[test]
fn a_ratio_of_one_tells_of_all_and_of_zero_of_none() {
    for byte in [0, 1, 0x7f, 0x80, 0xff] {
        assert!(
            Sampler::new(1.0).root(&mut Constant(byte)).sampled,
            "{byte}"
        );
        assert!(
            !Sampler::new(0.0).root(&mut Constant(byte)).sampled,
            "{byte}"
        );
    }
    assert!(Sampler::new(0.5).root(&mut Constant(0x80)).sampled);
    assert!(!Sampler::new(0.5).root(&mut Constant(0x7f)).sampled);
}

#[test]
fn no_identifier_is_zero() {
    let context = Sampler::new(1.0).root(&mut Constant(0));
    assert!(context.trace != [0; 16] && context.span != [0; 8]);
}

#[test]
fn a_full_queue_drops_and_counts_and_long_texts_are_cut() {
    let tracer = tracer(2);
    for _ in 0..3 {
        tracer.finish(span(&tracer));
    }
    assert_eq!(tracer.queue.len(), 2);
    assert_eq!(tracer.metrics.counted(Outcome::Dropped), 1);
    let spans = tracer.queue.take();
    let bytes: usize = spans.iter().map(prost::Message::encoded_len).sum();
    assert!(bytes < 2 * 700, "{bytes}");
    assert_eq!(tracer.queue.len(), 0);
}

#[test]
fn without_a_collector_what_waits_has_failed_and_a_stop_ends_it() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let tracer = tracer(8);
    tracer.finish(span(&tracer));
    // Nobody knows where to.
    let exporter = Exporter {
        tracer: Arc::new(ArcSwapOption::empty()),
        last: Arc::new(ArcSwapOption::empty()),
        queue: Arc::clone(&tracer.queue),
        metrics: tracer.metrics.clone(),
    };
    tracer.queue.stop(Duration::from_secs(3600));
    runtime.block_on(exporter.run());
    assert_eq!(tracer.metrics.counted(Outcome::Failed), 1);
}

#[test]
fn a_tracer_that_was_replaced_tells_by_what_is_in_force() {
    let (old, private) = (tracer(8), private_tracer());
    old.in_force.store(Some(private));
    old.finish(span(&old));
    old.finish(span(&old));
    let spans = old.queue.take();
    // It has room for one, and no user may be named.
    assert_eq!(spans.len(), 1);
    assert!(spans[0].attributes.is_empty(), "{spans:?}");
    assert_eq!(old.metrics.counted(Outcome::Dropped), 1);
    old.in_force.store(None);
    old.finish(span(&old));
    assert_eq!(old.queue.len(), 0);
    assert_eq!(old.metrics.counted(Outcome::Dropped), 2);
}

fn private_tracer() -> Arc<Tracer> {
    let mut tracer = Arc::into_inner(made(1)).expect("one holder");
    tracer.settings.privacy = true;
    Arc::new(tracer)
}

/// In force.
fn tracer(queue_spans: usize) -> Arc<Tracer> {
    let tracer = made(queue_spans);
    tracer.in_force.store(Some(Arc::clone(&tracer)));
    tracer
}

fn made(queue_spans: usize) -> Arc<Tracer> {
    let endpoint = super::Endpoint {
        tls: false,
        host: "::1".to_owned(),
        port: 4318,
        base: String::new(),
    };
    assert_eq!(endpoint.to_string(), "http://[::1]:4318");
    let settings = Settings {
        endpoint: Some(endpoint),
        queue_spans,
        ..Settings::default()
    };
    Arc::new(Tracer {
        in_force: Arc::default(),
        sampler: Sampler::new(1.0),
        target: Target::new(&settings).expect("no file").expect("on"),
        settings,
        queue: Arc::<Queue>::default(),
        metrics: Metrics::default(),
    })
}

fn span(tracer: &Tracer) -> Span {
    let times = Times::until(clock::now(), Duration::from_secs(1));
    let mut span = tracer.span("x", Kind::Internal, &tracer.root(), times);
    span.text("user.name", "é".repeat(400));
    span
}
