//! Value types: they are validated when they are parsed, so every value that exists is valid.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::money::Currency;

/// The longest order that is accepted, in lines.
pub const MAX_ORDER_LINES: usize = 2_000;

/// The reason why a value was refused, with the given and the allowed values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("must have {min} to {max} characters, has {given}")]
    Length { min: usize, max: usize, given: usize },
    #[error("must not contain control characters")]
    ControlCharacter,
    #[error("must be {min} to {max}, is {given}")]
    Range { min: i64, max: i64, given: i128 },
    #[error("must be an ISO 4217 currency code in capital letters, such as GBP, EUR or USD; is {given:?}")]
    Currency { given: String },
    #[error("must be a UUID, is {given:?}")]
    Uuid { given: String },
    #[error("the sum must fit in 63 bits of minor units")]
    Overflow,
    #[error("cannot add {left} to {right}: an order has one currency")]
    MixedCurrencies { left: Currency, right: Currency },
    #[error("must have 1 to {max} fields, has {given}")]
    Fields { max: usize, given: usize },
}

fn check_text(text: &str, max: usize) -> Result<(), ValueError> {
    let given = text.chars().count();
    if given == 0 || given > max {
        return Err(ValueError::Length { min: 1, max, given });
    }
    if text.chars().any(char::is_control) {
        return Err(ValueError::ControlCharacter);
    }
    Ok(())
}

macro_rules! text_value {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The maximum length, in characters.
            pub const MAX_CHARS: usize = $max;

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = ValueError;
            fn try_from(text: String) -> Result<Self, ValueError> {
                check_text(&text, Self::MAX_CHARS)?;
                Ok(Self(text))
            }
        }

        impl FromStr for $name {
            type Err = ValueError;
            fn from_str(text: &str) -> Result<Self, ValueError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
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

text_value!(
    /// A stock-keeping unit: 1 to 64 characters, none of them a control character. Case matters.
    Sku,
    64
);
text_value!(
    /// The buyer: 1 to 64 characters, none of them a control character.
    CustomerId,
    64
);

macro_rules! uuid_value {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl FromStr for $name {
            type Err = ValueError;
            fn from_str(text: &str) -> Result<Self, ValueError> {
                text.parse()
                    .map(Self)
                    .map_err(|_| ValueError::Uuid { given: text.chars().take(64).collect() })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_value!(
    /// The id of an order, and of its reservation, payment and shipment: each order has one of each.
    OrderId
);

/// The payment of an order has the order's id.
pub type PaymentId = OrderId;
/// The shipment of an order has the order's id.
pub type ShipmentId = OrderId;

/// A number of pieces: 1 to 1,000,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Quantity(i64);

impl Quantity {
    pub const MAX: i64 = 1_000_000_000;

    pub fn get(self) -> i64 {
        self.0
    }

    /// # Errors
    /// [`ValueError::Range`] when the sum is more than [`Quantity::MAX`].
    pub fn checked_add(self, other: Self) -> Result<Self, ValueError> {
        Self::try_from(self.0 + other.0)
    }
}

impl TryFrom<i64> for Quantity {
    type Error = ValueError;
    fn try_from(given: i64) -> Result<Self, ValueError> {
        if (1..=Self::MAX).contains(&given) {
            Ok(Self(given))
        } else {
            Err(ValueError::Range { min: 1, max: Self::MAX, given: given.into() })
        }
    }
}

impl From<Quantity> for i64 {
    fn from(quantity: Quantity) -> i64 {
        quantity.0
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A shipping address: free text, or named parts (`{"name": …, "street": …, "city": …}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Address {
    Text(String),
    Parts(BTreeMap<String, String>),
}

impl Address {
    /// The maximum length of the text and of each part, in characters.
    pub const MAX_CHARS: usize = 500;
    pub const MAX_PARTS: usize = 20;

    /// If it is empty, too long, has too many parts, or contains control characters other than line ends.
    pub fn check(&self) -> Result<(), ValueError> {
        let check = |text: &str| check_text(&text.replace(['\n', '\r', '\t'], " "), Self::MAX_CHARS);
        match self {
            Self::Text(text) => check(text),
            Self::Parts(parts) if parts.is_empty() || parts.len() > Self::MAX_PARTS => {
                Err(ValueError::Fields { max: Self::MAX_PARTS, given: parts.len() })
            }
            Self::Parts(parts) => parts.iter().try_for_each(|(name, part)| {
                check_text(name, 64)?;
                check(part)
            }),
        }
    }
}

/// Pieces of one SKU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkuQuantity {
    pub sku: Sku,
    pub quantity: Quantity,
}

/// The shortage of one SKU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    pub sku: Sku,
    pub wanted: i64,
    pub available: i64,
}
