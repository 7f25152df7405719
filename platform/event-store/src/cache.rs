//! The aggregates that this process used lately, each with the version that it was folded from.
//!
//! Bounded by size. A cached state may be behind its stream, never wrong: it is some earlier version of it.
//! Never: trust beyond the append's version check. Read next: `load.rs`.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use event_log::{StreamId, Version};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// What an entry takes beside its state: name, version, the cache's own books.
const ENTRY_BYTES: usize = 256;
/// The expected size of an entry, to lay out the cache.
const ENTRY_BYTES_EXPECTED: usize = 1024;

/// Some aggregate's state.
pub(crate) type AnyState = Arc<dyn Any + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Entry {
    pub version: Version,
    pub state: AnyState,
    /// About the size of the state: that of the largest event that made it.
    pub bytes: usize,
    /// Somebody met a newer version: read the tail before using it.
    pub stale: bool,
}

pub(crate) struct AggregateCache {
    entries: Cache<StreamId, Entry, ByBytes>,
    /// Whoever puts looks first, alone: else the older of two could be put last.
    putting: Mutex<()>,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<StreamId, Entry> for ByBytes {
    fn weight(&self, stream: &StreamId, entry: &Entry) -> u64 {
        (ENTRY_BYTES + stream.as_str().len() + entry.bytes) as u64
    }
}

impl AggregateCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let entries = Cache::with_weighter(bytes_max / ENTRY_BYTES_EXPECTED, bytes_max as u64, ByBytes);
        Self { entries, putting: Mutex::default() }
    }

    pub(crate) fn get(&self, stream: &StreamId) -> Option<Entry> {
        self.entries.get(stream)
    }

    /// Keeps the newer one of what there is and `entry`.
    pub(crate) fn put(&self, stream: &StreamId, entry: Entry) {
        let _alone = self.putting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.entries.peek(stream).is_none_or(|kept| kept.version <= entry.version) {
            self.entries.insert(stream.clone(), entry);
        }
    }

    pub(crate) fn mark_stale(&self, stream: &StreamId) {
        if let Some(kept) = self.entries.peek(stream) {
            self.entries.insert(stream.clone(), Entry { stale: true, ..kept });
        }
    }

    pub(crate) fn clear(&self) {
        self.entries.clear();
    }

    pub(crate) fn remove(&self, stream: &StreamId) {
        self.entries.remove(stream);
    }
}
