//! Maps a stream to a partition of its topic.

/// The number of partitions of each topic. Another number moves streams between partitions: never change it for a topic
/// that exists.
pub const TOPIC_PARTITIONS: i32 = 12;

/// The partition that Kafka's Java clients choose for this key, out of `partitions`.
///
/// librdkafka chooses the same one with `partitioner=murmur2_random`. Source of the algorithm:
/// Apache Kafka, `org.apache.kafka.common.utils.Utils.murmur2` and `toPositive`.
pub fn partition_of(key: &str, partitions: i32) -> i32 {
    let positive = (murmur2(key.as_bytes()) & 0x7fff_ffff) as i32;
    positive % partitions
}

fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ data.len() as u32;
    let (chunks, rest) = data.as_chunks::<4>();
    for chunk in chunks {
        let mut k = u32::from_le_bytes(*chunk).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut tail = [0; 4];
        tail[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u32::from_le_bytes(tail)).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_gives_the_known_answers_of_kafkas_own_test() {
        let known: [(&str, i32); 5] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }
}
