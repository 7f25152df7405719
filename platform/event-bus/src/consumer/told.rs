//! The metadata of an offset that is committed to Kafka: how far each handler of the reader is in the partition.
//!
//! The offset itself is the smallest of them, for tools that show lag.

/// `sagas.orders=118 sagas.inventory=120`
pub(crate) fn metadata_of<'a>(handlers: impl Iterator<Item = (&'a str, i64)>) -> String {
    handlers.map(|(name, offset)| format!("{name}={offset}")).collect::<Vec<_>>().join(" ")
}

/// How far Kafka was told that the handler is. Without metadata the offset was committed by someone else, for all handlers; a
/// handler that the metadata does not name is new.
pub(crate) fn told_of(handler: &str, offset: i64, metadata: &str) -> Option<i64> {
    if metadata.is_empty() {
        return Some(offset);
    }
    let entry = |word: &str| {
        let (name, told) = word.rsplit_once('=')?;
        if name == handler { told.parse().ok() } else { None }
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
        assert_eq!(told_of("sagas.inventory", 118, &metadata), Some(120));
        assert_eq!(told_of("sagas.shipping", 118, &metadata), None, "it is new");
        assert_eq!(told_of("orders", 118, &metadata), None);
    }

    #[test]
    fn an_offset_without_metadata_is_told_of_every_handler() {
        assert_eq!(told_of("sagas.orders", 118, ""), Some(118));
    }
}
