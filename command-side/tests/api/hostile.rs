//! Hostile requests: NUL, terminal escapes and SQL in every text; the extremes of every number; JSON bombs; thousands
//! of sockets. Each gets a 4xx that names the field and what is allowed, or is stored as plain text. None causes a 5xx
//! or half an order, and afterwards the server still works.

use events::Context;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::shop::{Shop, an_order};

/// A POST with a placeholder for one text, and that text's name in the response.
struct Blank {
    path: &'static str,
    body: fn(&str) -> Value,
    field: &'static str,
}

fn order_with(name: &str, value: Value) -> Value {
    let mut order = an_order();
    order[name] = value;
    order
}

fn order_of(sku: &str) -> Value {
    order_with("lines", json!([{"sku": sku, "quantity": 1, "unit_price_minor": 1}]))
}

const SHIPMENT: &str = "/v1/shipments/0190163d-8694-739b-aea5-966c26f8ad91/dispatch";
const CANCEL: &str = "/v1/orders/0190163d-8694-739b-aea5-966c26f8ad91/cancel";
const CONTROL_ALLOWED: &str = "no control characters";

/// Every text that becomes part of an event.
const BLANKS: [Blank; 9] = [
    Blank { path: "/v1/orders", body: |text| order_with("customer_id", json!(text)), field: "customer_id" },
    Blank { path: "/v1/orders", body: order_of, field: "lines[0].sku" },
    Blank {
        path: "/v1/orders",
        body: |text| order_with("shipping_address", json!(text)),
        field: "shipping_address",
    },
    Blank {
        path: "/v1/orders",
        body: |text| order_with("shipping_address", json!({"city": text})),
        field: "shipping_address",
    },
    Blank {
        path: "/v1/orders",
        body: |text| order_with("shipping_address", json!({ text: "London" })),
        field: "shipping_address",
    },
    Blank { path: CANCEL, body: |text| json!({"reason": text}), field: "reason" },
    Blank {
        path: "/v1/stock/TEACUP/receive",
        body: |text| json!({"quantity": 1, "reference": text}),
        field: "reference",
    },
    Blank {
        path: "/v1/stock/TEACUP/adjust",
        body: |text| json!({"delta": 1, "reason": text}),
        field: "reason",
    },
    Blank { path: SHIPMENT, body: |text| json!({"carrier": "c", "tracking": text}), field: "tracking" },
];

#[tokio::test]
async fn a_control_character_in_any_text_is_refused_by_the_name_of_its_field() {
    let shop = Shop::open().await;
    let carrier =
        Blank { path: SHIPMENT, body: |text| json!({"carrier": text, "tracking": "t"}), field: "carrier" };
    for Blank { path, body, field } in BLANKS.iter().chain([&carrier]) {
        for text in ["\u{0}", "a\u{0}b", "\u{1}", "\u{8}", "\u{1b}[2J", "\u{7f}", "\u{85}", "\u{9f}"] {
            let reply = shop.post(path).json(&body(text)).send().await;
            reply.problem(400, "invalid_body").names(field, "control characters", CONTROL_ALLOWED);
        }
    }
    for path in ["/v1/stock/a%00b/receive", "/v1/stock/%1b%5b2J/receive"] {
        let reply = shop.post(path).json(&json!({"quantity": 1})).send().await;
        reply.problem(400, "invalid_path").names("sku", "control characters", CONTROL_ALLOWED);
    }
    let reply = shop.post("/v1/stock/%ff%fe/receive").json(&json!({"quantity": 1})).send().await;
    reply.problem(400, "invalid_path").names("sku", "is not UTF-8", "percent-encoded UTF-8");
    nothing_was_written(&shop).await;
}

const STRANGE: [&str; 10] = [
    "'; DROP TABLE orders.events; --",
    "Robert'); DELETE FROM events WHERE ('1'='1",
    "\" OR \"\"=\"",
    "$1 ?1 :1 %s %n {} \\u0000 \\x00",
    "{{7*7}}${jndi:ldap://x}<script>",
    "../../etc/passwd",
    "\u{202e}\u{200b}\u{feff}",
    "💣 שלום ﷽ e\u{301}",
    "null",
    " ",
];

