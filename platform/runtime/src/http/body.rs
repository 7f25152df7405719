//! A request body with a largest size and a last moment.
//!
//! Never: more of a body in memory than is allowed. Read next: `json.rs`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;

use super::Limits;
use crate::Problem;

#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("the body is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error("the body did not arrive within {} ms", read_max.as_millis())]
    TooSlow { read_max: Duration },
    #[error("the body broke off")]
    BrokenOff,
}

/// The request with its whole body in memory.
///
/// # Errors
/// When the body is too large, too slow, or breaks off.
pub(super) async fn buffered(request: Request, limits: &Limits) -> Result<Request, Problem> {
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let bytes_max = limits.body_bytes_max;
    let announced =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|announced: u64| announced > bytes_max as u64) {
        return Err(BodyError::TooLarge { bytes_max }.into());
    }
    let (parts, body) = request.into_parts();
    let whole = tokio::time::timeout(limits.body_read_max, Limited::new(body, bytes_max).collect());
    let bytes: Bytes = match whole.await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(BodyError::TooLarge { bytes_max }.into());
        }
        Ok(Err(_)) => return Err(BodyError::BrokenOff.into()),
        Err(_) => return Err(BodyError::TooSlow { read_max: limits.body_read_max }.into()),
    };
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match &error {
            BodyError::TooLarge { bytes_max } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large")
                    .with("allowed_bytes", bytes_max)
            }
            BodyError::TooSlow { .. } => {
                Self::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", "The body came too slowly")
            }
            BodyError::BrokenOff => {
                Self::new(StatusCode::BAD_REQUEST, "body_broken_off", "The body is not as long as announced")
            }
        }
        .detail(error.to_string())
    }
}
