//! Stored events stay readable: every event type has a golden fixture, and an unknown type or version is named.
//!
//! `events/fixtures/<Type>.v<n>.json` is version n of the type; `<Type>.v<n>.<case>.json` is another case of it. A
//! fixture never changes: a new shape is a new version with a new file.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use events::{CodecError, Context, Event};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn every_version_of_every_event_has_a_fixture() {
    let present: BTreeSet<String> = fixtures()
        .into_iter()
        .map(|fixture| format!("{}.v{}", fixture.event_type, fixture.version))
        .collect();
    let wanted: BTreeSet<String> = Event::catalogue()
        .into_iter()
        .flat_map(|(_, name, current)| (1..=current).map(move |version| format!("{name}.v{version}")))
        .collect();
    assert_eq!(present, wanted, "left: the files in events/fixtures, right: Event::catalogue()");
}

#[test]
fn a_fixture_decodes_to_its_event_and_encodes_to_the_same_json() {
    for fixture in fixtures() {
        let event = Event::decode(fixture.context, &fixture.event_type, fixture.version, &fixture.json)
            .unwrap_or_else(|error| panic!("{}: {error}", fixture.file));
        assert_eq!(event.event_type(), fixture.event_type, "{}", fixture.file);
        assert_eq!(event.context(), fixture.context, "{}", fixture.file);
        // An older version is decoded as the current one.
        if event.schema_version() == fixture.version {
            assert_eq!(parse(event.payload().get()), parse(&fixture.json), "{}", fixture.file);
        }
    }
}

#[test]
fn no_two_events_share_a_name() {
    let catalogue = Event::catalogue();
    let names: BTreeSet<&str> = catalogue.iter().map(|(_, name, _)| *name).collect();
    assert_eq!(names.len(), catalogue.len());
}

#[test]
fn an_event_is_not_known_outside_its_context() {
    for (owner, name, version) in Event::catalogue() {
        for context in Context::ALL.into_iter().filter(|context| *context != owner) {
            let error = Event::decode(context, name, version, "{}").expect_err(name);
            assert!(
                matches!(&error, CodecError::UnknownType { context: given, event_type }
                    if *given == context && event_type == name),
                "{error:?}"
            );
        }
    }
}

#[test]
fn an_unknown_type_is_named_with_its_context() {
    let error = Event::decode(Context::Orders, "OrderTeleported", 1, "{}").expect_err("no build knows it");
    assert_eq!(error.to_string(), "no event type \"OrderTeleported\" in the context orders");
}

#[test]
fn an_unknown_version_is_named_with_those_that_are_known() {
    for version in [0, 2, u16::MAX] {
        let error =
            Event::decode(Context::Orders, "OrderDelivered", version, "{}").expect_err("no build knows it");
        assert_eq!(
            error.to_string(),
            format!("OrderDelivered has schema version {version}; this build knows 1 to 1")
        );
    }
}

#[test]
fn a_payload_that_does_not_fit_is_named_with_its_type_version_and_cause() {
    for (payload, cause) in [
        ("{}", "missing field `order_id` at line 1 column 2"),
        (
            r#"{"order_id":7}"#,
            "invalid type: integer `7`, expected a formatted UUID string at line 1 column 13",
        ),
        ("not json", "expected ident at line 1 column 2"),
    ] {
        let error = Event::decode(Context::Orders, "OrderDelivered", 1, payload).expect_err(payload);
        assert!(matches!(error, CodecError::Payload { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("the payload of OrderDelivered v1 does not parse: {cause}"));
    }
}

#[test]
fn history_that_breaks_a_values_limit_does_not_decode() {
    let payload = r#"{"sku":"cup","order_id":"018f2f3a-7c1e-7d2a-9b44-3c5a1e9f0a01","quantity":0}"#;
    let error = Event::decode(Context::Inventory, "StockReserved", 1, payload).expect_err("quantity is 0");
    assert_eq!(
        error.to_string(),
        "the payload of StockReserved v1 does not parse: must be 1 to 1000000000, is 0 at line 1 column 76"
    );
}

/// Values that an attacker, or a bug, may write.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec!["", "\0", "GBP", "1970-01-01T00:00:00Z", "+262143-12-31T23:59:59Z"])
            .prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[[[{}]]]])),
        any::<String>().prop_map(|text| json!({ "code": text })),
    ]
}

/// The places in a tree, as JSON pointers.
fn places(tree: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match tree {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| places(field, &format!("{at}/{name}"), found))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// An event that is changed anywhere is either refused or still a valid event, which is encoded as it was decoded.
    #[test]
    fn a_decoded_event_is_encoded_to_json_that_decodes_to_the_same(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_value()), 0..4),
    ) {
        let fixtures = fixtures();
        let fixture = &fixtures[which.index(fixtures.len())];
        let mut tree = parse(&fixture.json);
        for (place, value) in changes {
            let mut found = Vec::new();
            places(&tree, "", &mut found);
            *tree.pointer_mut(&found[place.index(found.len())]).expect("the place was found") = value;
        }
        if let Ok(event) = Event::decode(fixture.context, &fixture.event_type, fixture.version, &tree.to_string()) {
            let again = Event::decode(event.context(), event.event_type(), event.schema_version(), event.payload().get());
            prop_assert_eq!(again.expect("what we write, we read"), event);
        }
    }

    #[test]
    fn no_text_makes_the_decoder_panic(which in any::<prop::sample::Index>(), version in any::<u16>(), text in any::<String>()) {
        let catalogue = Event::catalogue();
        let (context, name, current) = catalogue[which.index(catalogue.len())];
        prop_assert!(Event::decode(context, name, current, &text).is_err() || serde_json::from_str::<Value>(&text).is_ok());
        let unknown = Event::decode(context, &text, version, "{}");
        prop_assert!(unknown.is_err(), "no event is called {:?}", text);
    }
}

struct Fixture {
    file: String,
    context: Context,
    event_type: String,
    version: u16,
    json: String,
}

/// Every event's fixture.
///
/// If a file belongs to no event of the catalogue.
fn fixtures() -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let names = fs::read_dir(&folder).expect("events/fixtures is there").map(|entry| {
        let name = entry.expect("events/fixtures can be listed").file_name();
        name.into_string().expect("a fixture's name is plain text")
    });
    names
        .filter(|file| file != "cloud_event.json")
        .map(|file| {
            let mut parts = file.split('.');
            let event_type = parts.next().unwrap_or_default().to_owned();
            let version = parts.next().and_then(|part| part.strip_prefix('v')?.parse().ok());
            let version = version.unwrap_or_else(|| panic!("{file}: not <Type>.v<n>[.<case>].json"));
            let (context, ..) = Event::catalogue()
                .into_iter()
                .find(|(_, name, _)| *name == event_type)
                .unwrap_or_else(|| panic!("{file}: no such event in the catalogue"));
            let json = fs::read_to_string(folder.join(&file)).expect("a fixture can be read");
            Fixture { file, context, event_type, version, json }
        })
        .collect()
}

fn parse(json: &str) -> Value {
    serde_json::from_str(json).expect("JSON")
}
