//! Message keys, `org_id:entity_id`, and the partitions that they belong on, as `foldline.domain.keys` has them.

const ID_MAX_CHARACTERS: usize = 256;
const ORG_ID_MAX_BYTES: usize = 64;

/// The organisation and the id of a key: the first colon separates, since organisations' ids have none.
pub fn split(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = key.iter().position(|byte| *byte == b':')?;
    Some((&key[..colon], &key[colon + 1..]))
}

/// Whether a key is that of an organisation and an entity, both of which hold, and belongs on the partition.
pub fn holds(key: &[u8], org_id: &str, entity_id: &str, partition: i32, partitions: i32) -> bool {
    split(key) == Some((org_id.as_bytes(), entity_id.as_bytes()))
        && (1..=ORG_ID_MAX_BYTES).contains(&org_id.len())
        && org_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        && (1..=ID_MAX_CHARACTERS).contains(&entity_id.chars().count())
        && !entity_id.chars().any(char::is_control)
        && (murmur2(key) & 0x7FFF_FFFF) % partitions.unsigned_abs() == partition.unsigned_abs()
}

/// Kafka's murmur2: `org.apache.kafka.common.utils.Utils.murmur2`.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5BD1_E995;
    let mut hash = 0x9747_B28C ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k = (k ^ k >> 24).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let last = rest.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
        hash = (hash ^ last).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}
