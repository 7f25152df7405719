//! An answer with its entity tag and the positions that it depends on, or 304 when the client has it already.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use event_log::{Positions, Version};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::found::{POSITION_HEADER, position_value};

/// An answer about one stream: its tag is the stream's version, which is also what `If-Match` of a command takes. `headers` are
/// the request's; `position` is what the answer depends on.
pub fn tagged_by_version(
    headers: &HeaderMap,
    position: &Positions,
    version: Version,
    body: &impl Serialize,
) -> Response {
    tagged(headers, position, format!("\"{version}\""), encode(body))
}

/// Any other answer: its tag is a digest of the body.
pub fn tagged_by_digest(headers: &HeaderMap, position: &Positions, body: &impl Serialize) -> Response {
    let body = encode(body);
    let digest: String = Sha256::digest(&body).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    tagged(headers, position, format!("\"{digest}\""), body)
}

fn encode(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("an answer has string keys and no failing serialiser")
}

fn tagged(headers: &HeaderMap, position: &Positions, tag: String, body: Vec<u8>) -> Response {
    let known = client_has(headers, &tag);
    let tag = HeaderValue::try_from(tag).expect("a tag is ASCII");
    // A client may keep the answer and must ask each time whether it still holds.
    let caching = [(header::ETAG, tag), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    let mut response = if known {
        // The length that the body would have (RFC 9110 §8.6), or none; never that of the body that is left out.
        let length = [(header::CONTENT_LENGTH, HeaderValue::from(body.len()))];
        (StatusCode::NOT_MODIFIED, caching, length).into_response()
    } else {
        (caching, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body)
            .into_response()
    };
    response
        .headers_mut()
        .extend(position_value(position).map(|value| (HeaderName::from_static(POSITION_HEADER), value)));
    response
}

/// RFC 9110 §13.1.2: the comparison is weak, and `*` matches any tag.
fn client_has(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|candidate| candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == tag)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, StatusCode, header};

    use event_log::Positions;

    use super::tagged_by_version;

    fn status_when_client_has(if_none_match: &str) -> StatusCode {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, if_none_match.parse().expect("a header value"));
        tagged_by_version(&headers, &Positions::default(), 3, &"body").status()
    }

    #[test]
    fn a_client_that_has_the_version_is_not_sent_it_again() {
        assert_eq!(status_when_client_has("\"3\""), StatusCode::NOT_MODIFIED);
        assert_eq!(status_when_client_has("\"2\", W/\"3\""), StatusCode::NOT_MODIFIED);
        assert_eq!(status_when_client_has("*"), StatusCode::NOT_MODIFIED);
        assert_eq!(status_when_client_has("\"2\""), StatusCode::OK);
        assert_eq!(status_when_client_has("3"), StatusCode::OK);
    }
}
