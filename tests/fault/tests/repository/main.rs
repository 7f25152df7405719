//! Checks on the text of the repository: the names of crash points and mutants, and the paths in comments and pages.
//! They read files only, so they need neither PostgreSQL nor Kafka.

mod names;
mod paths;
mod platform;

use std::fs;
use std::path::{Path, PathBuf};

/// Folders without source text.
const SKIPPED: [&str; 4] = ["target", ".git", "__pycache__", "node_modules"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate is in tests/")
}

/// All files below the folder, without those of builds and of running platforms.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if SKIPPED.contains(&name.as_str()) || name.starts_with(".tradewind") || path.is_symlink() {
            continue;
        }
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}
