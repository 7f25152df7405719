//! Invalid commands: each gets a 4xx that names the field and what is allowed, and nothing is written.

use events::Context;
use serde_json::{Value, json};

use crate::shop::{Shop, an_order};

/// An order with the value at a JSON pointer replaced.
fn an_order_with(pointer: &str, value: Value) -> Value {
    let mut order = an_order();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer starts with /");
    let parent = order.pointer_mut(parent).expect("an order has it");
    match name.parse::<usize>() {
        Ok(index) => parent[index] = value,
        Err(_) => parent[name] = value,
    }
    order
}

fn an_order_without(name: &str) -> Value {
    let mut order = an_order();
    order.as_object_mut().expect("an order is an object").remove(name);
    order
}

fn lines(count: usize) -> Value {
    (0..count).map(|_| json!({"sku": "A", "quantity": 1, "unit_price_minor": 1})).collect()
}

#[tokio::test]
async fn an_invalid_field_of_an_order_is_named_with_what_is_allowed() {
    let shop = Shop::open().await;
    let line = "/lines/1";
    let cases: Vec<(Value, &str, &str, &str)> = vec![
        (json!([]), "body", "must be an object, is a list", "an object"),
        (json!("order"), "body", "must be an object, is a string", "an object"),
        (
            an_order_with("/coupon", json!(1)),
            "coupon",
            "is not a known field",
            "order_id, customer_id, currency",
        ),
        (
            an_order_with("/lines/1/colour", json!(1)),
            "lines[1].colour",
            "is not a known field",
            "sku, quantity",
        ),
        (an_order_with("/order_id", json!("42")), "order_id", "must be a UUID, is \"42\"", "a UUID"),
        (an_order_with("/order_id", json!(42)), "order_id", "must be a string, is a number", "a string"),
        (an_order_without("customer_id"), "customer_id", "is missing", "required"),
        (an_order_with("/customer_id", json!("")), "customer_id", "has 0", "1 to 64 characters"),
        (an_order_with("/customer_id", json!("c".repeat(65))), "customer_id", "has 65", "1 to 64 characters"),
        (an_order_with("/customer_id", json!("a\u{0}b")), "customer_id", "control", "no control characters"),
        (an_order_with("/customer_id", Value::Null), "customer_id", "must be a string, is null", "a string"),
        (an_order_without("currency"), "currency", "is missing", "required"),
        (an_order_with("/currency", json!("gbp")), "currency", "is \"gbp\"", "ISO 4217"),
        (an_order_with("/currency", json!("XXX")), "currency", "is \"XXX\"", "ISO 4217"),
        (an_order_with("/currency", json!("£")), "currency", "is \"£\"", "ISO 4217"),
        (an_order_without("lines"), "lines", "is missing", "required"),
        (an_order_with("/lines", json!({})), "lines", "must be a list, is an object", "a list"),
        (an_order_with(line, json!(7)), "lines[1]", "must be an object, is a number", "an object"),
        (an_order_with("/lines/1/sku", json!("")), "lines[1].sku", "has 0", "1 to 64 characters"),
        (
            an_order_with("/lines/1/sku", json!("s".repeat(65))),
            "lines[1].sku",
            "has 65",
            "1 to 64 characters",
        ),
        (an_order_with("/lines/1/sku", json!("a\nb")), "lines[1].sku", "control", "no control characters"),
        (an_order_with("/lines/1/quantity", json!(0)), "lines[1].quantity", "is 0", "1 to 1000000000"),
        (an_order_with("/lines/1/quantity", json!(-1)), "lines[1].quantity", "is -1", "1 to 1000000000"),
        (
            an_order_with("/lines/1/quantity", json!(1_000_000_001)),
            "lines[1].quantity",
            "1000000001",
            "1 to 1000000000",
        ),
        (
            an_order_with("/lines/1/quantity", json!(i64::MIN)),
            "lines[1].quantity",
            "is -9223372036854775808",
            "1 to",
        ),
        (
            an_order_with("/lines/1/quantity", json!(u64::MAX)),
            "lines[1].quantity",
            "must be an integer",
            "an integer",
        ),
        (
            an_order_with("/lines/1/quantity", json!(1.5)),
            "lines[1].quantity",
            "must be an integer, is 1.5",
            "integer",
        ),
        (
            an_order_with("/lines/1/quantity", json!("6")),
            "lines[1].quantity",
            "must be an integer, is a string",
            "integer",
        ),
        (an_order_with("/lines/1/quantity", json!(true)), "lines[1].quantity", "is a boolean", "an integer"),
        (an_order_with("/lines/1/unit_price_minor", json!(-1)), "lines[1].unit_price_minor", "is -1", "0 to"),
        (
            an_order_with("/lines/1/unit_price_minor", json!(2.55)),
            "lines[1].unit_price_minor",
            "must be an integer, is 2.55",
            "integer",
        ),
        (
            an_order_with("/lines/1/unit_price_minor", json!([])),
            "lines[1].unit_price_minor",
            "is a list",
            "an integer",
        ),
        (an_order_without("shipping_address"), "shipping_address", "is missing", "required"),
        (an_order_with("/shipping_address", json!("")), "shipping_address", "has 0", "1 to 500 characters"),
        (
            an_order_with("/shipping_address", json!("a".repeat(501))),
            "shipping_address",
            "has 501",
            "1 to 500 characters",
        ),
        (an_order_with("/shipping_address", json!({})), "shipping_address", "has 0", "1 to 20 fields"),
        (
            an_order_with("/shipping_address/city", json!(7)),
            "shipping_address",
            "part \"city\" must be a string",
            "a string",
        ),
        (
            an_order_with("/shipping_address", json!(7)),
            "shipping_address",
            "must be a string or an object",
            "a string",
        ),
        (an_order_with("/placed_at", json!("yesterday")), "placed_at", "is not a time", "RFC 3339"),
        (
            an_order_with("/placed_at", json!("2999-01-01T00:00:00Z")),
            "placed_at",
            "is out of range",
            "RFC 3339",
        ),
        (
            an_order_with("/placed_at", json!("1969-12-31T23:59:59Z")),
            "placed_at",
            "is out of range",
            "RFC 3339",
        ),
    ];
    for (order, field, detail, allowed) in cases {
        shop.place(order).await.problem(400, "invalid_body").names(field, detail, allowed);
    }
    assert_eq!(shop.log_length(Context::Orders).await, 0);
}