#[tokio::test]
async fn sql_and_any_other_text_is_stored_unchanged() {
    let shop = Shop::open().await;
    for (n, text) in (1..).zip(STRANGE) {
        let order_id = Uuid::now_v7().to_string();
        let order = json!({
            "order_id": order_id, "customer_id": text, "currency": "GBP",
            "lines": [{"sku": text, "quantity": 1, "unit_price_minor": 1}],
            "shipping_address": {text: text},
        });
        shop.place(order).await.is(201);
        let (_, fields, _) = shop.events(&format!("order-{order_id}")).await.remove(0);
        assert_eq!(fields["customer_id"], text);
        assert_eq!(fields["lines"][0]["sku"], text);
        assert_eq!(fields["shipping_address"], json!({text: text}));

        let cancel =
            shop.post(&format!("/v1/orders/{order_id}/cancel")).json(&json!({"reason": text})).send().await;
        cancel.is(202);
        let (_, fields, _) = shop.events(&format!("order-{order_id}")).await.remove(1);
        assert_eq!(fields["reason"], text);

        let received = json!({"quantity": 1, "reference": text});
        shop.post("/v1/stock/TEACUP/receive").json(&received).send().await.is(200).at_version(n + 1);
        let shipment = shop.prepared_shipment().await;
        let dispatch = json!({"carrier": text, "tracking": text});
        shop.post(&format!("/v1/shipments/{shipment}/dispatch")).json(&dispatch).send().await.is(200);
    }
    for text in STRANGE {
        shop.place(order_with("currency", json!(text)))
            .await
            .problem(400, "invalid_body")
            .names("currency", "ISO 4217", "ISO 4217");
        shop.place(order_with("order_id", json!(text)))
            .await
            .problem(400, "invalid_body")
            .names("order_id", "UUID", "a UUID");
    }
    assert_eq!(shop.log_length(Context::Orders).await, 2 * STRANGE.len() as i64);
}

/// As they are written in the body, without a JSON library that would normalise them.
const NO_COUNTS: [&str; 12] = [
    "-9223372036854775808",
    "-9223372036854775809",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "-0",
    "-0.0",
    "1.0",
    "1e3",
    "1e-400",
    "\"1\"",
];
const NO_JSON: [&str; 11] =
    ["1e400", "-1e400", "01", "+1", ".5", "1.", "0x10", "NaN", "Infinity", "1_000", "--1"];

fn order_text(quantity: &str, price: &str) -> String {
    format!(
        r#"{{"customer_id":"c","currency":"GBP","shipping_address":"a","lines":[{{"sku":"A","quantity":{quantity},"unit_price_minor":{price}}}]}}"#
    )
}

