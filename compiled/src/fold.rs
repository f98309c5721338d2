//! One more upsert on the state of its key, as `foldline.domain.fold` has it. What is rejected there, or accepted for a reason
//! that is not plain, is not taken here: it is for the fold in Python, which has the laws and the words.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::avro::Upsert;
use crate::json::Object;
use crate::seals::{KeyId, Secrets, key_id_of, opened};
use crate::{ids, keys};

/// The years 1 to 9999.
const TIMES: RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;
const ATTRIBUTES_MAX_BYTES: usize = 1024 * 1024;
const ITEM_TYPE_MAX_CHARACTERS: usize = 128;
/// What a state takes in memory beside its key, attributes and ids: with the maps' entries, about.
const STATE_BYTES: usize = 250;

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Items,
    Users,
}

/// What the upserts of a key add up to; the key is kept beside it. Times in microseconds.
#[derive(Clone)]
pub struct State {
    pub detail: Detail,
    pub status: Status,
    pub attributes: Arc<Object>,
    pub version: i64,
    pub first_seen_at: i64,
    pub updated_at: i64,
    pub partition: i32,
    pub offset: i64,
    /// The ids of a user's keys, sorted.
    pub keys: Box<[KeyId]>,
    pub ids: Box<[u8]>,
}

/// What items and users differ in.
#[derive(Clone)]
pub enum Detail {
    ItemType(Arc<str>),
    CreatedAt(i64),
}

#[derive(Clone, Copy, PartialEq)]
pub enum Status {
    Active,
    Inactive,
    Deleted,
}

impl Status {
    pub fn parse(text: &str) -> Option<Status> {
        [Status::Active, Status::Inactive, Status::Deleted].into_iter().find(|status| status.text() == text)
    }

    pub fn text(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Inactive => "inactive",
            Status::Deleted => "deleted",
        }
    }
}

impl State {
    pub fn weight(&self, key: &[u8]) -> usize {
        STATE_BYTES + key.len() + self.attributes.weight() + self.ids.len() + size_of_val(&*self.keys)
    }
}

/// Where an upsert lies: of which kind's topic, under which key, on which of so many partitions, and at which offset.
pub struct Place<'a> {
    pub kind: Kind,
    pub key: &'a [u8],
    pub partition: i32,
    pub partitions: i32,
    pub offset: i64,
}

/// The state after an upsert, which is the one before where the upsert is a repetition; None where it is for Python.
pub fn fold(before: Option<&Arc<State>>, event: &Upsert, place: &Place, secrets: &Secrets) -> Option<Arc<State>> {
    let at = event.received_at;
    if !holds(before, event, place) || !TIMES.contains(&at) {
        return None;
    }
    let status = match event.status {
        Some(text) => Some(Status::parse(text)?),
        None => None,
    };
    let (detail, key_id) = match place.kind {
        Kind::Items => (item_type(before, event)?, None),
        Kind::Users => user(before, event, status)?,
    };
    let carried = match (event.sealed, event.attributes) {
        (Some(sealed), _) => Object::parse(&opened(sealed, event, secrets)?)?,
        (None, Some(text)) => Object::parse(text)?,
        (None, None) => Object::empty(),
    };
    if let Some(state) = before
        && event.idempotency_id.is_some_and(|id| ids::is_among(&state.ids, id, at))
    {
        return Some(state.clone());
    }
    let ids = ids::after(before.map_or(&[], |state| &state.ids), event.idempotency_id, at);
    let state = match before {
        None => State {
            detail,
            status: status.unwrap_or(Status::Active),
            attributes: Arc::new(carried),
            version: 1,
            first_seen_at: at,
            updated_at: at,
            partition: place.partition,
            offset: place.offset,
            keys: key_id.into_iter().collect(),
            ids,
        },
        Some(state) => State {
            detail,
            status: status.unwrap_or(state.status),
            attributes: if carried.is_empty() { state.attributes.clone() } else { state.attributes.merged(&carried).into() },
            version: state.version + 1,
            first_seen_at: state.first_seen_at,
            updated_at: at,
            partition: place.partition,
            offset: place.offset,
            keys: with_key(&state.keys, key_id),
            ids,
        },
    };
    (state.attributes.text().len() <= ATTRIBUTES_MAX_BYTES).then(|| Arc::new(state))
}

/// Whether an upsert lies where it belongs. Where there is a state, its key was looked at when it began.
fn holds(before: Option<&Arc<State>>, event: &Upsert, place: &Place) -> bool {
    match before {
        Some(state) => {
            state.partition == place.partition
                && keys::split(place.key) == Some((event.org_id.as_bytes(), event.entity_id.as_bytes()))
        }
        None => keys::holds(place.key, event.org_id, event.entity_id, place.partition, place.partitions),
    }
}

fn item_type(before: Option<&Arc<State>>, event: &Upsert) -> Option<Detail> {
    match (event.item_type, before.map(|state| &state.detail)) {
        (None, Some(kept)) => Some(kept.clone()),
        (Some(text), Some(Detail::ItemType(kept))) if *text == **kept => Some(Detail::ItemType(kept.clone())),
        (Some(text), _) if (1..=ITEM_TYPE_MAX_CHARACTERS).contains(&text.chars().count()) && !text.contains('\0') => {
            Some(Detail::ItemType(text.into()))
        }
        _ => None,
    }
}

/// When a user was created, and the id of the key under which the event is sealed. Who is or becomes deleted is for Python.
fn user(before: Option<&Arc<State>>, event: &Upsert, status: Option<Status>) -> Option<(Detail, Option<KeyId>)> {
    let is_deleted = |status: Option<Status>| status == Some(Status::Deleted);
    if is_deleted(status) || is_deleted(before.map(|state| state.status)) {
        return None;
    }
    let detail = match (event.created_at, before.map(|state| &state.detail)) {
        (Some(at), _) if !TIMES.contains(&at) => return None,
        (Some(at), _) => Detail::CreatedAt(at),
        (None, Some(kept)) => kept.clone(),
        (None, None) => Detail::CreatedAt(event.received_at),
    };
    let key_id = match event.sealed {
        Some(sealed) => Some(key_id_of(sealed)?),
        None => None,
    };
    Some((detail, key_id))
}

fn with_key(keys: &[KeyId], key_id: Option<KeyId>) -> Box<[KeyId]> {
    let mut keys = keys.to_vec();
    if let Some(key_id) = key_id
        && let Err(place) = keys.binary_search(&key_id)
    {
        keys.insert(place, key_id);
    }
    keys.into()
}