#[tokio::test]
async fn an_invalid_field_of_another_command_is_named_with_what_is_allowed() {
    let shop = Shop::open().await;
    let id = "0190163d-8694-739b-aea5-966c26f8ad91";
    let (cancel, dispatch) = (format!("/v1/orders/{id}/cancel"), format!("/v1/shipments/{id}/dispatch"));
    let (receive, adjust) = ("/v1/stock/TEACUP/receive", "/v1/stock/TEACUP/adjust");
    let cases = [
        (cancel.as_str(), json!({}), "reason", "is missing", "required"),
        (&cancel, json!({"reason": ""}), "reason", "has 0", "1 to 500 characters"),
        (&cancel, json!({"reason": "r".repeat(501)}), "reason", "has 501", "1 to 500 characters"),
        (&cancel, json!({"reason": "a\u{1b}[31m"}), "reason", "control", "no control characters"),
        (&cancel, json!({"reason": "r", "who": "me"}), "who", "is not a known field", "reason"),
        (receive, json!({}), "quantity", "is missing", "required"),
        (receive, json!({"quantity": 0}), "quantity", "is 0", "1 to 1000000000"),
        (receive, json!({"quantity": 1, "reference": ""}), "reference", "has 0", "1 to 200 characters"),
        (receive, json!({"quantity": 1, "reference": 7}), "reference", "must be a string", "a string"),
        (adjust, json!({"delta": 0.5, "reason": "r"}), "delta", "must be an integer, is 0.5", "an integer"),
        (adjust, json!({"delta": 1}), "reason", "is missing", "required"),
        (&dispatch, json!({"tracking": "t"}), "carrier", "is missing", "required"),
        (
            &dispatch,
            json!({"carrier": "c".repeat(101), "tracking": "t"}),
            "carrier",
            "has 101",
            "1 to 100 characters",
        ),
        (&dispatch, json!({"carrier": "c", "tracking": ""}), "tracking", "has 0", "1 to 200 characters"),
        ("/v1/stock/TEACUP/register", json!({"sku": "x"}), "sku", "is not a known field", "no fields"),
    ];
    for (path, body, field, detail, allowed) in cases {
        shop.post(path).json(&body).send().await.problem(400, "invalid_body").names(field, detail, allowed);
    }
    for path in ["/v1/orders/42/cancel", "/v1/shipments/42/dispatch", "/v1/shipments/42/deliver"] {
        let field = if path.contains("orders") { "order_id" } else { "shipment_id" };
        let reply = shop.post(path).json(&json!({})).send().await;
        reply.problem(400, "invalid_path").names(field, "must be a UUID, is \"42\"", "a UUID");
    }
}

