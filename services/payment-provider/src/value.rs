//! The value types of bodies and flags. Parsing validates them. Each error ends with `, expected` and the allowed values,
//! which `runtime::http` shows separately.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A whole number from 0 to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
pub struct Bounded<const MAX: u32>(u32);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("{given} is out of range, expected 0 to {max}")]
    OutOfRange { given: String, max: u32 },
    #[error("is not a decline code, expected 1 to 64 characters a-z, 0-9 and _")]
    DeclineCode,
    #[error("is not a customer id, expected 1 to 200 characters without control characters")]
    Customer,
    #[error("is not a currency, expected three letters A-Z")]
    Currency,
    #[error("{given} is not an amount, expected 1 to {}", i64::MAX)]
    Amount { given: i64 },
}

impl<const MAX: u32> Bounded<MAX> {
    pub const MAX: u32 = MAX;

    /// # Panics
    /// When `value` is more than `MAX`. For constants.
    pub const fn new(value: u32) -> Self {
        assert!(value <= MAX, "a constant is within its bound");
        Self(value)
    }

    pub fn get(self) -> u32 {
        self.0
    }
}

impl<const MAX: u32> TryFrom<u32> for Bounded<MAX> {
    type Error = ValueError;

    fn try_from(given: u32) -> Result<Self, ValueError> {
        if given > MAX {
            Err(ValueError::OutOfRange { given: given.to_string(), max: MAX })
        } else {
            Ok(Self(given))
        }
    }
}

impl<const MAX: u32> FromStr for Bounded<MAX> {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let out_of_range = || ValueError::OutOfRange { given: text.to_owned(), max: MAX };
        text.parse::<u32>().map_err(|_| out_of_range())?.try_into()
    }
}

impl<const MAX: u32> From<Bounded<MAX>> for u32 {
    fn from(value: Bounded<MAX>) -> Self {
        value.0
    }
}

impl<const MAX: u32> fmt::Display for Bounded<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Defines a text that satisfies `$allowed`.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $error:expr, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = ValueError;

            fn try_from(text: String) -> Result<Self, ValueError> {
                let allowed: fn(&str) -> bool = $allowed;
                if allowed(&text) { Ok(Self(text)) } else { Err($error) }
            }
        }

        impl FromStr for $name {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, ValueError> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(
    /// The reason for a decline: `card_declined`, `insufficient_funds`.
    DeclineCode,
    ValueError::DeclineCode,
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
);
text!(
    /// The id of the paying customer.
    Customer,
    ValueError::Customer,
    |text| (1..=200).contains(&text.chars().count()) && !text.chars().any(char::is_control)
);
text!(
    /// An ISO 4217 code.
    Currency,
    ValueError::Currency,
    |text| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())
);

/// Money in minor units, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "i64", try_from = "i64")]
pub struct Amount(i64);

impl Amount {
    pub fn minor(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Amount {
    type Error = ValueError;

    fn try_from(given: i64) -> Result<Self, ValueError> {
        if given < 1 { Err(ValueError::Amount { given }) } else { Ok(Self(given)) }
    }
}

impl From<Amount> for i64 {
    fn from(amount: Amount) -> Self {
        amount.0
    }
}