#[tokio::test]
async fn an_invalid_quantity_or_price_is_refused_by_the_name_of_its_field() {
    let shop = Shop::open().await;
    for number in NO_COUNTS {
        for (path, body, field) in [
            ("/v1/orders", order_text(number, "1"), "lines[0].quantity"),
            ("/v1/orders", order_text("1", number), "lines[0].unit_price_minor"),
            ("/v1/stock/A/receive", format!(r#"{{"quantity":{number}}}"#), "quantity"),
        ] {
            shop.post(path).raw(body).send().await.problem(400, "invalid_body").names(field, "must be", "");
        }
    }
    for number in NO_JSON {
        for body in [order_text(number, "1"), order_text("1", number)] {
            let reply = shop.post("/v1/orders").raw(body).send().await.problem(400, "malformed_json");
            let named = reply.body["errors"][0]["field"].as_str().unwrap_or_default().to_owned();
            assert!(named.starts_with("lines[0]"), "{number}: {reply:#?}");
        }
    }
    let many_digits = "9".repeat(400);
    shop.post("/v1/orders").raw(order_text("1", &many_digits)).send().await.problem(400, "malformed_json");
    nothing_was_written(&shop).await;
}

#[tokio::test]
async fn the_largest_numbers_do_not_overflow() {
    let shop = Shop::open().await;
    let (least, most) = (i64::MIN.to_string(), i64::MAX.to_string());
    shop.post("/v1/orders").raw(order_text("1", &most)).send().await.is(201);
    shop.post("/v1/orders").raw(order_text("2", &most)).send().await.problem(422, "line_total_too_large");
    shop.post("/v1/orders")
        .raw(order_text("1000000000", "9223372037"))
        .send()
        .await
        .problem(422, "line_total_too_large");
    shop.receive("A", 1_000_000_000).await.is(200);
    let adjust = async |delta: &str| {
        shop.post("/v1/stock/A/adjust").raw(format!(r#"{{"delta":{delta},"reason":"r"}}"#)).send().await
    };
    adjust(&least).await.problem(409, "not_enough_stock");
    adjust(&most).await.problem(409, "too_much_stock");
    adjust("9223372036854775808").await.problem(400, "invalid_body").names(
        "delta",
        "must be an integer",
        "an integer of",
    );
    adjust("-1000000000").await.is(200);
    assert_eq!(shop.log_length(Context::Orders).await, 1);
}

#[tokio::test]
async fn a_json_bomb_is_refused_before_it_is_built() {
    let shop = Shop::open().await;
    let wide: String = (0..60_000).map(|n| format!("\"k{n}\":{n},")).collect();
    let bombs = [
        (format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000)), 400, "malformed_json"),
        ("{\"lines\":".repeat(50_000), 400, "malformed_json"),
        (format!("{{{wide}\"k0\":1}}"), 400, "malformed_json"),
        (format!("{{{}}}", wide.trim_end_matches(',')), 400, "invalid_body"),
        (format!("{{\"{}\":1}}", "k".repeat(1_000_000)), 400, "invalid_body"),
        (json!({"customer_id": "c".repeat(1_000_000)}).to_string(), 400, "invalid_body"),
        (format!("{{\"customer_id\":\"{}\"}}", "\\u0041".repeat(150_000)), 400, "invalid_body"),
        (format!("{{\"lines\":[{}1]}}", "1,".repeat(400_000)), 400, "invalid_body"),
        (format!("{{\"lines\":{}}}", "9".repeat(1_000_000)), 400, "malformed_json"),
        (" ".repeat(1_048_577), 413, "body_too_large"),
    ];
    for (bomb, status, code) in bombs {
        let reply = shop.post("/v1/orders").raw(bomb).send().await.problem(status, code);
        assert!(reply.text.len() < 64 * 1024, "{} bytes of answer", reply.text.len());
    }
    nothing_was_written(&shop).await;
}

#[tokio::test]
async fn a_hostile_header_is_refused_or_ignored_and_never_stored_partly() {
    let shop = Shop::open().await;
    let long = "x".repeat(20_000);
    let cases: [(&str, &[u8], u16); 12] = [
        ("X-Correlation-Id", b"'; DROP TABLE events; --", 400),
        ("X-Correlation-Id", b"\xff\xfe", 400),
        ("X-Correlation-Id", long.as_bytes(), 400),
        ("Idempotency-Key", b"a\tb", 400),
        ("Idempotency-Key", b"\x80", 400),
        ("Idempotency-Key", long.as_bytes(), 400),
        ("Idempotency-Key", b"'; DROP TABLE idempotency_keys; --", 400),
        ("If-Match", b"\"18446744073709551616\"", 400),
        ("If-Match", b"\xff", 400),
        ("traceparent", b"00-\xff-\xfe-01", 201),
        ("traceparent", long.as_bytes(), 201),
        ("Cookie", long.as_bytes(), 201),
    ];
    for (name, value, status) in cases {
        let reply = shop.post("/v1/orders").header(name, value).json(&an_order()).send().await.is(status);
        assert!(reply.header("x-correlation-id").is_some(), "{reply:#?}");
        if status == 400 {
            reply.problem(400, "invalid_header").names(name, "", "");
        }
    }
    shop.post("/v1/orders").key("';DROP/**/TABLE/**/events;--").json(&an_order()).send().await.is(201);
    assert_eq!(shop.log_length(Context::Orders).await, 4);
}

#[tokio::test]
async fn three_thousand_idle_connections_keep_no_order_out() {
    let shop = Shop::open().await;
    let address = shop.base_url.strip_prefix("http://").expect("plain HTTP").to_owned();
    let (files, _) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).expect("a limit");
    // Both ends of each are file descriptors of this process.
    let idle = 3_000.min(usize::try_from(files / 3).expect("a small number"));
    let mut clients = Vec::new();
    for n in 0..idle {
        let mut client = TcpStream::connect(&address).await.expect("the server listens");
        if n % 2 == 0 {
            client.write_all(b"POST /v1/orders HTTP/1.1\r\ncontent-le").await.expect("the head is read");
        }
        clients.push(client);
    }
    shop.placed().await;
    drop(clients);
    shop.placed().await;
    assert_eq!(shop.log_length(Context::Orders).await, 2);
}

/// Asserts that nothing was written and that the server still works.
async fn nothing_was_written(shop: &Shop) {
    for context in [Context::Orders, Context::Inventory, Context::Shipping] {
        assert_eq!(shop.log_length(context).await, 0, "{context}");
    }
    shop.placed().await;
}