#[tokio::test]
async fn all_invalid_fields_are_named_in_one_response() {
    let shop = Shop::open().await;
    let order = json!({
        "customer_id": "", "currency": "XXX", "coupon": 1,
        "lines": [{"sku": "A", "quantity": 0, "unit_price_minor": -1}, {"quantity": 1, "unit_price_minor": "1"}]
    });
    let reply = shop.place(order).await.problem(400, "invalid_body");
    let errors = reply.body["errors"].as_array().expect("a list").iter();
    let mut fields: Vec<_> = errors.map(|error| error["field"].as_str().expect("a name")).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "coupon",
            "currency",
            "customer_id",
            "lines[0].quantity",
            "lines[0].unit_price_minor",
            "lines[1].sku",
            "lines[1].unit_price_minor",
            "shipping_address"
        ]
    );
}

#[tokio::test]
async fn an_answer_to_a_thousand_errors_stays_short() {
    let shop = Shop::open().await;
    let wrong: Value = (0..100_000).map(|_| json!({})).collect();
    let reply = shop.place(an_order_with("/lines", wrong)).await.problem(400, "invalid_body");
    assert_eq!(reply.body["errors"].as_array().map(Vec::len), Some(50));
    let unknown = (0..1_000).map(|n| (format!("{n}{}", "x".repeat(500)), json!(1))).collect();
    let reply = shop.place(Value::Object(unknown)).await.problem(400, "invalid_body");
    assert!(reply.text.len() < 32 * 1024, "{} bytes", reply.text.len());
}

#[tokio::test]
async fn an_order_that_does_not_add_up_is_refused() {
    let shop = Shop::open().await;
    let line =
        |quantity: i64, price: i64| json!({"sku": "A", "quantity": quantity, "unit_price_minor": price});
    let cases = [
        (json!([]), "line_count", "lines", "has 0", "1 to 2000 lines"),
        (lines(2_001), "line_count", "lines", "has 2001", "1 to 2000 lines"),
        (json!([line(1, 1), line(2, i64::MAX)]), "line_total_too_large", "lines[1]", "63 bits", "sums up to"),
        (json!([line(1, i64::MAX), line(1, 1)]), "total_too_large", "lines", "63 bits", "sums up to"),
        (
            json!([line(1_000_000_000, 0), line(1, 0)]),
            "too_many_pieces",
            "lines",
            "1000000001",
            "1 to 1000000000",
        ),
    ];
    for (lines, code, field, detail, allowed) in cases {
        let reply = shop.place(an_order_with("/lines", lines)).await;
        reply.problem(422, code).names(field, detail, allowed);
    }
    assert_eq!(shop.log_length(Context::Orders).await, 0);
}
