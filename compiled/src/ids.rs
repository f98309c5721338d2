//! The idempotency ids that a record has folded lately, as `foldline.domain.idempotency` has them: each of 16 bytes, with the
//! time of its event in 8 bytes big-endian.

pub const ID_BYTES: usize = 16;

const ENTRY_BYTES: usize = ID_BYTES + 8;
const KEPT_MICROS: i64 = 25 * 3600 * 1_000_000;
const MAX_IDS: usize = 10_000;

/// Whether an event of this time that carries this id repeats one that was folded.
pub fn is_among(ids: &[u8], id: &[u8], at: i64) -> bool {
    ids.chunks_exact(ENTRY_BYTES).any(|entry| &entry[..ID_BYTES] == id && time(entry) >= at - KEPT_MICROS)
}

/// The ids after an event of this time, which carries one or none: without those at the beginning that are too old for it.
pub fn after(ids: &[u8], id: Option<&[u8]>, at: i64) -> Box<[u8]> {
    let old = ids.chunks_exact(ENTRY_BYTES).take_while(|entry| time(entry) < at - KEPT_MICROS).count();
    let kept = &ids[old * ENTRY_BYTES..];
    match id {
        None => kept.into(),
        Some(id) => [&kept[kept.len().saturating_sub((MAX_IDS - 1) * ENTRY_BYTES)..], id, &at.to_be_bytes()].concat().into(),
    }
}

fn time(entry: &[u8]) -> i64 {
    entry[ID_BYTES..].iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
}
