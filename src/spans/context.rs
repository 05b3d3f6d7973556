//! Which trace a span belongs to, and whether it is told: W3C Trace Context, and a ratio where nobody has decided before.
//!
//! Invariant: identifiers are random and never zero.

use crate::entropy::Entropy;
use std::fmt::{self, Write};

pub type TraceId = [u8; 16];
pub type SpanId = [u8; 8];

/// Bits of a trace's identifier that are random whoever made it (Trace Context level 2, §3.2.2.3).
const RANDOM_BITS: u32 = 56;
/// The lowest bit of the flags: it was decided to record this trace.
const SAMPLED: u8 = 1;
/// A longer `tracestate` is not handed on (§3.3.1.5 asks for 512 characters at least).
const STATE_BYTES_MAX: usize = 512;

/// A span that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    pub trace: TraceId,
    pub span: SpanId,
    /// Whether it is told when it ends.
    pub sampled: bool,
}

impl Context {
    pub(super) fn below(trace: TraceId, sampled: bool, rng: &mut impl Entropy) -> Self {
        Self {
            trace,
            span: random(rng),
            sampled,
        }
    }

    /// As the parent of spans below it.
    pub fn as_parent(&self) -> Parent {
        Parent {
            trace: self.trace,
            span: self.span,
            sampled: self.sampled,
        }
    }
}

/// The `traceparent` that names this span.
impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        hex(f, &self.trace)?;
        f.write_char('-')?;
        hex(f, &self.span)?;
        write!(f, "-{:02x}", u8::from(self.sampled) * SAMPLED)
    }
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// The span that another one is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    pub trace: TraceId,
    pub span: SpanId,
    pub sampled: bool,
}

impl Parent {
    /// Reads a `traceparent` (§3.2.2); `None` where it is not to be used.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (fixed, rest) = text.split_at_checked(55)?;
        let version = unhex::<1>(fixed.get(..2)?)?;
        // Version ff is none; version 00 ends here, and those to come may go on behind a dash.
        let ends = rest.is_empty() || (version != [0] && rest.starts_with(b"-"));
        let dashes = [2, 35, 52].iter().all(|at| fixed.get(*at) == Some(&b'-'));
        if version == [0xff] || !ends || !dashes {
            return None;
        }
        let [flags] = unhex::<1>(fixed.get(53..)?)?;
        let parent = Self {
            trace: unhex(fixed.get(3..35)?)?,
            span: unhex(fixed.get(36..52)?)?,
            sampled: flags & SAMPLED != 0,
        };
        let named = parent.trace != [0; 16] && parent.span != [0; 8];
        named.then_some(parent)
    }
}

/// Lower-case hexadecimal digits, and nothing else.
fn unhex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != N * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let text = std::str::from_utf8(pair).ok()?;
        let lower = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        *byte = pair
            .iter()
            .all(lower)
            .then(|| u8::from_str_radix(text, 16).ok())??;
    }
    Some(bytes)
}

/// One `tracestate` of all of a request's lines, to be handed on unread; `None` where it is not one.
pub fn state<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    let state = String::from_utf8(lines.join(&b","[..])).ok()?;
    let printable = |b: u8| b == b' ' || b == b'\t' || b.is_ascii_graphic();
    let good = !state.is_empty() && state.len() <= STATE_BYTES_MAX;
    (good && state.bytes().all(printable)).then_some(state)
}

/// Decides by the trace's identifier, so that all who know the ratio decide alike.
#[derive(Debug)]
pub(super) struct Sampler {
    /// Identifiers from here on are told.
    threshold: u64,
}

impl Sampler {
    pub fn new(ratio: f64) -> Self {
        let all = (1_u64 << RANDOM_BITS) as f64;
        Self {
            threshold: ((1.0 - ratio.clamp(0.0, 1.0)) * all) as u64,
        }
    }

    pub fn root(&self, rng: &mut impl Entropy) -> Context {
        let trace: TraceId = random(rng);
        let low = trace
            .last_chunk::<8>()
            .map_or(0, |low| u64::from_be_bytes(*low));
        let sampled = low & ((1 << RANDOM_BITS) - 1) >= self.threshold;
        Context::below(trace, sampled, rng)
    }
}

fn random<const N: usize>(rng: &mut impl Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill(&mut bytes);
    // Zero means that there is none.
    if bytes == [0; N] {
        bytes = [1; N];
    }
    bytes
}
