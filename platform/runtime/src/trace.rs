//! W3C trace context: it connects a request with the trace of its caller. No decision depends on it.
//! Source: <https://www.w3.org/TR/trace-context/>.

use std::fmt;
use std::str::FromStr;

/// The value of a `traceparent` header: `00-<32 hex digits>-<16 hex digits>-<2 hex digits>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: u128,
    pub span_id: u64,
    pub sampled: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not a traceparent; allowed: 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, ids not all zero"
)]
pub struct InvalidTraceparent {
    pub given: String,
}

impl TraceContext {
    /// A new trace, for a request without a traceparent.
    pub fn new_root() -> Self {
        Self { trace_id: rand::random::<u128>().max(1), span_id: rand::random::<u64>().max(1), sampled: true }
    }

    /// A new span of the same trace.
    pub fn child(self) -> Self {
        Self { span_id: rand::random::<u64>().max(1), ..self }
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

impl FromStr for TraceContext {
    type Err = InvalidTraceparent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceparent> {
        parse(text).ok_or_else(|| InvalidTraceparent { given: text.chars().take(GIVEN_CHARS_MAX).collect() })
    }
}

const GIVEN_CHARS_MAX: usize = 64;

fn parse(text: &str) -> Option<TraceContext> {
    let mut parts = text.split('-');
    let version = hex(parts.next()?, 2)?;
    let trace_id = hex(parts.next()?, 32)?;
    let span_id = u64::try_from(hex(parts.next()?, 16)?).ok()?;
    let flags = hex(parts.next()?, 2)?;
    // A later version may add parts; version 00 has exactly four, and ff is not a version.
    let complete = if version == 0 { parts.next().is_none() } else { version != 0xff };
    (complete && trace_id != 0 && span_id != 0).then_some(TraceContext {
        trace_id,
        span_id,
        sampled: flags & 1 == 1,
    })
}

fn hex(part: &str, digits: usize) -> Option<u128> {
    let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if part.len() != digits || !part.bytes().all(lower_hex) {
        return None;
    }
    u128::from_str_radix(part, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::TraceContext;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_parsed_and_written_back_unchanged() {
        let context: TraceContext = GIVEN.parse().expect("the example of the specification");
        assert_eq!(context.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(context.to_string(), GIVEN);
    }

    #[test]
    fn a_child_keeps_the_trace_and_has_its_own_span() {
        let parent: TraceContext = GIVEN.parse().expect("the example of the specification");
        let child = parent.child();
        assert_eq!(child.trace_id, parent.trace_id);
        assert_ne!(child.span_id, parent.span_id);
    }

    #[test]
    fn a_new_root_can_be_parsed_back() {
        let root = TraceContext::new_root();
        assert_eq!(root.to_string().parse(), Ok(root));
    }

    #[test]
    fn an_invalid_traceparent_is_refused() {
        for given in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(given.parse::<TraceContext>().is_err(), "{given}");
        }
    }
}
