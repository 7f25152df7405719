//! Every path that a comment or a page names exists.
//!
//! A path is a word that begins with one of the repository's folders, or ends in `.rs`, `.sql` or `.md`. It is relative
//! to the root, to the file that names it, or to a folder above that file (with `src` or `tests` below it); a page may
//! also name a file by the end of its path.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{files_below, root};

const EXTENSIONS: [&str; 3] = [".rs", ".sql", ".md"];
/// Files that exist only after a command has written them.
const GENERATED: [&str; 1] = ["tests/bench/results.json"];
/// `domain/src/<context>.rs` and the like name no particular file; then the folder before the placeholder must exist.
const PLACEHOLDERS: [char; 7] = ['<', '>', '*', '…', '{', '}', '$'];

/// The comments of a source file, or the whole of a page. None for a file that is not read.
fn prose(file: &Path, text: &str) -> Option<Vec<String>> {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let comment = |mark: &'static str| {
        move |line: &str| {
            let line = line.trim_start();
            let after = if line.starts_with(mark) {
                Some(line)
            } else {
                line.split_once(&format!(" {mark} ")).map(|(_, after)| after)
            };
            after.unwrap_or_default().to_owned()
        }
    };
    Some(match extension {
        "md" => text.lines().map(str::to_owned).collect(),
        "rs" => text.lines().map(comment("//")).collect(),
        "sql" => text.lines().map(comment("--")).collect(),
        "toml" | "yml" | "yaml" | "py" | "sh" | "" => text.lines().map(comment("#")).collect(),
        _ => return None,
    })
}

/// The paths that a line names.
fn paths(line: &str, folders: &BTreeSet<String>) -> Vec<String> {
    let words = line.split_whitespace().filter(|word| !word.contains("://"));
    let parts = words.flat_map(|word| {
        word.split(['`', '(', ')', '[', ']', '"', '\'', ',', ';', ':', '#', '|', '=', '!', '?'])
    });
    let named = parts.map(|part| part.trim_end_matches('.')).filter(|part| {
        let (first, rest) = part.split_once('/').unwrap_or(("", part));
        // "events/s" is a rate.
        let begins_with_a_folder = folders.contains(first) && rest != "s";
        let is_a_file =
            EXTENSIONS.iter().any(|extension| part.len() > extension.len() && part.ends_with(extension));
        (begins_with_a_folder || is_a_file) && !part.starts_with(['/', '.', '~'])
    });
    named.map(str::to_owned).collect()
}

/// The repository's files and folders, relative to the root.
struct Tree {
    all: BTreeSet<PathBuf>,
}

impl Tree {
    fn read() -> Self {
        let files = files_below(root());
        let relative = files.iter().filter_map(|file| file.strip_prefix(root()).ok());
        let all = relative.flat_map(Path::ancestors).filter(|path| path != &Path::new("")).map(PathBuf::from);
        Self { all: all.collect() }
    }

    fn folders(&self) -> BTreeSet<String> {
        let top = self.all.iter().filter(|path| path.components().count() == 1 && root().join(path).is_dir());
        top.map(|path| path.display().to_string()).collect()
    }

    fn has(&self, path: &Path) -> bool {
        // docs/decisions/0012 is the record that begins so.
        let abbreviated = |known: &PathBuf| {
            let begins = format!("{}-", path.display());
            path.starts_with("docs/decisions") && known.display().to_string().starts_with(&begins)
        };
        self.all.contains(path) || self.all.iter().any(abbreviated)
    }

    fn resolves(&self, named: &str, from: &Path) -> bool {
        let named = match named.find(PLACEHOLDERS) {
            Some(placeholder) => named[..placeholder].rsplit_once('/').map_or("", |(folder, _)| folder),
            None => named.trim_end_matches('/'),
        };
        if named.is_empty() {
            return true;
        }
        let named = Path::new(named);
        if GENERATED.iter().any(|generated| named == Path::new(generated)) {
            return true;
        }
        let near = from
            .ancestors()
            .skip(1)
            .any(|above| ["", "src", "tests"].iter().any(|inner| self.has(&above.join(inner).join(named))));
        let is_page = from.extension().is_some_and(|extension| extension == "md");
        near || (is_page && self.all.iter().any(|known| known.ends_with(named)))
    }
}

#[test]
fn every_path_in_a_comment_or_a_page_exists() {
    let tree = Tree::read();
    let folders = tree.folders();
    let (mut seen, mut missing) = (0, Vec::new());
    for file in &tree.all {
        let Ok(text) = fs::read_to_string(root().join(file)) else { continue };
        for (number, line) in prose(file, &text).unwrap_or_default().iter().enumerate() {
            for path in paths(line, &folders) {
                seen += 1;
                if !tree.resolves(&path, file) {
                    missing.push(format!("{}:{}: {path}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(seen > 500, "only {seen} paths were found: the test does not see them");
    assert!(missing.is_empty(), "{} paths do not exist:\n{}", missing.len(), missing.join("\n"));
}

#[test]
fn a_path_that_does_not_exist_is_noticed() {
    let tree = Tree::read();
    let line = "Read next: `names.rs`, `tests/fault/src/bugs.rs`, [0012](decisions/0012) and docs/decisions/0012. 5 events/s \
                `domain/src/<context>.rs` `domain/sources/<context>.rs`";
    let named = paths(line, &tree.folders());
    assert_eq!(
        named,
        [
            "names.rs",
            "tests/fault/src/bugs.rs",
            "docs/decisions/0012",
            "domain/src/<context>.rs",
            "domain/sources/<context>.rs"
        ]
    );
    let from = Path::new("tests/fault/tests/repository/paths.rs");
    let resolved: Vec<bool> = named.iter().map(|path| tree.resolves(path, from)).collect();
    assert_eq!(resolved, [true, false, true, true, false]);
}
