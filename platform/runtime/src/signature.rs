//! A body signed with a secret that both ends know, so that whoever receives it knows who sent it, and when.
//!
//! The header is `t=<unix seconds>,v1=<hex of HMAC-SHA-256 over "<t>." and the body>`: the time is signed too, so that
//! what was recorded cannot be sent again much later. Never: a comparison that takes longer the more is right.
//! Read next: `secret.rs`.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::Secret;

/// The header that carries it.
pub const SIGNATURE: &str = "webhook-signature";

/// Why a body is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("is not a signature, expected t=<unix seconds>,v1=<64 hexadecimal digits>")]
    Malformed,
    #[error("is {} s off, expected at most {} s", .off.as_secs(), .tolerance.as_secs())]
    Stale { off: Duration, tolerance: Duration },
    #[error("is not that of this body, expected an HMAC-SHA-256 with the shared secret")]
    Wrong,
}

/// The header's value for a body that is sent at `at_unix_seconds`.
pub fn sign(secret: &Secret, at_unix_seconds: u64, body: &[u8]) -> String {
    let digest = mac(secret, at_unix_seconds, body).finalize().into_bytes();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at_unix_seconds},v1={hex}")
}

/// # Errors
/// [`SignatureError`]: the body is not to be believed.
pub fn verify(
    secret: &Secret,
    header: &str,
    body: &[u8],
    now_unix_seconds: u64,
    tolerance: Duration,
) -> Result<(), SignatureError> {
    let (at, signature) = parse(header).ok_or(SignatureError::Malformed)?;
    // In constant time.
    mac(secret, at, body).verify_slice(&signature).map_err(|_| SignatureError::Wrong)?;
    let off = Duration::from_secs(now_unix_seconds.abs_diff(at));
    if off > tolerance { Err(SignatureError::Stale { off, tolerance }) } else { Ok(()) }
}

fn mac(secret: &Secret, at_unix_seconds: u64, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes any key");
    mac.update(format!("{at_unix_seconds}.").as_bytes());
    mac.update(body);
    mac
}

fn parse(header: &str) -> Option<(u64, Vec<u8>)> {
    let (at, hex) = header.strip_prefix("t=")?.split_once(",v1=")?;
    let plain =
        at.bytes().all(|byte| byte.is_ascii_digit()) && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !plain || hex.len() != 64 {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).ok();
    Some((at.parse().ok()?, (0..hex.len()).step_by(2).map(byte).collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{SignatureError, sign, verify};
    use crate::Secret;

    const MINUTE: Duration = Duration::from_secs(60);

    fn secret() -> Secret {
        Secret::from("shh")
    }

    #[test]
    fn the_signature_is_what_others_compute() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac shh
        let expected = "t=1700000000,v1=be310eac0f84daf469d630347a950258de768b365563ab68f29f2f783473d547";
        assert_eq!(sign(&secret(), 1_700_000_000, b"{\"a\":1}"), expected);
    }

    #[test]
    fn what_was_signed_is_believed_for_as_long_as_it_is_tolerated() {
        let header = sign(&secret(), 1_000, b"body");
        for now in [940, 1_000, 1_060] {
            assert_eq!(verify(&secret(), &header, b"body", now, MINUTE), Ok(()));
        }
        for now in [0, 939, 1_061, u64::MAX] {
            let stale = verify(&secret(), &header, b"body", now, MINUTE).expect_err("too far off");
            assert!(matches!(stale, SignatureError::Stale { .. }), "{stale}");
        }
    }

    #[test]
    fn another_body_secret_or_time_is_not_believed() {
        let header = sign(&secret(), 1_000, b"body");
        let moved = header.replacen("t=1000", "t=1001", 1);
        let other = Secret::from("other");
        for (secret, header, body) in
            [(&secret(), &header, b"Body"), (&other, &header, b"body"), (&secret(), &moved, b"body")]
        {
            assert_eq!(verify(secret, header, body, 1_000, MINUTE), Err(SignatureError::Wrong));
        }
    }

    #[test]
    fn what_is_no_signature_is_said_to_be_none() {
        let zeros = "0".repeat(64);
        let (long, plus) = (format!("t=1,v1={zeros}00"), format!("t=+1,v1={zeros}"));
        let odd = format!("t=1,v1={}é", "0".repeat(62));
        for header in ["", "t=1", "t=1,v1=", "v1=00,t=1", "t=x,v1=00", &long, &plus, &odd] {
            assert_eq!(
                verify(&secret(), header, b"", 1, MINUTE),
                Err(SignatureError::Malformed),
                "{header:?}"
            );
        }
    }
}
