//! One more upsert on the state of an item, as `foldline.domain.fold` has it. What is rejected there, or accepted for a reason
//! that is not plain, is not taken here: it is for the fold in Python, which has the laws and the words.

use std::sync::Arc;

use crate::avro::Upsert;
use crate::json::Object;
use crate::{ids, keys};

const EARLIEST: i64 = -62_135_596_800_000_000;
const LATEST: i64 = 253_402_300_799_999_999;
const ATTRIBUTES_MAX_BYTES: usize = 1024 * 1024;
const ITEM_TYPE_MAX_CHARACTERS: usize = 128;
/// What a state takes in memory beside its key, attributes and ids: with the maps' entries, about.
const STATE_BYTES: usize = 250;

/// What the upserts of an item add up to; its key is kept beside it. Times in microseconds.
#[derive(Clone)]
pub struct State {
    pub item_type: Arc<str>,
    pub status: Status,
    pub attributes: Arc<Object>,
    pub version: i64,
    pub first_seen_at: i64,
    pub updated_at: i64,
    pub partition: i32,
    pub offset: i64,
    pub ids: Box<[u8]>,
}

#[derive(Clone, Copy)]
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
        STATE_BYTES + key.len() + self.attributes.weight() + self.ids.len()
    }
}

/// Where an upsert lies: its record's key, partition and offset, of so many partitions.
pub struct Place<'a> {
    pub key: &'a [u8],
    pub partition: i32,
    pub partitions: i32,
    pub offset: i64,
}

/// The state after an upsert, which is the one before where the upsert is a repetition; None where it is for Python.
pub fn fold(before: Option<&Arc<State>>, event: &Upsert, place: &Place) -> Option<Arc<State>> {
    let holds = match before {
        // That the key holds was looked at when the state began.
        Some(state) => {
            state.partition == place.partition
                && keys::split(place.key) == Some((event.org_id.as_bytes(), event.item_id.as_bytes()))
        }
        None => keys::holds(place.key, event.org_id, event.item_id, place.partition, place.partitions),
    };
    if !holds || !(EARLIEST..=LATEST).contains(&event.received_at) {
        return None;
    }
    let status = match event.status {
        Some(text) => Some(Status::parse(text)?),
        None => None,
    };
    let item_type = match (event.item_type, before) {
        (None, Some(state)) => state.item_type.clone(),
        (Some(text), Some(state)) if *text == *state.item_type => state.item_type.clone(),
        (Some(text), _) if (1..=ITEM_TYPE_MAX_CHARACTERS).contains(&text.chars().count()) && !text.contains('\0') => {
            text.into()
        }
        _ => return None,
    };
    let carried = match event.attributes {
        Some(text) => Object::parse(text)?,
        None => Object::empty(),
    };
    let id = event.idempotency_id;
    let state = match before {
        None => State {
            item_type,
            status: status.unwrap_or(Status::Active),
            attributes: Arc::new(carried),
            version: 1,
            first_seen_at: event.received_at,
            updated_at: event.received_at,
            partition: place.partition,
            offset: place.offset,
            ids: ids::after(&[], id, event.received_at),
        },
        Some(state) => {
            if id.is_some_and(|id| ids::is_among(&state.ids, id, event.received_at)) {
                return Some(state.clone());
            }
            State {
                item_type,
                status: status.unwrap_or(state.status),
                attributes: if carried.is_empty() {
                    state.attributes.clone()
                } else {
                    Arc::new(state.attributes.merged(&carried))
                },
                version: state.version + 1,
                first_seen_at: state.first_seen_at,
                updated_at: event.received_at,
                partition: place.partition,
                offset: place.offset,
                ids: ids::after(&state.ids, id, event.received_at),
            }
        }
    };
    (state.attributes.text().len() <= ATTRIBUTES_MAX_BYTES).then(|| Arc::new(state))
}
