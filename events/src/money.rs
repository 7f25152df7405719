//! Currencies and amounts of money.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::value::{Quantity, ValueError};

/// A national currency of ISO 4217 that is in use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency(iso_currency::Currency);

impl Currency {
    pub fn as_str(&self) -> &str {
        self.0.code()
    }

    /// The number of decimal places of the minor unit: 2 for GBP, 0 for JPY, 3 for KWD.
    pub fn exponent(&self) -> u16 {
        self.0.exponent().expect("only codes of funds and metals have no minor unit")
    }
}

/// Excludes funds, metals, test codes, and currencies that another one has replaced. The table names VED as the replacement of VES, but
/// both are in use.
fn is_in_use(currency: iso_currency::Currency) -> bool {
    let is_replaced = currency.is_superseded().is_some() && currency != iso_currency::Currency::VES;
    !currency.is_fund() && !currency.is_special() && !is_replaced
}

impl FromStr for Currency {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        iso_currency::Currency::from_code(text)
            .filter(|currency| is_in_use(*currency))
            .map(Self)
            .ok_or_else(|| ValueError::Currency { given: text.chars().take(16).collect() })
    }
}

impl TryFrom<String> for Currency {
    type Error = ValueError;
    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> String {
        currency.as_str().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount in integer minor units (pence, cents) of one currency. Never below 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "MoneyFields")]
pub struct Money {
    amount_minor: i64,
    currency: Currency,
}

#[derive(Deserialize)]
struct MoneyFields {
    amount_minor: i64,
    currency: Currency,
}

impl TryFrom<MoneyFields> for Money {
    type Error = ValueError;
    fn try_from(fields: MoneyFields) -> Result<Self, ValueError> {
        Self::new(fields.amount_minor, fields.currency)
    }
}

impl Money {
    /// # Errors
    /// [`ValueError::Range`] when the amount is below 0.
    pub fn new(amount_minor: i64, currency: Currency) -> Result<Self, ValueError> {
        if amount_minor < 0 {
            return Err(ValueError::Range { min: 0, max: i64::MAX, given: amount_minor.into() });
        }
        Ok(Self { amount_minor, currency })
    }

    pub fn zero(currency: Currency) -> Self {
        Self { amount_minor: 0, currency }
    }

    pub fn amount_minor(self) -> i64 {
        self.amount_minor
    }

    pub fn currency(self) -> Currency {
        self.currency
    }

    pub fn is_zero(self) -> bool {
        self.amount_minor == 0
    }

    /// # Errors
    /// [`ValueError::MixedCurrencies`], [`ValueError::Overflow`].
    pub fn checked_add(self, other: Self) -> Result<Self, ValueError> {
        if self.currency != other.currency {
            return Err(ValueError::MixedCurrencies { left: self.currency, right: other.currency });
        }
        let amount_minor = self.amount_minor.checked_add(other.amount_minor).ok_or(ValueError::Overflow)?;
        Ok(Self { amount_minor, ..self })
    }

    /// # Errors
    /// [`ValueError::Overflow`].
    pub fn checked_mul(self, quantity: Quantity) -> Result<Self, ValueError> {
        let amount_minor = self.amount_minor.checked_mul(quantity.get()).ok_or(ValueError::Overflow)?;
        Ok(Self { amount_minor, ..self })
    }
}
