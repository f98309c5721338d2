//! Seals, as `foldline.adapters.seals` has them: the key's id, a nonce, and the text with its tag, by AES-256-GCM; the user and
//! the event are associated data.

use std::collections::HashMap;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};

use crate::avro::Upsert;

pub const KEY_ID_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

pub type KeyId = [u8; KEY_ID_BYTES];
/// Users' keys that open something, by their ids.
pub type Secrets = HashMap<KeyId, [u8; SECRET_BYTES]>;

/// The id of the key under which something is sealed.
pub fn key_id_of(sealed: &[u8]) -> Option<KeyId> {
    sealed.first_chunk().copied()
}

/// The text that an event has sealed, where its key opens it.
pub fn opened(sealed: &[u8], event: &Upsert, secrets: &Secrets) -> Option<String> {
    let (key_id, rest) = sealed.split_first_chunk()?;
    let (nonce, text) = rest.split_at_checked(NONCE_BYTES)?;
    let cipher = Aes256Gcm::new(secrets.get(key_id)?.into());
    let context = format!("{}:{}\0{}-{}", event.org_id, event.entity_id, event.request_id, event.record_index);
    let opened = cipher.decrypt(Nonce::from_slice(nonce), Payload { msg: text, aad: context.as_bytes() }).ok()?;
    String::from_utf8(opened).ok()
}
