//! Signs and verifies webhooks as Standard Webhooks specifies: <https://www.standardwebhooks.com/>.
//!
//! A webhook has three headers. `webhook-id` is the same for each attempt to deliver one event. `webhook-timestamp` is the
//! time of the attempt in Unix seconds. `webhook-signature` is one or more of `v1,<base64>`, separated by spaces: an
//! HMAC-SHA-256 over `<id>.<timestamp>.<body>`, one for each secret while secrets are rotated. The timestamp is signed so
//! that a recorded webhook cannot be sent again later.

use std::fmt;
use std::time::Duration;

use axum::http::HeaderMap;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::Secret;

pub const WEBHOOK_ID: &str = "webhook-id";
pub const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
pub const WEBHOOK_SIGNATURE: &str = "webhook-signature";

const SECRET_PREFIX: &str = "whsec_";
const VERSION_PREFIX: &str = "v1,";
const DIGEST_BYTES: usize = 32;

/// The secrets that sender and receiver share. The sender signs with each; the receiver accepts a signature by any.
#[derive(Clone)]
pub struct WebhookKeys(Vec<Vec<u8>>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the webhook secret is invalid; allowed: whsec_ and base64 (several during a rotation, separated by spaces), or \
     any other text, whose bytes are then the key"
)]
pub struct InvalidWebhookSecret;

/// Why a webhook is refused. Each text ends with what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("is missing or invalid, expected visible ASCII characters without a full stop")]
    Id,
    #[error("is missing or invalid, expected Unix seconds")]
    Timestamp,
    #[error("is {} s from the receiver's clock, expected at most {} s", .off.as_secs(), .tolerance.as_secs())]
    Stale { off: Duration, tolerance: Duration },
    #[error(
        "is missing or invalid, expected v1,<base64 of 32 bytes>, or several of them separated by spaces"
    )]
    Signature,
    #[error("does not match the body, expected an HMAC-SHA-256 with the shared secret")]
    Mismatch,
}

impl SignatureError {
    /// The header that the error is about.
    pub fn header(&self) -> &'static str {
        match self {
            Self::Id => "Webhook-Id",
            Self::Timestamp | Self::Stale { .. } => "Webhook-Timestamp",
            Self::Signature | Self::Mismatch => "Webhook-Signature",
        }
    }
}

impl WebhookKeys {
    /// Reads `whsec_<base64>`, or several of them separated by spaces. Any other text is one secret: its bytes are the key.
    ///
    /// # Errors
    /// When the secret is empty, or what follows `whsec_` is not base64.
    pub fn parse(secret: &Secret) -> Result<Self, InvalidWebhookSecret> {
        let text = secret.expose();
        let mut keys = Vec::new();
        if text.starts_with(SECRET_PREFIX) {
            for encoded in text.split_whitespace() {
                let encoded = encoded.strip_prefix(SECRET_PREFIX).ok_or(InvalidWebhookSecret)?;
                keys.push(BASE64_STANDARD.decode(encoded).map_err(|_| InvalidWebhookSecret)?);
            }
        } else {
            keys.push(text.as_bytes().to_vec());
        }
        if keys.iter().any(Vec::is_empty) { Err(InvalidWebhookSecret) } else { Ok(Self(keys)) }
    }

    /// The value of `webhook-signature`: one signature by each key.
    pub fn sign(&self, id: &str, at_unix_seconds: u64, body: &[u8]) -> String {
        let signature = |key: &Vec<u8>| {
            let digest = mac(key, id, at_unix_seconds, body).finalize().into_bytes();
            format!("{VERSION_PREFIX}{}", BASE64_STANDARD.encode(digest))
        };
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }

