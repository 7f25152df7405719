//! The machinery in `platform/` names nothing of the shop.

use std::collections::BTreeSet;
use std::fs;

use super::{files_below, root};

/// The types of the shop's events: each has a fixture.
fn event_types() -> BTreeSet<String> {
    let fixtures = files_below(&root().join("events/fixtures"));
    let names =
        fixtures.iter().filter_map(|file| file.file_name()?.to_str()?.split('.').next().map(str::to_owned));
    names.filter(|name| name.starts_with(char::is_uppercase)).collect()
}

#[test]
fn no_source_of_the_platform_names_an_event_of_the_shop() {
    let types = event_types();
    assert!(types.contains("OrderPlaced"), "{types:?}");
    let mut named = Vec::new();
    let files = files_below(&root().join("platform"));
    let sources: Vec<_> = files
        .iter()
        .filter(|file| file.extension().is_some_and(|end| end == "rs"))
        .filter(|file| file.components().any(|part| part.as_os_str() == "src"))
        .collect();
    assert!(sources.len() > 100, "{} sources were found", sources.len());
    for file in sources {
        let text = fs::read_to_string(file).expect("a source is text");
        for word in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
            if types.contains(word) {
                named.push(format!("{}: {word}", file.display()));
            }
        }
    }
    assert!(named.is_empty(), "the platform names events of the shop:\n{}", named.join("\n"));
}

#[test]
fn no_crate_of_the_platform_depends_on_the_shop() {
    for file in files_below(&root().join("platform")).iter().filter(|file| file.ends_with("Cargo.toml")) {
        let text = fs::read_to_string(file).expect("a manifest is text");
        let dependencies = text.split("[dev-dependencies]").next().expect("split gives one part at least");
        for name in ["events", "domain", "sagas", "query-side", "command-side", "verify"] {
            let line = format!("\n{name}.workspace");
            assert!(!dependencies.contains(&line), "{} depends on {name}", file.display());
        }
    }
}
