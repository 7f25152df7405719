//! How many sockets the process may have.
//!
//! Never: a listener that accepts until there is no file descriptor left for the database. Read next: `mod.rs`.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Of the files that the process may open, the share that one listener's connections may take.
const SHARE: u64 = 3;

/// Raises the process's soft limit of open files to its hard limit, as the Go runtime does, and holds `wanted` to a
/// part of it: a shell's usual 1,024 is fewer than the connections of one busy listener.
pub(super) fn connections_allowed(wanted: usize) -> usize {
    let files = getrlimit(Resource::RLIMIT_NOFILE)
        .map_or(1024, |(soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_or(soft, |()| hard));
    let allowed = wanted.min(usize::try_from(files / SHARE).unwrap_or(usize::MAX));
    if allowed < wanted {
        tracing::warn!(
            wanted,
            allowed,
            open_files_max = files,
            "fewer connections than configured: raise ulimit -n"
        );
    }
    allowed
}
