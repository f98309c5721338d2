//! The states that a batch changed, as they are written: to PostgreSQL by COPY, and to the state topic as Avro.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::avro::{write_long, write_string};
use crate::fold::{Detail, State};
use crate::keys::split;
use crate::seals::KeyId;
use crate::{Fields, fields};

/// What a row takes in memory while it is kept: its state may have gone from the cache.
const ROW_BYTES: usize = 32;

/// States by message key, each the newest of its key. They do not change any more.
#[pyclass(frozen)]
pub struct Rows {
    rows: Vec<(Arc<[u8]>, Arc<State>)>,
    places: HashMap<Arc<[u8]>, usize>,
}

impl Rows {
    /// Of rows with the same key the last one counts.
    pub fn new(all: impl Iterator<Item = (Arc<[u8]>, Arc<State>)>) -> Rows {
        let (mut rows, mut places) = (Vec::new(), HashMap::new());
        for (key, state) in all {
            let place = *places.entry(key.clone()).or_insert(rows.len());
            if place < rows.len() {
                rows[place] = (key, state);
            } else {
                rows.push((key, state));
            }
        }
        Rows { rows, places }
    }
}

#[pymethods]
impl Rows {
    fn __len__(&self) -> usize {
        self.rows.len()
    }

    /// The state of a key.
    fn get(&self, key: &[u8]) -> Option<Fields> {
        self.places.get(key).map(|place| fields(&self.rows[*place].0, &self.rows[*place].1))
    }

    /// Every key with its state.
    fn items(&self) -> Vec<(&[u8], Fields)> {
        self.rows.iter().map(|(key, state)| (&**key, fields(key, state))).collect()
    }

    /// The bytes of all attributes together.
    fn attributes_bytes(&self) -> usize {
        self.rows.iter().map(|(_, state)| state.attributes.text().len()).sum()
    }

    /// When the last event of each row was received, in order of time.
    fn received(&self, py: Python<'_>) -> Vec<i64> {
        py.detach(|| {
            let mut times: Vec<_> = self.rows.iter().map(|(_, state)| state.updated_at).collect();
            times.sort_unstable();
            times
        })
    }

    /// What the rows take in memory, in bytes.
    fn weight(&self) -> usize {
        self.rows.iter().map(|(key, state)| ROW_BYTES + state.weight(key)).sum()
    }

    /// These rows, but for those of which the later ones have a newer state, and the later ones.
    fn then(&self, later: &Rows) -> Rows {
        Rows::new(self.rows.iter().chain(&later.rows).cloned())
    }

    /// The rows in COPY's text format, one a line, in the order of the stage table's columns.
    fn copy_text<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let text = py.detach(|| {
            let mut out = Vec::with_capacity(self.weight());
            for (key, state) in &self.rows {
                write_copy(&mut out, key, state);
            }
            out
        });
        PyBytes::new(py, &text)
    }

    /// Keys and values for the state topic. Values begin with `prefix`, which names the schema.
    fn messages<'py>(
        &self,
        py: Python<'py>,
        prefix: &[u8],
        generation: i64,
    ) -> Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let mut value = Vec::new();
        self.rows
            .iter()
            .map(|(key, state)| {
                value.clear();
                write_state(&mut value, prefix, key, state, generation);
                (PyBytes::new(py, key), PyBytes::new(py, &value))
            })
            .collect()
    }
}

fn write_copy(out: &mut Vec<u8>, key: &[u8], state: &State) {
    let (org_id, entity_id) = split(key).unwrap_or_default();
    let created_at;
    let detail = match &state.detail {
        Detail::ItemType(text) => text.as_bytes(),
        Detail::CreatedAt(at) => {
            created_at = at.to_string();
            created_at.as_bytes()
        }
    };
    for text in [org_id, entity_id, detail, state.status.text().as_bytes(), state.attributes.text()] {
        write_escaped(out, text);
        out.push(b'\t');
    }
    for number in [state.version, state.first_seen_at, state.updated_at, state.partition.into(), state.offset] {
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        out.push(b'\t');
    }
    if let Detail::CreatedAt(_) = state.detail {
        write_keys(out, &state.keys);
        out.push(b'\t');
    }
    if !state.ids.is_empty() {
        out.extend_from_slice(br"\\x");
        write_hex(out, &state.ids);
    }
    out.push(b'\n');
}

/// An array of bytea. Its quotes escape once more than COPY.
fn write_keys(out: &mut Vec<u8>, keys: &[KeyId]) {
    out.push(b'{');
    for (number, key_id) in keys.iter().enumerate() {
        out.extend_from_slice(if number == 0 { br#""\\\\x"# } else { br#","\\\\x"# });
        write_hex(out, key_id);
        out.push(b'"');
    }
    out.push(b'}');
}

fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        write!(out, "{byte:02x}").expect("memory takes all that is written");
    }
}

fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    for part in text.split_inclusive(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r')) {
        let (last, head) = part.split_last().unwrap_or((&0, &[]));
        let escaped: &[u8] = match last {
            b'\\' => br"\\",
            b'\t' => br"\t",
            b'\n' => br"\n",
            b'\r' => br"\r",
            _ => {
                out.extend_from_slice(part);
                continue;
            }
        };
        out.extend_from_slice(head);
        out.extend_from_slice(escaped);
    }
}

fn write_state(out: &mut Vec<u8>, prefix: &[u8], key: &[u8], state: &State, generation: i64) {
    let (org_id, entity_id) = split(key).unwrap_or_default();
    out.extend_from_slice(prefix);
    write_string(out, org_id);
    write_string(out, entity_id);
    match &state.detail {
        Detail::ItemType(text) => write_string(out, text.as_bytes()),
        Detail::CreatedAt(at) => write_long(out, *at),
    }
    write_string(out, state.status.text().as_bytes());
    write_string(out, state.attributes.text());
    let State { version, first_seen_at, updated_at, partition, offset, .. } = *state;
    for number in [version, first_seen_at, updated_at, generation, partition.into(), offset] {
        write_long(out, number);
    }
}
