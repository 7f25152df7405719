//! The limits of the values: what is accepted, what is refused, and what the error says.

use std::collections::BTreeMap;

use events::orders::OrderLine;
use events::{Address, Currency, CustomerId, Money, OrderId, Quantity, Sku, ValueError};
use proptest::prelude::*;
use serde::de::DeserializeOwned;

// ---- SKUs and customers ----

#[test]
fn a_sku_has_one_to_sixty_four_characters() {
    assert_eq!("85123A".parse::<Sku>().map(|sku| sku.to_string()), Ok("85123A".to_owned()));
    assert!("x".repeat(64).parse::<Sku>().is_ok());
    assert_eq!("".parse::<Sku>(), Err(ValueError::Length { min: 1, max: 64, given: 0 }));
    assert_eq!("x".repeat(65).parse::<Sku>(), Err(ValueError::Length { min: 1, max: 64, given: 65 }));
}

#[test]
fn the_length_of_a_sku_is_counted_in_characters_not_bytes() {
    assert!("é".repeat(64).parse::<Sku>().is_ok());
    assert!("茶".repeat(65).parse::<Sku>().is_err());
}

#[test]
fn a_sku_may_have_any_printable_characters() {
    for odd in ["BANK CHARGES", "gift_0001_40", "15056bl", "15056BL", "a/b?c#d", "100%", " ", "\"'\\"] {
        assert_eq!(odd.parse::<Sku>().map(String::from), Ok(odd.to_owned()));
    }
}

#[test]
fn the_case_of_a_sku_matters() {
    assert_ne!("15056bl".parse::<Sku>(), "15056BL".parse::<Sku>());
}

#[test]
fn a_control_character_is_refused() {
    for text in ["a\0b", "a\nb", "\u{7f}", "\u{85}"] {
        assert_eq!(text.parse::<Sku>(), Err(ValueError::ControlCharacter), "{text:?}");
        assert_eq!(text.parse::<CustomerId>(), Err(ValueError::ControlCharacter), "{text:?}");
    }
}

#[test]
fn a_customer_id_has_one_to_sixty_four_characters() {
    assert!("guest".parse::<CustomerId>().is_ok());
    let too_long = "x".repeat(65).parse::<CustomerId>();
    assert_eq!(too_long, Err(ValueError::Length { min: 1, max: 64, given: 65 }));
}

#[test]
fn an_order_id_is_a_uuid() {
    let text = "018f2f3a-7c1e-7d2a-9b44-3c5a1e9f0a01";
    assert_eq!(text.parse::<OrderId>().map(|id| id.to_string()), Ok(text.to_owned()));
    assert_eq!("536365".parse::<OrderId>(), Err(ValueError::Uuid { given: "536365".to_owned() }));
}

// ---- quantities ----

#[test]
fn a_quantity_is_one_to_a_thousand_million() {
    assert_eq!(Quantity::try_from(1).map(Quantity::get), Ok(1));
    assert_eq!(Quantity::try_from(1_000_000_000).map(Quantity::get), Ok(1_000_000_000));
    for given in [0, -1, 1_000_000_001, i64::MIN, i64::MAX] {
        let refusal = ValueError::Range { min: 1, max: 1_000_000_000, given: given.into() };
        assert_eq!(Quantity::try_from(given), Err(refusal));
    }
}

#[test]
fn quantities_add_up_to_their_limit() {
    let most = quantity(1_000_000_000);
    assert_eq!(quantity(999_999_999).checked_add(quantity(1)), Ok(most));
    assert!(most.checked_add(quantity(1)).is_err());
    assert!(most.checked_add(most).is_err());
}

// ---- money ----

#[test]
fn a_currency_is_an_iso_code_in_capital_letters() {
    for code in ["GBP", "EUR", "USD", "JPY", "ZWG"] {
        assert_eq!(code.parse::<Currency>().map(|currency| currency.to_string()), Ok(code.to_owned()));
    }
    for given in ["gbp", "GB", "GBPX", "XXX", "XAU", "", "£", "A F"] {
        assert_eq!(given.parse::<Currency>(), Err(ValueError::Currency { given: given.to_owned() }));
    }
}

#[test]
fn exactly_the_national_currencies_in_use_are_accepted() {
    let known = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL \
                 BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD \
                 FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS \
                 KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK \
                 MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD \
                 SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX \
                 USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG";
    let letters = || 'A'..='Z';
    let all =
        letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| format!("{a}{b}{c}"))));
    let accepted: Vec<String> = all.filter(|code| code.parse::<Currency>().is_ok()).collect();
    assert_eq!(accepted.join(" "), known);
}

#[test]
fn a_currency_has_the_exponent_of_its_minor_unit() {
    for (code, exponent) in [("GBP", 2), ("JPY", 0), ("KWD", 3), ("VES", 2)] {
        assert_eq!(code.parse::<Currency>().map(|currency| currency.exponent()), Ok(exponent), "{code}");
    }
}

#[test]
fn money_is_never_below_zero() {
    assert!(Money::new(0, gbp()).is_ok_and(Money::is_zero));
    for given in [-1, i64::MIN] {
        let refusal = ValueError::Range { min: 0, max: i64::MAX, given: given.into() };
        assert_eq!(Money::new(given, gbp()), Err(refusal));
    }
}

