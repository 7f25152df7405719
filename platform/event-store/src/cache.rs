//! The aggregates that this process used recently, each with the version that it was folded from.
//!
//! The cache is bounded by size. A cached state may be stale, but it is always some real version of its stream: the
//! append's version check finds a stale one.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use event_log::{State, StreamId, Version};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// The size of an entry without its state: stream name, version, bookkeeping of the cache.
const ENTRY_BYTES: usize = 256;
/// The expected size of an entry, to lay out the cache.
const ENTRY_BYTES_EXPECTED: usize = 1024;

/// An aggregate's state, without its type.
pub(crate) type AnyState = Arc<dyn Any + Send + Sync>;

pub(crate) fn state_of<A: State>(state: AnyState) -> Arc<A> {
    state.downcast().expect("a stream is loaded as one aggregate only")
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub version: Version,
    pub state: AnyState,
    /// The approximate size of the state: that of the largest event folded into it.
    pub bytes: usize,
    /// A newer version is known to exist: read the tail before use.
    pub stale: bool,
}

pub(crate) struct AggregateCache {
    entries: Cache<StreamId, Entry, ByBytes>,
    /// Makes the comparison and the insert of `put` one step; otherwise the older of two entries could be inserted
    /// last.
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

    /// Keeps the newer of the cached entry and `entry`.
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
