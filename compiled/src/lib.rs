//! The fold, compiled: what `foldline` uses where this module is installed.
//!
//! `States` holds the states of one kind in memory and folds upserts on top of them, as `processors.memory.PlainStates` with
//! `foldline.domain.fold` does. It takes what is plain, and leaves everything else to them.

mod avro;
mod fold;
mod ids;
mod json;
mod keys;
mod rows;
mod seals;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hashlink::LinkedHashMap;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::avro::{PREFIX_BYTES, Upsert};
use crate::fold::{Detail, Kind, Place, State, Status, fold};
use crate::json::Object;
use crate::rows::Rows;
use crate::seals::{KeyId, Secrets, key_id_of};

/// The wording of the laws, as `foldline.domain.fold` counts it, that this fold has learned.
const LAWS: u32 = 1;

/// A state as Python gives and takes it: organisation, id, detail, status, attributes as JSON text; version, first seen at,
/// updated at, partition, offset; keys, idempotency ids.
type Fields = ((String, String, PyDetail, String, String), (i64, i64, i64, i32, i64), (Vec<KeyId>, Vec<u8>));

#[derive(FromPyObject, IntoPyObject)]
enum PyDetail {
    ItemType(String),
    CreatedAt(i64),
}

fn fields(key: &[u8], state: &State) -> Fields {
    let (org_id, entity_id) = keys::split(key).unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let detail = match &state.detail {
        Detail::ItemType(text) => PyDetail::ItemType(text.to_string()),
        Detail::CreatedAt(at) => PyDetail::CreatedAt(*at),
    };
    (
        (text(org_id), text(entity_id), detail, state.status.text().into(), text(state.attributes.text())),
        (state.version, state.first_seen_at, state.updated_at, state.partition, state.offset),
        (state.keys.to_vec(), state.ids.to_vec()),
    )
}

fn state_of(fields: Fields) -> Option<State> {
    let ((_, _, detail, status, attributes), (version, first_seen_at, updated_at, partition, offset), (keys, ids)) = fields;
    Some(State {
        detail: match detail {
            PyDetail::ItemType(text) => Detail::ItemType(text.into()),
            PyDetail::CreatedAt(at) => Detail::CreatedAt(at),
        },
        status: Status::parse(&status)?,
        attributes: Object::kept(&attributes)?.into(),
        version,
        first_seen_at,
        updated_at,
        partition,
        offset,
        keys: keys.into(),
        ids: ids.into(),
    })
}

/// States of one kind by message key, those folded least recently first.
#[pyclass]
struct States {
    kind: Kind,
    partitions: i32,
    states: LinkedHashMap<Arc<[u8]>, Kept>,
    weight: usize,
    round: u64,
    changed: Vec<Arc<[u8]>>,
    changed_weight: usize,
}

/// A state, and the round in which it was folded last: a round ends when `changed` is asked.
struct Kept {
    state: Arc<State>,
    round: u64,
}

/// How values begin, and whether they have idempotency ids.
type Layouts = Vec<([u8; PREFIX_BYTES], bool)>;

fn decoded<'a>(kind: Kind, value: &'a [u8], layouts: &Layouts) -> Option<Upsert<'a>> {
    let (_, has_id) = layouts.iter().find(|(prefix, _)| value.starts_with(prefix))?;
    Upsert::decode(kind, value, *has_id)
}

impl States {
    fn keep(&mut self, key: Arc<[u8]>, state: Arc<State>, round: u64) {
        let weight = state.weight(&key);
        let old = self.states.insert(key.clone(), Kept { state, round });
        let (old_weight, old_round) = old.map_or((0, 0), |old| (old.state.weight(&key), old.round));
        self.weight = self.weight + weight - old_weight;
        if round == self.round {
            self.changed_weight += weight;
            if old_round == round {
                self.changed_weight -= old_weight;
            } else {
                self.changed.push(key);
            }
        }
    }

    fn fold_one(&mut self, key: &[u8], event: &Upsert, partition: i32, offset: i64, secrets: &Secrets) -> bool {
        let (key, before) = match self.states.get_key_value(key) {
            Some((key, kept)) => (key.clone(), Some(&kept.state)),
            None => (key.into(), None),
        };
        let place = Place { kind: self.kind, key: &key, partition, partitions: self.partitions, offset };
        let Some(after) = fold(before, event, &place, secrets) else {
            return false;
        };
        self.keep(key, after, self.round);
        true
    }
}