    /// # Errors
    /// [`SignatureError`]: the webhook was not signed with one of the keys, or not within `tolerance` of now.
    pub fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now_unix_seconds: u64,
        tolerance: Duration,
    ) -> Result<(), SignatureError> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        // A full stop separates what is signed: with one in the id, two webhooks could have the same signed content.
        let id =
            header(WEBHOOK_ID).filter(|id| is_visible(id) && !id.contains('.')).ok_or(SignatureError::Id)?;
        let at = header(WEBHOOK_TIMESTAMP)
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .ok_or(SignatureError::Timestamp)?;
        let signatures = header(WEBHOOK_SIGNATURE).map(signatures_v1).unwrap_or_default();
        if signatures.is_empty() {
            return Err(SignatureError::Signature);
        }
        // verify_slice compares in constant time.
        let matches = |key: &Vec<u8>| {
            signatures.iter().any(|signature| mac(key, id, at, body).verify_slice(signature).is_ok())
        };
        if !self.0.iter().any(matches) {
            return Err(SignatureError::Mismatch);
        }
        let off = Duration::from_secs(now_unix_seconds.abs_diff(at));
        if off > tolerance { Err(SignatureError::Stale { off, tolerance }) } else { Ok(()) }
    }
}

impl fmt::Debug for WebhookKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn mac(key: &[u8], id: &str, at_unix_seconds: u64, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC accepts a key of any length");
    mac.update(format!("{id}.{at_unix_seconds}.").as_bytes());
    mac.update(body);
    mac
}

fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Signatures of other versions are ignored, as the specification requires.
fn signatures_v1(header: &str) -> Vec<Vec<u8>> {
    let decode = |text: &str| BASE64_STANDARD.decode(text.strip_prefix(VERSION_PREFIX)?).ok();
    header.split(' ').filter_map(decode).filter(|signature| signature.len() == DIGEST_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use axum::http::HeaderMap;
    use standardwebhooks::Webhook;

    use super::{SignatureError, WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, WebhookKeys};
    use crate::Secret;

    const MINUTE: Duration = Duration::from_secs(60);
    const FIRST: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SECOND: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn keys(secret: &str) -> WebhookKeys {
        WebhookKeys::parse(&Secret::from(secret)).expect("a secret")
    }

    fn headers(id: &str, at: &str, signature: &str) -> HeaderMap {
        let headers = [(WEBHOOK_ID, id), (WEBHOOK_TIMESTAMP, at), (WEBHOOK_SIGNATURE, signature)];
        let header = |(name, value): (&'static str, &str)| {
            (name.parse().expect("a name"), value.parse().expect("a value"))
        };
        headers.into_iter().map(header).collect()
    }

    fn signed(secret: &str, body: &[u8]) -> HeaderMap {
        headers("msg_1", "1000", &keys(secret).sign("msg_1", 1_000, body))
    }

    fn now() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
    }

    #[test]
    fn the_standardwebhooks_library_accepts_our_signature() {
        let at = now();
        let both = keys(&format!("{FIRST} {SECOND}")).sign("msg_1", at, b"{\"a\":1}");
        let headers = headers("msg_1", &at.to_string(), &both);
        for secret in [FIRST, SECOND] {
            let library = Webhook::new(secret).expect("a secret");
            library.verify(b"{\"a\":1}", &headers).expect("signed with this secret too");
            library.verify(b"{\"a\":2}", &headers).expect_err("another body");
        }
    }

    #[test]
    fn we_accept_the_signature_of_the_standardwebhooks_library() {
        for (secret, library) in [
            (FIRST, Webhook::new(FIRST).expect("a secret")),
            ("plain text", Webhook::from_bytes(b"plain text".to_vec()).expect("any bytes")),
        ] {
            let signature = library.sign("msg_1", 1_000, b"body").expect("UTF-8");
            let headers = headers("msg_1", "1000", &signature);
            assert_eq!(keys(secret).verify(&headers, b"body", 1_000, MINUTE), Ok(()), "{secret}");
        }
    }

    #[test]
    fn a_webhook_is_accepted_within_the_tolerance_of_its_timestamp() {
        let headers = signed(FIRST, b"body");
        for now in [940, 1_000, 1_060] {
            assert_eq!(keys(FIRST).verify(&headers, b"body", now, MINUTE), Ok(()));
        }
        for now in [0, 939, 1_061, u64::MAX] {
            let stale = keys(FIRST).verify(&headers, b"body", now, MINUTE).expect_err("too far off");
            assert!(matches!(stale, SignatureError::Stale { .. }), "{stale}");
        }
    }

    #[test]
    fn another_body_secret_timestamp_or_id_is_refused() {
        let good = signed(FIRST, b"body");
        let signature = good[WEBHOOK_SIGNATURE].to_str().expect("ASCII");
        let (moved, renamed) = (headers("msg_1", "1001", signature), headers("msg_2", "1000", signature));
        for (secret, headers, body) in [
            (FIRST, &good, b"Body"),
            (SECOND, &good, b"body"),
            (FIRST, &moved, b"body"),
            (FIRST, &renamed, b"body"),
        ] {
            let refused = keys(secret).verify(headers, body, 1_000, MINUTE);
            assert_eq!(refused, Err(SignatureError::Mismatch), "{headers:?}");
        }
    }

    #[test]
    fn during_a_rotation_either_secret_is_accepted() {
        let both = format!("{FIRST} {SECOND}");
        for (sender, receiver) in [(both.as_str(), FIRST), (&both, SECOND), (FIRST, &both), (SECOND, &both)] {
            let headers = signed(sender, b"body");
            assert_eq!(keys(receiver).verify(&headers, b"body", 1_000, MINUTE), Ok(()));
        }
        assert_eq!(
            keys("plain text").verify(&signed(&both, b"body"), b"body", 1_000, MINUTE),
            Err(SignatureError::Mismatch)
        );
    }

    #[test]
    fn a_signature_of_another_version_is_ignored() {
        let ours = keys(FIRST).sign("msg_1", 1_000, b"body");
        let more = headers("msg_1", "1000", &format!("v1a,AAAA {ours} v2,AAAA"));
        assert_eq!(keys(FIRST).verify(&more, b"body", 1_000, MINUTE), Ok(()));
    }

    #[test]
    fn an_invalid_header_is_refused_by_its_name() {
        let good = keys(FIRST).sign("msg_1", 1_000, b"body");
        let short = format!("v1,{}", "A".repeat(40));
        for (id, at, signature, expected) in [
            ("", "1000", good.as_str(), SignatureError::Id),
            ("msg.1", "1000", &good, SignatureError::Id),
            ("msg_1", "", &good, SignatureError::Timestamp),
            ("msg_1", "+1000", &good, SignatureError::Timestamp),
            ("msg_1", "-1", &good, SignatureError::Timestamp),
            ("msg_1", "99999999999999999999", &good, SignatureError::Timestamp),
            ("msg_1", "1000", "", SignatureError::Signature),
            ("msg_1", "1000", "v1,", SignatureError::Signature),
            ("msg_1", "1000", "v1,é", SignatureError::Signature),
            ("msg_1", "1000", "t=1000,v1=00", SignatureError::Signature),
            ("msg_1", "1000", &short, SignatureError::Signature),
        ] {
            let refused = keys(FIRST).verify(&headers(id, at, signature), b"body", 1_000, MINUTE);
            assert_eq!(refused, Err(expected), "{id} {at} {signature}");
        }
        assert_eq!(keys(FIRST).verify(&HeaderMap::new(), b"", 1, MINUTE), Err(SignatureError::Id));
    }

    #[test]
    fn an_invalid_secret_is_refused_and_never_printed() {
        for secret in ["", "whsec_", "whsec_!", "whsec_AAAA plain", "whsec_AAAA whsec_"] {
            assert!(WebhookKeys::parse(&Secret::from(secret)).is_err(), "{secret}");
        }
        assert_eq!(format!("{:?}", keys("hunter2")), "***");
    }
}
