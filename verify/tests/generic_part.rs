//! The generic part of this crate names nothing of the shop, so that its files can move to a crate of the platform as they are.

use std::fs;
use std::path::{Path, PathBuf};

use events::{Context, Event};

/// What may know the shop, below `src/`.
const SHOP: [&str; 5] = ["fold/", "check/shop/", "read/shop/", "read_models.rs", "lib.rs"];
/// The list of all properties, and the modules of `read/`, have to name the shop's folder.
const LISTS: [&str; 2] = ["check/mod.rs", "read/mod.rs"];

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("the folder can be read").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// The files of the generic part, by their paths below `src/`, with their text.
fn generic_files() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = files_below(&src).into_iter().map(|path| {
        let text = fs::read_to_string(&path).expect("source is text");
        (path.strip_prefix(&src).expect("it is below src/").display().to_string(), text)
    });
    files.filter(|(path, _)| !SHOP.iter().any(|shop| path.starts_with(shop))).collect()
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
    let names: Vec<String> = types.chain(contexts).chain(categories).collect();
    for (path, text) in &files {
        let named: Vec<&String> = names.iter().filter(|name| text.contains(name.as_str())).collect();
        assert!(named.is_empty(), "src/{path} names {named:?}");
    }
}

#[test]
fn the_generic_part_uses_no_module_of_the_shop_and_knows_its_events_by_the_registry_alone() {
    for (path, text) in generic_files() {
        let modules = ["crate::fold", "crate::read_models", "::shop"];
        let used: Vec<&str> = modules.into_iter().filter(|module| text.contains(module)).collect();
        assert!(used.is_empty() || LISTS.contains(&path.as_str()), "src/{path} uses {used:?}");
        let is_registry = path == "registry.rs";
        assert!(is_registry || !text.contains("use events::"), "src/{path} uses the crate `events`");
    }
}
