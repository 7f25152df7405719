//! The record on Kafka: encoding and decoding are inverse, the payload is kept byte for byte, and an error names what
//! is wrong.

use chrono::{DateTime, TimeZone, Utc};
use events::cloud_event::{decode, decode_raw, encode, type_name};
use events::{
    CodecError, Context, Event, Metadata, OrderEvent, PositionToken, Positions, RawEvent, StreamId,
};
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

/// One line, as `kafka-console-consumer` prints it.
const RECORD: &str = include_str!("../fixtures/cloud_event.json");

#[test]
fn the_record_is_the_line_in_the_fixture_to_the_byte() {
    assert_eq!(encode(Context::Orders, &raw_event()), RECORD.trim_end().as_bytes());
}

#[test]
fn the_line_in_the_fixture_is_the_event_with_its_position_and_its_cause() {
    let envelope = decode::<Event>(Context::Orders, RECORD.as_bytes()).expect("the fixture is a record");
    let raw = raw_event();
    assert_eq!(envelope.context, Context::Orders);
    assert_eq!((envelope.position, envelope.version), (raw.position, raw.version));
    assert_eq!((envelope.stream, envelope.event_id), (raw.stream, raw.event_id));
    assert_eq!((envelope.metadata, envelope.recorded_at), (raw.metadata, raw.recorded_at));
    assert!(
        matches!(&envelope.event, Event::Order(OrderEvent::OrderCancelled(event)) if event.reason == "changed my mind"),
        "{:?}",
        envelope.event
    );
}

/// Records that were published before the names of contexts were sorted.
#[test]
fn the_positions_that_an_event_depends_on_may_be_in_any_order() {
    let record = with("dependson", json!("orders:1230,inventory:77"));
    let event = decode_raw(Context::Orders, record.as_bytes()).expect("a record");
    assert_eq!(event.metadata.depends_on, raw_event().metadata.depends_on);
}

#[test]
fn unknown_parts_of_the_cause_are_left_out() {
    let mut event = raw_event();
    event.metadata = Metadata {
        causation_id: None,
        depends_on: Positions::default(),
        traceparent: None,
        idempotency_key: None,
        ..event.metadata
    };
    let line: Value = serde_json::from_slice(&encode(Context::Orders, &event)).expect("JSON");
    let absent = ["causationid", "dependson", "traceparent", "idempotencykey"];
    assert!(absent.iter().all(|name| line.get(name).is_none()), "{line}");
    let back = decode_raw(Context::Orders, line.to_string().as_bytes()).expect("a record");
    assert_eq!(back.metadata, event.metadata);
}

#[test]
fn the_type_names_context_event_and_version() {
    assert_eq!(type_name(Context::Payments, "PaymentCaptured", 2), "tradewind.payments.PaymentCaptured.v2");
}

#[test]
fn a_record_of_another_contexts_topic_is_refused() {
    assert_eq!(
        not_ours(Context::Payments, RECORD),
        "type is \"tradewind.orders.OrderCancelled.v1\", want tradewind.payments.<Event>.v<n>"
    );
}

#[test]
fn a_foreign_type_is_named() {
    for name in
        ["com.example.Something", "tradewind.orders.OrderCancelled", "tradewind.orders.OrderCancelled.1", ""]
    {
        let cause = not_ours(Context::Orders, &with("type", json!(name)));
        assert_eq!(cause, format!("type is {name:?}, want tradewind.orders.<Event>.v<n>"));
    }
}

#[test]
fn positions_and_versions_count_from_one() {
    for (field, value) in [("position", 0), ("position", -1), ("version", 0)] {
        let cause = not_ours(Context::Orders, &with(field, json!(value)));
        assert!(
            cause.ends_with("must be 1 or more") && cause.contains(&format!("{field} {value}")),
            "{cause}"
        );
    }
}

#[test]
fn a_position_without_a_next_one_is_refused() {
    let cause = not_ours(Context::Orders, &with("position", json!(i64::MAX)));
    assert_eq!(cause, "position 9223372036854775807 is beyond any log");
}

#[test]
fn an_invalid_time_is_named() {
    let cause = not_ours(Context::Orders, &with("time", json!("yesterday")));
    assert!(cause.starts_with("time is \"yesterday\": "), "{cause}");
}

#[test]
fn a_missing_field_is_named() {
    for field in [
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "position",
        "version",
        "correlationid",
        "data",
    ] {
        let mut record: Value = serde_json::from_str(RECORD).expect("JSON");
        record.as_object_mut().expect("a record is an object").remove(field);
        let cause = not_ours(Context::Orders, &record.to_string());
        assert!(cause.contains(&format!("missing field `{field}`")), "{field}: {cause}");
    }
}

#[test]
fn a_record_of_an_event_that_this_build_does_not_know_can_still_be_passed_on() {
    let record = with("type", json!("tradewind.orders.OrderTeleported.v7"));
    let raw = decode_raw(Context::Orders, record.as_bytes()).expect("the record itself is sound");
    assert_eq!((raw.event_type.as_str(), raw.schema_version), ("OrderTeleported", 7));
    let error = decode::<Event>(Context::Orders, record.as_bytes()).expect_err("the event is not known");
    assert!(
        matches!(&error, CodecError::UnknownType { event_type, .. } if event_type == "OrderTeleported"),
        "{error:?}"
    );
}

