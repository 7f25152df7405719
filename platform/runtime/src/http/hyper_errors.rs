//! Replaces the empty responses that hyper writes for a malformed request head with problems. Kept because ARCHITECTURE.md
//! and docs/reliability.md promise that malformed input is always a 4xx problem (`tests/http/hostile.rs`).
//!
//! hyper has no hook for them, so its bytes are recognised on their way out. A response of a handler is never
//! changed: it carries a correlation id.

use axum::http::StatusCode;
use uuid::Uuid;

use super::Limits;
use super::extract::CORRELATION_ID;
use crate::Problem;

const HEAD_END: &[u8] = b"\r\n\r\n";
const NO_BODY: &str = "content-length: 0\r\n";

/// The bytes to write instead of `written`, where those are a response of hyper's own.
pub(super) fn replacement(written: &[u8], limits: &Limits) -> Option<Vec<u8>> {
    let head = std::str::from_utf8(written.strip_suffix(HEAD_END)?).ok()?;
    let status: u16 = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let problem = problem(StatusCode::from_u16(status).ok()?, limits)?;
    // strip_suffix has removed the end of the last line too.
    let head = format!("{head}\r\n");
    if !head.contains(NO_BODY) || head.contains(CORRELATION_ID) {
        return None;
    }
    let body = serde_json::to_string(&problem).expect("a problem is plain data");
    let kept = head.replacen(NO_BODY, "", 1);
    let response = format!(
        "{kept}content-type: application/problem+json\r\ncache-control: no-store\r\n\
         {CORRELATION_ID}: {}\r\ncontent-length: {}\r\n\r\n{body}",
        Uuid::now_v7(),
        body.len()
    );
    Some(response.into_bytes())
}

fn problem(status: StatusCode, limits: &Limits) -> Option<Problem> {
    let (bytes, headers) = (limits.head_bytes_max, limits.headers_max);
    let body_bytes = limits.body_bytes_max;
    let allowed =
        format!("{bytes} bytes in total, {headers} headers, a Content-Length of up to {body_bytes}");
    match status {
        StatusCode::BAD_REQUEST => Some(Problem::new(status, "malformed_head", "Malformed request").field(
            "(head)",
            "the request line or a header is not valid HTTP/1.1",
            "a method, a target and HTTP/1.1; header names of letters, digits and hyphens; header values without \
             control characters; one Content-Length, or Transfer-Encoding: chunked",
        )),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Some(
            Problem::new(status, "head_too_large", "Request header fields too large")
                .field("(head)", "the head, or the body that it announces, is too large", allowed)
                .with("allowed_bytes", bytes)
                .with("allowed_headers", headers),
        ),
        StatusCode::URI_TOO_LONG => Some(
            Problem::new(status, "target_too_long", "URI too long")
                .field("(target)", "is too long", format!("{bytes} bytes in total with the headers"))
                .with("allowed_bytes", bytes),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::replacement;
    use crate::http::Limits;

    #[test]
    fn a_response_of_a_handler_is_not_changed() {
        let ours: [&[u8]; 5] = [
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\nx-correlation-id: 1\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n",
            b"{\"code\":\"HTTP/1.1 400 \"}",
            b"",
        ];
        for written in ours {
            assert_eq!(replacement(written, &Limits::default()), None);
        }
    }

    #[test]
    fn an_empty_response_of_hyper_becomes_a_problem_and_keeps_its_headers() {
        let empty = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: d\r\n\r\n";
        let replaced = replacement(empty, &Limits::default()).expect("a response of hyper's own");
        let text = String::from_utf8(replaced).expect("text");
        assert!(
            text.starts_with(
                "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ndate: d\r\n"
            )
        );
        assert_eq!(text.matches("content-length").count(), 1, "{text}");
        assert!(
            text.contains("\"code\":\"head_too_large\"") && text.contains("\"allowed_headers\":64"),
            "{text}"
        );
    }
}
