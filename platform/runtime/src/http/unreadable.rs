//! What is said to a client whose head cannot be read. hyper answers such a request before anything of ours sees it,
//! with a status line and nothing else; here its answer becomes a problem like all others.
//!
//! Never: a change to an answer of ours (each of those carries a correlation id). Read next: `connection.rs`.

use axum::http::StatusCode;
use uuid::Uuid;

use super::Limits;
use super::context::CORRELATION_ID;
use crate::Problem;

const HEAD_END: &[u8] = b"\r\n\r\n";
const NO_BODY: &str = "content-length: 0\r\n";

/// What to write in the place of `written`, where that is one of hyper's own answers.
pub(super) fn explained(written: &[u8], limits: &Limits) -> Option<Vec<u8>> {
    let head = std::str::from_utf8(written.strip_suffix(HEAD_END)?).ok()?;
    let status: u16 = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let problem = problem(StatusCode::from_u16(status).ok()?, limits)?;
    // The last line has lost its end with the head's.
    let head = format!("{head}\r\n");
    if !head.contains(NO_BODY) || head.contains(CORRELATION_ID) {
        return None;
    }
    let body = serde_json::to_string(&problem).expect("a problem is plain data");
    let kept = head.replacen(NO_BODY, "", 1);
    let answer = format!(
        "{kept}content-type: application/problem+json\r\ncache-control: no-store\r\n\
         {CORRELATION_ID}: {}\r\ncontent-length: {}\r\n\r\n{body}",
        Uuid::now_v7(),
        body.len()
    );
    Some(answer.into_bytes())
}

fn problem(status: StatusCode, limits: &Limits) -> Option<Problem> {
    let (bytes, headers) = (limits.head_bytes_max, limits.headers_max);
    let body_bytes = limits.body_bytes_max;
    let allowed = format!("{bytes} bytes in all, {headers} headers, a Content-Length of up to {body_bytes}");
    match status {
        StatusCode::BAD_REQUEST => Some(
            Problem::new(status, "malformed_head", "The head of the request is not HTTP/1.1").field(
                "(head)",
                "the request line or a header cannot be read",
                "a method, a target and HTTP/1.1; header names of letters, digits and hyphens, values without \
                 control characters; one Content-Length, or Transfer-Encoding: chunked",
            ),
        ),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Some(
            Problem::new(status, "head_too_large", "The head of the request is too large")
                .field("(head)", "is too large, or announces a body that is", allowed)
                .with("allowed_bytes", bytes)
                .with("allowed_headers", headers),
        ),
        StatusCode::URI_TOO_LONG => Some(
            Problem::new(status, "target_too_long", "The target of the request is too long")
                .field("(target)", "is too long", format!("{bytes} bytes, with all headers"))
                .with("allowed_bytes", bytes),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::explained;
    use crate::http::Limits;

    #[test]
    fn an_answer_of_ours_is_left_alone() {
        let ours: [&[u8]; 5] = [
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\nx-correlation-id: 1\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n",
            b"{\"code\":\"HTTP/1.1 400 \"}",
            b"",
        ];
        for written in ours {
            assert_eq!(explained(written, &Limits::default()), None);
        }
    }

    #[test]
    fn hypers_bare_answer_becomes_a_problem_and_keeps_its_headers() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: d\r\n\r\n";
        let answer = explained(bare, &Limits::default()).expect("hyper's own");
        let text = String::from_utf8(answer).expect("text");
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