proptest! {
    #[test]
    fn any_event_is_decoded_as_it_was_encoded_with_its_payload_to_the_byte(event in any_raw_event(), context in any_context()) {
        let back = decode_raw(context, &encode(context, &event)).expect("what encode wrote");
        prop_assert_eq!(back.payload.get(), event.payload.get());
        prop_assert_eq!((back.position, back.version), (event.position, event.version));
        prop_assert_eq!((back.stream, back.event_id), (event.stream, event.event_id));
        prop_assert_eq!((back.event_type, back.schema_version), (event.event_type, event.schema_version));
        prop_assert_eq!((back.metadata, back.recorded_at), (event.metadata, event.recorded_at));
    }

    #[test]
    fn bytes_that_are_no_record_are_an_error_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(is_no_record(&bytes));
    }

    #[test]
    fn a_record_cut_short_is_an_error_never_a_panic(length in 0..RECORD.trim_end().len()) {
        prop_assert!(is_no_record(&RECORD.as_bytes()[..length]));
    }
}

/// The event of the fixture.
fn raw_event() -> RawEvent {
    RawEvent {
        position: 1234,
        stream: StreamId::from("order-018f2f3a-7c1e-7d2a-9b44-3c5a1e9f0a01".to_owned()),
        version: 3,
        event_id: uuid("018f2f3a-7c20-7aaa-8bbb-00000000002a"),
        event_type: "OrderCancelled".to_owned(),
        schema_version: 1,
        payload: payload(
            r#"{"order_id":"018f2f3a-7c1e-7d2a-9b44-3c5a1e9f0a01","reason":"changed my mind"}"#.to_owned(),
        ),
        metadata: Metadata {
            correlation_id: uuid("018f2f3a-7c1e-7d2a-9b44-3c5a1e9f0aff"),
            causation_id: Some(uuid("018f2f3a-7c1f-7bbb-8ccc-000000000029")),
            depends_on: "orders:1230,inventory:77".parse().expect("positions"),
            actor: "saga:orders".to_owned(),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
            idempotency_key: Some("k-1".to_owned()),
        },
        recorded_at: at_micros(1_772_366_400_123_456),
    }
}

/// The fixture with one field changed.
fn with(field: &str, value: Value) -> String {
    let mut record: Value = serde_json::from_str(RECORD).expect("JSON");
    record[field] = value;
    record.to_string()
}

/// The reason why it is not a record of the context.
#[track_caller]
fn not_ours(context: Context, record: &str) -> String {
    match decode_raw(context, record.as_bytes()) {
        Err(CodecError::CloudEvent { cause }) => cause,
        other => panic!("wanted CodecError::CloudEvent, got {other:?}"),
    }
}

fn is_no_record(bytes: &[u8]) -> bool {
    matches!(decode::<Event>(Context::Orders, bytes), Err(CodecError::CloudEvent { .. }))
}

fn uuid(text: &str) -> Uuid {
    text.parse().expect("a UUID")
}

fn payload(json: String) -> Box<RawValue> {
    RawValue::from_string(json).expect("JSON")
}

fn at_micros(micros: i64) -> DateTime<Utc> {
    Utc.timestamp_micros(micros).single().expect("a moment that exists")
}

fn any_context() -> impl Strategy<Value = Context> {
    prop::sample::select(Context::ALL.to_vec())
}

prop_compose! {
    fn any_raw_event()(
        place in (1..i64::MAX, 1..=i32::MAX),
        subject in any::<String>(),
        ids in any::<[u128; 2]>(),
        kind in ("[A-Z][A-Za-z]{0,30}", any::<u16>()),
        payload_json in any_payload(),
        causation in any::<Option<u128>>(),
        depends_on in prop::collection::vec((any_context(), 0..=i64::MAX), 0..4),
        texts in (any::<String>(), any::<Option<String>>(), any::<Option<String>>()),
        // From 1970 to 2200, as finely as Postgres keeps time.
        micros in 0..7_258_118_400_000_000_i64,
    ) -> RawEvent {
        let (actor, traceparent, idempotency_key) = texts;
        RawEvent {
            position: place.0,
            stream: StreamId::from(subject),
            version: place.1,
            event_id: Uuid::from_u128(ids[0]),
            event_type: kind.0,
            schema_version: kind.1,
            payload: payload(payload_json),
            metadata: Metadata {
                correlation_id: Uuid::from_u128(ids[1]),
                causation_id: causation.map(Uuid::from_u128),
                depends_on: depends_on.into_iter().map(|(context, position)| PositionToken { context: context.into(), position }).collect(),
                actor,
                traceparent,
                idempotency_key,
            },
            recorded_at: at_micros(micros),
        }
    }
}

/// JSON as other writers may produce it: any text, spaces, numbers that a parser would rewrite, a repeated name.
fn any_payload() -> impl Strategy<Value = String> {
    let odd =
        ["{}", "{ \"a\" : 1.0 }", "{\"a\":1e2,\"a\":-0.0}", "{\"n\":123456789012345678901234567890}", "null"];
    let text = any::<String>().prop_map(|text| json!({ "text": text, text.clone(): [text] }).to_string());
    prop_oneof![prop::sample::select(odd.to_vec()).prop_map(str::to_owned), text]
}
