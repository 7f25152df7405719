//! The two headers that change how a command is executed: `Idempotency-Key` and `If-Match`. An invalid header is
//! refused, never ignored.

use axum::http::{HeaderMap, HeaderName, header};
use events::Version;
use runtime::Problem;

pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

const KEY_CHARS_MAX: usize = 255;
const KEY_ALLOWED: &str =
    "one header of 1 to 255 visible ASCII characters, with or without quotes around them";
const IF_MATCH_ALLOWED: &str = "one ETag from a command's response, such as \"3\", or *";

/// The client's key for one request, which makes repeating it safe.
///
/// When there are several, or one that is not visible ASCII of at most 255 characters.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(given) = single(headers, &IDEMPOTENCY_KEY, KEY_ALLOWED)? else { return Ok(None) };
    // The IETF draft has a quoted string, but most clients send it without quotes. Both mean the same key.
    let key = match given.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').filter(|key| !key.contains(['"', '\\'])),
        None => Some(given),
    };
    match key {
        Some(key) if is_visible(key) && key.len() <= KEY_CHARS_MAX => Ok(Some(key.to_owned())),
        _ => Err(invalid_header("Idempotency-Key", "is not a key", KEY_ALLOWED)),
    }
}

fn is_visible(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The condition on the stream before the command is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: the stream exists.
    Anything,
    /// `"3"`: the stream is at this version.
    Version(Version),
}

impl IfMatch {
    /// # Errors
    /// When it is neither `*` nor one version in quotes.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let Some(given) = single(headers, &header::IF_MATCH, IF_MATCH_ALLOWED)? else { return Ok(None) };
        if given == "*" {
            return Ok(Some(Self::Anything));
        }
        let version = given.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).and_then(|digits| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<Version>().ok().filter(|version| plain && *version >= 1)
        });
        match version {
            Some(version) => Ok(Some(Self::Version(version))),
            None => Err(invalid_header("If-Match", "is not a valid ETag", IF_MATCH_ALLOWED)),
        }
    }

    pub fn allows(self, current: Version) -> bool {
        match self {
            Self::Anything => current > 0,
            Self::Version(version) => version == current,
        }
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName, allowed: &str) -> Result<Option<&'a str>, Problem> {
    let shown = if *name == IDEMPOTENCY_KEY { "Idempotency-Key" } else { "If-Match" };
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            value.to_str().map(Some).map_err(|_| invalid_header(shown, "is not visible ASCII", allowed))
        }
        (Some(_), Some(_)) => Err(invalid_header(shown, "is given more than once", allowed)),
    }
}

fn invalid_header(name: &str, detail: &str, allowed: &str) -> Problem {
    Problem::invalid_header().detail(format!("{name} {detail}")).field(name, detail, allowed)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header};

    use super::{IDEMPOTENCY_KEY, IfMatch, idempotency_key};

    fn key(given: &str) -> Option<String> {
        let value = HeaderValue::from_bytes(given.as_bytes()).expect("a header value");
        let headers = HeaderMap::from_iter([(IDEMPOTENCY_KEY, value)]);
        idempotency_key(&headers).ok().map(|key| key.expect("the header is there"))
    }

    fn if_match(given: &str) -> Option<IfMatch> {
        let headers =
            HeaderMap::from_iter([(header::IF_MATCH, HeaderValue::from_str(given).expect("ASCII"))]);
        IfMatch::of(&headers).ok().map(|asked| asked.expect("the header is there"))
    }

    #[test]
    fn a_key_means_the_same_with_and_without_quotes() {
        assert_eq!(key("order-42/first"), Some("order-42/first".to_owned()));
        assert_eq!(key("\"order-42/first\""), Some("order-42/first".to_owned()));
        assert_eq!(key(&"k".repeat(255)), Some("k".repeat(255)));
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        let too_long = "k".repeat(256);
        for given in ["", "\"\"", "\"", "\"open", "\"a\"b\"", "\"a\\b\"", "two words", "ключ", &too_long]
        {
            assert_eq!(key(given), None, "{given:?}");
        }
    }

    #[test]
    fn two_keys_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static("a"));
        headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static("a"));
        assert!(idempotency_key(&headers).is_err());
    }

    #[test]
    fn a_version_is_asked_for_as_its_etag() {
        assert_eq!(if_match("\"3\""), Some(IfMatch::Version(3)));
        assert_eq!(if_match("*"), Some(IfMatch::Anything));
        for given in ["3", "\"0\"", "\"+3\"", "\"-1\"", "W/\"3\"", "\"3\", \"4\"", "\"\"", "\"99999999999\""]
        {
            assert_eq!(if_match(given), None, "{given:?}");
        }
    }

    #[test]
    fn anything_is_any_version_but_none() {
        assert!(IfMatch::Anything.allows(1));
        assert!(!IfMatch::Anything.allows(0));
        assert!(IfMatch::Version(2).allows(2));
        assert!(!IfMatch::Version(2).allows(3));
    }
}
