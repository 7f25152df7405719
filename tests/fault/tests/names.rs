//! The lists and the code name the same places: nothing is listed that nobody passes, and nothing passed that is not listed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fault::{CRASH_POINTS, MUTANTS};

/// Every place where `opening`, followed by a name in quotes, stands in the crates' own code (`src`) or their tests.
fn uses(opening: &str, folder: &str) -> BTreeMap<String, Vec<PathBuf>> {
    let root = root();
    let mut found = BTreeMap::<String, Vec<PathBuf>>::new();
    let crates =
        fs::read_dir(root).expect("the workspace can be read").map(|entry| entry.expect("an entry").path());
    for folder in crates
        .filter(|path| path.join("Cargo.toml").exists() && !path.ends_with("fault"))
        .map(|path| path.join(folder))
    {
        for file in files_below(&folder) {
            let text = fs::read_to_string(&file).expect("source is text");
            for rest in text.split(opening).skip(1) {
                let name = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
                if let Some(name) = name {
                    found.entry(name.to_owned()).or_default().push(file.clone());
                }
            }
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate lies in tests/")
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => files_below(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

#[test]
fn every_crash_point_stands_at_one_place_in_the_code_and_in_the_list() {
    let uses = uses("crash_point!(", "src");
    let listed: Vec<&str> = CRASH_POINTS.iter().map(|point| point.name).collect();
    for (name, places) in &uses {
        assert!(
            listed.contains(&name.as_str()),
            "{name} ({places:?}) does not stand in tests/fault/src/points.rs"
        );
        assert_eq!(places.len(), 1, "{name} stands at several places: {places:?}");
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
        assert!(has_switch, "nothing is done where {} is planted", bug.name);
    }
    for name in in_code.keys().chain(in_tests.keys()).chain(trials.keys()) {
        assert!(
            MUTANTS.iter().any(|bug| bug.name == name),
            "{name} does not stand in tests/fault/src/mutants.rs"
        );
    }
}

#[test]
fn the_page_on_reliability_names_every_crash_point_and_every_mutant() {
    let page = fs::read_to_string(root().join("docs/reliability.md")).expect("the page is there");
    let names = CRASH_POINTS.iter().map(|point| point.name).chain(MUTANTS.iter().map(|bug| bug.name));
    let unnamed: Vec<&str> = names.filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert_eq!(unnamed, Vec::<&str>::new());
}
