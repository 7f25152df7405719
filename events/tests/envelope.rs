//! Stream names and position tokens: what clients may send, and what the errors say.

use events::{Context, OrderId, PositionToken, Sku, StreamId};
use proptest::prelude::*;
use uuid::Uuid;

const ID: OrderId = OrderId(Uuid::from_u128(0x018f_2f3a_7c1e_7d2a_9b44_3c5a_1e9f_0a01));

#[test]
fn a_stream_is_named_after_its_subject() {
    let cup = sku("cup");
    for (stream, name, context) in [
        (events::orders::stream(ID), "order-018f2f3a-7c1e-7d2a-9b44-3c5a1e9f0a01", Context::Orders),
        (events::inventory::stock_stream(&cup), "stock-cup", Context::Inventory),
        (
            events::inventory::reservation_stream(ID),
            "reservation-018f2f3a-7c1e-7d2a-9b44-3c5a1e9f0a01",
            Context::Inventory,
        ),
        (events::payments::stream(ID), "payment-018f2f3a-7c1e-7d2a-9b44-3c5a1e9f0a01", Context::Payments),
        (events::shipping::stream(ID), "shipment-018f2f3a-7c1e-7d2a-9b44-3c5a1e9f0a01", Context::Shipping),
    ] {
        assert_eq!(stream.as_str(), name);
        assert_eq!(Context::of_stream(&stream), Some(context));
    }
}

#[test]
fn a_stream_of_an_order_names_it() {
    for stream in [
        events::orders::stream(ID),
        events::inventory::reservation_stream(ID),
        events::payments::stream(ID),
        events::shipping::stream(ID),
    ] {
        assert_eq!(events::order_of(&stream), Some(ID), "{stream}");
    }
}

#[test]
fn a_stock_item_belongs_to_no_order_even_when_its_sku_looks_like_one() {
    assert_eq!(events::order_of(&events::inventory::stock_stream(&sku(&ID.to_string()))), None);
}

#[test]
fn a_sku_with_hyphens_is_read_back_from_its_stream() {
    let stream = events::inventory::stock_stream(&sku("gift-0001-40"));
    assert_eq!((stream.category(), stream.key()), ("stock", "gift-0001-40"));
}

#[test]
fn a_foreign_stream_has_no_context() {
    for name in ["", "cart-1", "orders-1", "Order-1"] {
        let stream = StreamId::from(name.to_owned());
        assert_eq!((Context::of_stream(&stream), events::order_of(&stream)), (None, None), "{name}");
    }
}

#[test]
fn a_position_token_has_context_and_position() {
    let token = PositionToken { context: Context::Orders.into(), position: 1234 };
    assert_eq!(token.to_string(), "orders:1234");
    assert_eq!("orders:1234".parse(), Ok(token));
    assert_eq!("shipping:0".parse(), Ok(PositionToken { context: Context::Shipping.into(), position: 0 }));
}

#[test]
fn the_error_for_an_invalid_position_token_shows_a_valid_one() {
    for text in ["", "orders", "orders:", ":1", "1234", "Orders:1", "orders:-1", "orders:1.5", "orders:1:2"] {
        let error = text.parse::<PositionToken>().expect_err(text);
        let expected = format!("must be <context>:<position>, such as orders:1234; is {text:?}");
        assert_eq!(error.to_string(), expected);
    }
}

/// A token is checked for its form; the query side refuses contexts that it does not know.
#[test]
fn a_position_token_of_an_unknown_context_is_refused_by_the_registry() {
    let token: PositionToken = "sales:1".parse().expect("a token of the right form");
    let error = Context::try_from(token.context).expect_err("not a context");
    assert!(error.to_string().contains("orders, inventory, payments, shipping"), "{error}");
}

#[test]
fn a_position_beyond_sixty_three_bits_is_not_a_token() {
    assert!("orders:9223372036854775807".parse::<PositionToken>().is_ok());
    assert!("orders:9223372036854775808".parse::<PositionToken>().is_err());
}

#[test]
fn an_error_repeats_only_the_start_of_a_long_text() {
    let error = "x".repeat(1_000_000).parse::<PositionToken>().expect_err("not a token");
    assert_eq!(error.given.len(), 64);
}

#[test]
fn the_error_for_an_unknown_context_lists_the_known_ones() {
    let error = "sales".parse::<Context>().expect_err("not a context");
    assert_eq!(error.to_string(), "must be one of orders, inventory, payments, shipping; is \"sales\"");
}

proptest! {
    #[test]
    fn any_position_token_comes_back(position in 0..=i64::MAX, index in 0..4_usize) {
        let token = PositionToken { context: Context::ALL[index].into(), position };
        prop_assert_eq!(token.to_string().parse(), Ok(token));
    }

    /// Arbitrary text, and text that is nearly a token.
    #[test]
    fn any_text_is_a_token_or_an_error_never_a_panic(
        text in prop_oneof![any::<String>(), "(orders|inventory|payments|shipping|\\PC{0,9}):?[-+0-9 ]{0,25}"],
    ) {
        if let Ok(token) = text.parse::<PositionToken>() {
            prop_assert!(token.position >= 0);
            prop_assert_eq!(token.to_string().parse(), Ok(token));
        }
    }

    #[test]
    fn any_sku_comes_back_from_its_streams_name(text in "[^\\p{Cc}]{1,64}") {
        let stream = events::inventory::stock_stream(&sku(&text));
        prop_assert_eq!((stream.category(), stream.key()), ("stock", text.as_str()));
    }
}

fn sku(text: &str) -> Sku {
    text.parse().expect("a test's SKU is valid")
}
