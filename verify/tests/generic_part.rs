//! The part of this proof that holds for any domain is a crate of the platform, which names nothing of the shop.
//!
//! The crate cannot look by itself: it does not know the shop's events. That it depends on none of the shop's crates is for
//! `scripts/check-arrows`.

use std::fs;
use std::path::{Path, PathBuf};

use events::{Context, Event};

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("the folder can be read").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// The sources of `verify-log`, by their paths, with their text.
fn generic_files() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../platform/verify-log/src");
    let files = files_below(&folder).into_iter();
    files.map(|path| (path.clone(), fs::read_to_string(&path).expect("source is text"))).collect()
}

#[test]
fn no_event_context_or_stream_category_of_the_shop_is_named_in_the_generic_part() {
    let files = generic_files();
    assert!(files.len() >= 25, "the generic part is found: {files:?}");
    let types = Event::catalogue().into_iter().map(|(_, event_type, _)| event_type.to_owned());
    let contexts = Context::ALL.into_iter().flat_map(|context| {
        [format!("Context::{context:?}"), format!("\"{context}\""), format!("{context}.events")]
    });
    let categories = ["order-", "stock-", "reservation-", "payment-", "shipment-"].map(str::to_owned);
    let schemas = ["readmodel", "query-side"].map(str::to_owned);
    let names: Vec<String> = types.chain(contexts).chain(categories).chain(schemas).collect();
    for (path, text) in &files {
        let named: Vec<&String> = names.iter().filter(|name| text.contains(name.as_str())).collect();
        assert!(named.is_empty(), "{} names {named:?}", path.display());
    }
}
