//! Avro's binary encoding of upserts and states, as `foldline/adapters/avro.py` has it.

use std::str::from_utf8;

use crate::fold::Kind;
use crate::ids::ID_BYTES;

/// A value begins so: a zero byte, and the schema's id.
pub const PREFIX_BYTES: usize = 5;

/// The fields of an upsert that the fold needs. None: not sent. An item has no `created_at` and no seal, a user no type.
pub struct Upsert<'a> {
    pub org_id: &'a str,
    pub entity_id: &'a str,
    pub item_type: Option<&'a str>,
    pub created_at: Option<i64>,
    pub status: Option<&'a str>,
    pub attributes: Option<&'a str>,
    pub received_at: i64,
    pub request_id: &'a str,
    pub record_index: i32,
    pub sealed: Option<&'a [u8]>,
    pub idempotency_id: Option<&'a [u8]>,
}

impl<'a> Upsert<'a> {
    /// The upsert that a value is to its last byte, if it is one of this kind.
    pub fn decode(kind: Kind, value: &'a [u8], has_id: bool) -> Option<Upsert<'a>> {
        let mut rest = Reader(value.get(PREFIX_BYTES..)?);
        let (org_id, entity_id) = (rest.string()?, rest.string()?);
        let (item_type, created_at) = match kind {
            Kind::Items => (rest.optional(Reader::string)?, None),
            Kind::Users => (None, rest.optional(Reader::long)?),
        };
        let (status, attributes) = (rest.optional(Reader::string)?, rest.optional(Reader::string)?);
        let (received_at, request_id) = (rest.long()?, rest.string()?);
        let record_index = i32::try_from(rest.long()?).ok()?;
        let sealed = match kind {
            Kind::Items => None,
            Kind::Users => rest.optional(Reader::bytes)?,
        };
        let idempotency_id = if has_id { rest.optional(|reader| reader.take(ID_BYTES))? } else { None };
        rest.0.is_empty().then_some(Upsert {
            org_id,
            entity_id,
            item_type,
            created_at,
            status,
            attributes,
            received_at,
            request_id,
            record_index,
            sealed,
            idempotency_id,
        })
    }
}

/// What is left of a value. None is the answer to whatever is not Avro.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn long(&mut self) -> Option<i64> {
        let mut zigzag = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = u64::from(self.byte()?);
            if shift == 63 && byte > 1 {
                return None;
            }
            zigzag |= (byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        self.take(length)
    }

    fn string(&mut self) -> Option<&'a str> {
        from_utf8(self.bytes()?).ok()
    }

    fn optional<T>(&mut self, of: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            2 => Some(Some(of(self)?)),
            _ => None,
        }
    }
}

pub fn write_long(out: &mut Vec<u8>, number: i64) {
    let mut rest = (number << 1 ^ number >> 63) as u64;
    while rest > 0x7F {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

pub fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    write_long(out, text.len() as i64);
    out.extend_from_slice(text);
}
