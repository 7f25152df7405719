//! The lists and the code agree: every listed name is used, and every used name is listed.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use fault::{CRASH_POINTS, MUTANTS};

use crate::{files_below, root};

/// Every place where `opening`, followed by a name in quotes, is in the `folder` (`src` or `tests`) of a crate.
fn uses(opening: &str, folder: &str) -> BTreeMap<String, Vec<PathBuf>> {
    let mut found = BTreeMap::<String, Vec<PathBuf>>::new();
    for source in crates().iter().flat_map(|path| files_below(&path.join(folder))) {
        if source.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&source).expect("source is text");
        for rest in text.split(opening).skip(1) {
            let name = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
            if let Some(name) = name {
                found.entry(name.to_owned()).or_default().push(source.clone());
            }
        }
    }
    found
}

/// The folder of every crate of the workspace except this one, wherever it is.
fn crates() -> Vec<PathBuf> {
    let manifests = files_below(root()).into_iter().filter(|file| file.ends_with("Cargo.toml"));
    let folders = manifests.filter_map(|manifest| manifest.parent().map(PathBuf::from));
    folders.filter(|folder| folder != root() && folder != &root().join("tests/fault")).collect()
}

#[test]
fn the_crates_are_found_at_the_root_and_in_the_folders_below() {
    let crates = crates();
    for folder in ["domain", "platform/relay", "services/payment-provider", "tests/e2e"] {
        assert!(crates.contains(&root().join(folder)), "{folder} is not among {crates:?}");
    }
}

#[test]
fn every_crash_point_is_at_one_place_in_the_code_and_in_the_list() {
    let uses = uses("crash_point!(", "src");
    let listed: Vec<&str> = CRASH_POINTS.iter().map(|point| point.name).collect();
    for (name, places) in &uses {
        assert!(listed.contains(&name.as_str()), "{name} ({places:?}) is not in tests/fault/src/points.rs");
        assert_eq!(places.len(), 1, "{name} is at several places: {places:?}");
    }
    for name in listed {
        assert!(uses.contains_key(name), "no code passes {name}");
    }
}

#[test]
fn every_mutant_has_a_switch_and_one_trial_that_finds_it() {
    let (in_code, in_tests) = (uses("mutant!(", "src"), uses("mutant!(", "tests"));
    let trials = uses("finds(", "tests");
    for bug in MUTANTS {
        assert_eq!(trials.get(bug.name).map(Vec::len), Some(1), "the trials of {}", bug.name);
        let has_switch = in_code.contains_key(bug.name) || in_tests.contains_key(bug.name);
        assert!(has_switch, "no code asks for {}", bug.name);
    }
    for name in in_code.keys().chain(in_tests.keys()).chain(trials.keys()) {
        assert!(MUTANTS.iter().any(|bug| bug.name == name), "{name} is not in tests/fault/src/mutants.rs");
    }
}

#[test]
fn the_page_on_reliability_names_every_crash_point_and_every_mutant() {
    let page = fs::read_to_string(root().join("docs/reliability.md")).expect("the page is there");
    let names = CRASH_POINTS.iter().map(|point| point.name).chain(MUTANTS.iter().map(|bug| bug.name));
    let unnamed: Vec<&str> = names.filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert_eq!(unnamed, Vec::<&str>::new());
}