#[test]
fn money_read_from_json_is_never_below_zero() {
    assert_eq!(read::<Money>(r#"{"amount_minor":250,"currency":"GBP"}"#), Ok(pounds(250)));
    assert_eq!(
        read::<Money>(r#"{"amount_minor":-1,"currency":"GBP"}"#),
        Err("must be 0 to 9223372036854775807, is -1".to_owned())
    );
}

#[test]
fn money_of_two_currencies_does_not_add_up() {
    let euros = Money::zero("EUR".parse().expect("EUR is a currency"));
    let refusal = ValueError::MixedCurrencies { left: gbp(), right: euros.currency() };
    assert_eq!(pounds(1).checked_add(euros), Err(refusal));
}

#[test]
fn money_that_does_not_fit_is_refused_never_wrapped() {
    assert_eq!(pounds(i64::MAX).checked_add(pounds(0)), Ok(pounds(i64::MAX)));
    assert_eq!(pounds(i64::MAX).checked_add(pounds(1)), Err(ValueError::Overflow));
    assert_eq!(pounds(i64::MAX).checked_mul(quantity(1)), Ok(pounds(i64::MAX)));
    assert_eq!(pounds(i64::MAX / 2 + 1).checked_mul(quantity(2)), Err(ValueError::Overflow));
}

proptest! {
    #[test]
    fn money_computes_as_wide_integers_do_or_says_overflow(
        left in 0..=i64::MAX, right in 0..=i64::MAX, count in 1..=Quantity::MAX,
    ) {
        let exact = |wide: i128| i64::try_from(wide).map(pounds).map_err(|_| ValueError::Overflow);
        let (wide_left, wide_right) = (i128::from(left), i128::from(right));
        prop_assert_eq!(pounds(left).checked_add(pounds(right)), exact(wide_left + wide_right));
        prop_assert_eq!(pounds(left).checked_mul(quantity(count)), exact(wide_left * i128::from(count)));
    }
}

// ---- addresses ----

#[test]
fn an_address_is_a_text_or_named_parts() {
    assert_eq!(read(r#""United Kingdom""#), Ok(Address::Text("United Kingdom".to_owned())));
    assert_eq!(read(r#"{"city":"London"}"#), Ok(parts([("city", "London")])));
}

#[test]
fn an_address_may_have_several_lines() {
    assert_eq!(text("Ada\r\n12 St James's Square\n\tLondon").check(), Ok(()));
}

#[test]
fn an_address_has_limits() {
    assert_eq!(text(&"x".repeat(500)).check(), Ok(()));
    assert_eq!(text(&"x".repeat(501)).check(), Err(ValueError::Length { min: 1, max: 500, given: 501 }));
    assert_eq!(text("").check(), Err(ValueError::Length { min: 1, max: 500, given: 0 }));
    assert_eq!(text("a\0b").check(), Err(ValueError::ControlCharacter));
    assert_eq!(parts([]).check(), Err(ValueError::Fields { max: 20, given: 0 }));
    assert_eq!(parts([("city", "")]).check(), Err(ValueError::Length { min: 1, max: 500, given: 0 }));
    assert_eq!(parts([("", "London")]).check(), Err(ValueError::Length { min: 1, max: 64, given: 0 }));
    let numbered = |count: usize| {
        Address::Parts((0..count).map(|n| (format!("part {n}"), "x".to_owned())).collect::<BTreeMap<_, _>>())
    };
    assert_eq!(numbered(20).check(), Ok(()));
    assert_eq!(numbered(21).check(), Err(ValueError::Fields { max: 20, given: 21 }));
}

// ---- what a stranger reads ----

#[test]
fn every_refusal_says_what_was_given_and_what_is_allowed() {
    for (refusal, message) in [
        (ValueError::Length { min: 1, max: 64, given: 65 }, "must have 1 to 64 characters, has 65"),
        (ValueError::ControlCharacter, "must not contain control characters"),
        (ValueError::Range { min: 1, max: 10, given: -3 }, "must be 1 to 10, is -3"),
        (
            ValueError::Currency { given: "pounds".to_owned() },
            "must be an ISO 4217 currency code in capital letters, such as GBP, EUR or USD; is \"pounds\"",
        ),
        (ValueError::Uuid { given: "7".to_owned() }, "must be a UUID, is \"7\""),
        (ValueError::Overflow, "the sum must fit in 63 bits of minor units"),
        (
            ValueError::MixedCurrencies { left: gbp(), right: "EUR".parse().expect("EUR is a currency") },
            "cannot add GBP to EUR: an order has one currency",
        ),
        (ValueError::Fields { max: 20, given: 21 }, "must have 1 to 20 fields, has 21"),
    ] {
        assert_eq!(refusal.to_string(), message);
    }
}

#[test]
fn a_value_read_from_json_has_the_same_limits() {
    assert_eq!(read::<Quantity>("0"), Err("must be 1 to 1000000000, is 0".to_owned()));
    assert_eq!(read::<Sku>(r#""a\u0000b""#), Err("must not contain control characters".to_owned()));
    let line = read::<OrderLine>(r#"{"sku":"","quantity":1,"unit_price_minor":0}"#);
    assert_eq!(line, Err("must have 1 to 64 characters, has 0".to_owned()));
    assert!(read::<Quantity>("1.5").is_err());
    assert!(read::<Currency>(r#""gbp""#).is_err());
}

/// The value, or the error without the position in the text.
fn read<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| {
        let message = error.to_string();
        message.split(" at line ").next().unwrap_or_default().to_owned()
    })
}

fn gbp() -> Currency {
    "GBP".parse().expect("GBP is a currency")
}

fn pounds(amount_minor: i64) -> Money {
    Money::new(amount_minor, gbp()).expect("a test's amount is 0 or more")
}

fn quantity(count: i64) -> Quantity {
    count.try_into().expect("a test's quantity is valid")
}

fn text(text: &str) -> Address {
    Address::Text(text.to_owned())
}

fn parts<const N: usize>(parts: [(&str, &str); N]) -> Address {
    Address::Parts(parts.into_iter().map(|(name, part)| (name.to_owned(), part.to_owned())).collect())
}