#[pymethods]
impl States {
    /// `partitions` is how many the topic has. Raises `ValueError` for a kind that there is not.
    #[new]
    fn new(kind: &str, partitions: i32) -> PyResult<States> {
        let kind = match kind {
            "items" => Kind::Items,
            "users" => Kind::Users,
            _ => return Err(PyValueError::new_err("there are items and users")),
        };
        Ok(States {
            kind,
            partitions,
            states: LinkedHashMap::new(),
            weight: 0,
            round: 1,
            changed: Vec::new(),
            changed_weight: 0,
        })
    }

    /// What all states take in memory, in bytes, about.
    #[getter]
    fn weight(&self) -> usize {
        self.weight
    }

    /// What the states take that were folded since `changed` was asked last, likewise.
    #[getter]
    fn changed_weight(&self) -> usize {
        self.changed_weight
    }

    /// The keys of which there is no state here.
    fn missing<'py>(&self, keys: Vec<Option<Bound<'py, PyBytes>>>) -> Vec<Bound<'py, PyBytes>> {
        keys.into_iter().flatten().filter(|key| !self.states.contains_key(key.as_bytes())).collect()
    }

    fn get(&self, key: Option<&[u8]>) -> Option<Fields> {
        let key = key?;
        self.states.get(key).map(|kept| fields(key, &kept.state))
    }

    /// Keeps a state; `changed` tells of it where it was folded. Raises `ValueError` for what is none.
    fn put(&mut self, key: &[u8], state: Fields, folded: bool) -> PyResult<()> {
        let state = state_of(state).ok_or_else(|| PyValueError::new_err("this is not a state"))?;
        self.keep(key.into(), Arc::new(state), if folded { self.round } else { 0 });
        Ok(())
    }

    /// The ids of the keys under which users' values are sealed.
    fn seal_keys(&self, values: Vec<Option<Bound<'_, PyBytes>>>, layouts: Layouts) -> HashSet<KeyId> {
        let values = values.iter().flatten().map(|value| value.as_bytes());
        values.filter_map(|value| key_id_of(decoded(self.kind, value, &layouts)?.sealed?)).collect()
    }

    /// Folds the records of a partition that it can fold, with users' keys by their ids. `layouts` are the beginnings of values
    /// under the schemas it reads, each with whether there are idempotency ids. Returns the places of the records that are
    /// left, in order: of a key from the first one on that it cannot fold.
    fn fold(
        &mut self,
        py: Python<'_>,
        partition: i32,
        keys: Vec<Option<Bound<'_, PyBytes>>>,
        values: Vec<Option<Bound<'_, PyBytes>>>,
        offsets: Vec<i64>,
        layouts: Layouts,
        secrets: Secrets,
    ) -> Vec<usize> {
        let keys: Vec<_> = keys.iter().map(|key| key.as_ref().map(|key| key.as_bytes())).collect();
        let values: Vec<_> = values.iter().map(|value| value.as_ref().map_or(&[][..], |value| value.as_bytes())).collect();
        py.detach(|| {
            let mut left = Vec::new();
            let mut left_keys = HashSet::new();
            for (place, ((key, value), offset)) in keys.into_iter().zip(values).zip(offsets).enumerate() {
                let folded = match (key, decoded(self.kind, value, &layouts)) {
                    (Some(key), Some(event)) => {
                        !left_keys.contains(key) && self.fold_one(key, &event, partition, offset, &secrets)
                    }
                    _ => false,
                };
                if !folded {
                    left.push(place);
                    left_keys.extend(key);
                }
            }
            left
        })
    }

    /// The states that were folded since this was asked last, by partition, in the order of their keys.
    fn changed(&mut self) -> HashMap<i32, Rows> {
        (self.round, self.changed_weight) = (self.round + 1, 0);
        let mut changed: HashMap<i32, Vec<_>> = HashMap::new();
        for key in self.changed.drain(..) {
            if let Some(kept) = self.states.get(&key) {
                changed.entry(kept.state.partition).or_default().push((key, kept.state.clone()));
            }
        }
        let in_order = |(partition, mut rows): (i32, Vec<(Arc<[u8]>, _)>)| {
            rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            (partition, Rows::new(rows.into_iter()))
        };
        changed.into_iter().map(in_order).collect()
    }

    /// Lets go of the states folded least recently, until the rest weighs no more than so many bytes.
    fn evict(&mut self, limit_bytes: usize) {
        while self.weight > limit_bytes {
            let Some((key, kept)) = self.states.pop_front() else { return };
            self.weight -= kept.state.weight(&key);
        }
    }

    /// Lets go of everything.
    fn clear(&mut self) {
        self.states.clear();
        self.changed.clear();
        (self.weight, self.changed_weight) = (0, 0);
    }
}

#[pymodule]
fn foldline_compiled(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("LAWS", LAWS)?;
    module.add_class::<States>()?;
    module.add_class::<Rows>()
}
