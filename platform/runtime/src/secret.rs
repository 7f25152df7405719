//! A configuration value that must not be printed: a database URL with a password, a list of SASL properties.
//!
//! Never: a password in a log line, an error text or `--help` (an option that holds one sets `hide_env_values = true`).

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

const MASK: &str = "***";

/// Printed without the password. Any text is accepted, so that no parse error can quote it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value with its password, for the call that uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `text` without the secret and its password.
    pub fn redact(&self, text: &str) -> String {
        let masked = text.replace(&self.0, &self.to_string());
        match self.password() {
            Some(password) if !password.is_empty() => masked.replace(password, MASK),
            _ => masked,
        }
    }

    /// The text between the user name and the last `@` of a URL, still percent-encoded.
    fn password(&self) -> Option<&str> {
        let (_, after_scheme) = self.0.split_once("://")?;
        let (user_info, _) = after_scheme.rsplit_once('@')?;
        user_info.split_once(':').map(|(_, password)| password)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, after_scheme)) = self.0.split_once("://") else {
            return f.write_str(if self.0.is_empty() { "" } else { MASK });
        };
        let (user_info, rest) = after_scheme.rsplit_once('@').unwrap_or(("", after_scheme));
        write!(f, "{scheme}://")?;
        match user_info.split_once(':') {
            Some((user, _)) => write!(f, "{user}:{MASK}@")?,
            None if !user_info.is_empty() => write!(f, "{user_info}@")?,
            None => {}
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        f.write_str(place)?;
        for (n, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = if name.contains("password") { MASK } else { value };
            write!(f, "{}{name}={value}", if n == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[track_caller]
    fn shown(secret: &str, expected: &str) {
        let secret = Secret::from(secret);
        assert_eq!(secret.to_string(), expected);
        assert_eq!(format!("{secret:?}"), expected);
    }

    #[test]
    fn a_url_is_printed_without_its_password() {
        shown("postgres://tradewind:pw@db:5432/shop", "postgres://tradewind:***@db:5432/shop");
        shown("postgres://tradewind@db/shop?sslmode=require", "postgres://tradewind@db/shop?sslmode=require");
        shown("postgres://db/shop", "postgres://db/shop");
    }

    #[test]
    fn a_password_with_an_at_sign_or_a_slash_is_masked_entirely() {
        shown("postgres://u:p@ss/w:rd@db/shop", "postgres://u:***@db/shop");
    }

    #[test]
    fn a_password_in_the_query_is_masked() {
        shown("postgres://db/shop?password=pw&user=u", "postgres://db/shop?password=***&user=u");
        shown("postgres://db/shop?sslpassword=pw", "postgres://db/shop?sslpassword=***");
    }

    #[test]
    fn a_value_that_is_not_a_url_is_masked_entirely() {
        shown("host=db password=pw", "***");
        shown("sasl.username=u,sasl.password=pw", "***");
        shown("", "");
    }

    #[test]
    fn an_error_text_that_quotes_the_password_is_redacted() {
        let secret = Secret::from("postgres://u:hunter2@db/shop");
        assert_eq!(
            secret.redact("no route to postgres://u:hunter2@db/shop"),
            "no route to postgres://u:***@db/shop"
        );
        assert_eq!(secret.redact("refused: hunter2"), "refused: ***");
    }
}
