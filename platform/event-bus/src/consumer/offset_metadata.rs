//! The metadata of an offset committed to Kafka: the offset of each handler of the reader in the partition.
//!
//! The committed offset itself is the smallest of them, for tools that show lag.

/// `sagas.orders=118 sagas.inventory=120`
pub(crate) fn metadata_of<'a>(handlers: impl Iterator<Item = (&'a str, i64)>) -> String {
    handlers.map(|(name, offset)| format!("{name}={offset}")).collect::<Vec<_>>().join(" ")
}

/// The handler's committed offset. Without metadata the offset applies to every handler. A handler that the metadata
/// does not name is new.
pub(crate) fn committed_offset_of(handler: &str, offset: i64, metadata: &str) -> Option<i64> {
    if metadata.is_empty() {
        return Some(offset);
    }
    let entry = |word: &str| {
        let (name, offset) = word.rsplit_once('=')?;
        if name == handler { offset.parse().ok() } else { None }
    };
    metadata.split_whitespace().find_map(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_handler_finds_its_own_offset_in_the_metadata() {
        let metadata = metadata_of([("sagas.orders", 118), ("sagas.inventory", 120)].into_iter());
        assert_eq!(metadata, "sagas.orders=118 sagas.inventory=120");
        assert_eq!(committed_offset_of("sagas.inventory", 118, &metadata), Some(120));
        assert_eq!(committed_offset_of("sagas.shipping", 118, &metadata), None, "it is new");
        assert_eq!(committed_offset_of("orders", 118, &metadata), None);
    }

    #[test]
    fn an_offset_without_metadata_applies_to_every_handler() {
        assert_eq!(committed_offset_of("sagas.orders", 118, ""), Some(118));
    }
}
