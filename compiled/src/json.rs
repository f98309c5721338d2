//! JSON objects in the form in which they are kept: no spaces, the fewest escapes, numbers as `foldline.domain.values` has
//! them. A text is taken only where nothing about it is doubtful:
//!
//! 1. It is a JSON object, nested at most 32 deep, without a key that occurs twice in one object.
//! 2. No string has U+0000. (None has an unpaired surrogate: that is no JSON here.)
//! 3. Every number is an integer of 64 bits with a sign, or a double from 1e-60 to below 2^63 in magnitude. 0.0 may stand for a
//!    literal that vanished, and is doubtful, too.
//!
//! Whatever else there is, is for the fold in Python to accept or reject. What that has accepted is `kept`: there any number holds.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

const MAX_DEPTH: usize = 32;
const DOUBLE_MIN: f64 = 1e-60;
const DOUBLE_END: f64 = 9_223_372_036_854_775_808.0;
/// Up to so many keys are compared with each other, more are looked up.
const FEW: usize = 16;

/// Where a member of an object ends in its text, and where its key does. It begins after the comma or brace before it.
#[derive(Clone, Copy)]
struct Member {
    key_end: u32,
    end: u32,
}

/// An object's text, and its members.
pub struct Object {
    text: Box<[u8]>,
    members: Box<[Member]>,
}

impl Object {
    pub fn empty() -> Object {
        Object { text: Box::from(*b"{}"), members: Box::new([]) }
    }

    /// The object of a text that holds beyond doubt.
    pub fn parse(text: &str) -> Option<Object> {
        Object::read(text, false)
    }

    /// The object of a text that was found to hold before.
    pub fn kept(text: &str) -> Option<Object> {
        Object::read(text, true)
    }

    fn read(text: &str, any_number: bool) -> Option<Object> {
        let (mut out, mut members) = (Vec::with_capacity(text.len()), Vec::new());
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let top = Writer { out: &mut out, depth: 1, any_number };
        deserializer.deserialize_map(Top { writer: top, members: &mut members }).ok()?;
        deserializer.end().ok()?;
        Some(Object { text: out.into(), members: members.into() })
    }

    pub fn text(&self) -> &[u8] {
        &self.text
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// What the object takes in memory, in bytes.
    pub fn weight(&self) -> usize {
        self.text.len() + size_of_val(&*self.members)
    }

    /// The members of both: the newer value of a key that both have, at the older one's place.
    pub fn merged(&self, newer: &Object) -> Object {
        let mut left: Vec<Option<(&[u8], &[u8])>> = newer.pairs().map(Some).collect();
        let places: Option<HashMap<&[u8], usize>> = (self.members.len().min(newer.members.len()) > FEW)
            .then(|| newer.pairs().enumerate().map(|(place, (key, _))| (key, place)).collect());
        let mut out = Vec::with_capacity(self.text.len() + newer.text.len());
        let mut members = Vec::with_capacity(self.members.len() + newer.members.len());
        for (key, value) in self.pairs() {
            let place = match &places {
                Some(places) => places.get(key).copied(),
                None => left.iter().position(|pair| pair.is_some_and(|(other, _)| other == key)),
            };
            let (_, value) = place.and_then(|place| left[place].take()).unwrap_or((key, value));
            append(&mut out, &mut members, key, value);
        }
        for (key, value) in left.into_iter().flatten() {
            append(&mut out, &mut members, key, value);
        }
        if members.is_empty() {
            out.push(b'{');
        }
        out.push(b'}');
        Object { text: out.into(), members: members.into() }
    }

    fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        pairs(&self.text, 1, &self.members)
    }
}

fn append(out: &mut Vec<u8>, members: &mut Vec<Member>, key: &[u8], value: &[u8]) {
    out.push(if members.is_empty() { b'{' } else { b',' });
    out.extend_from_slice(key);
    let key_end = place(out);
    out.push(b':');
    out.extend_from_slice(value);
    members.push(Member { key_end, end: place(out) });
}

/// Keys and values of an object of which the first member begins at `start`, as they are written.
fn pairs<'a>(text: &'a [u8], start: usize, members: &'a [Member]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    members.iter().scan(start, move |begin, member| {
        let (key_end, end) = (member.key_end as usize, member.end as usize);
        let pair = (&text[*begin..key_end], &text[key_end + 1..end]);
        *begin = end + 1;
        Some(pair)
    })
}

fn has_duplicates(text: &[u8], start: usize, members: &[Member]) -> bool {
    let keys = || pairs(text, start, members).map(|(key, _)| key);
    if members.len() > FEW {
        let mut seen = HashSet::with_capacity(members.len());
        return !keys().all(|key| seen.insert(key));
    }
    keys().enumerate().any(|(number, key)| keys().take(number).any(|other| other == key))
}

/// A place in a text. Messages of the log have a few megabytes at most.
fn place(out: &[u8]) -> u32 {
    u32::try_from(out.len()).expect("a text of the log has less than 4 GB")
}

fn doubtful<E: Error>() -> E {
    E::custom("doubtful")
}

/// Writes a value as it is parsed. Nothing is built.
struct Writer<'w> {
    out: &'w mut Vec<u8>,
    depth: usize,
    any_number: bool,
}

impl Writer<'_> {
    /// A writer of what is inside.
    fn inner(&mut self) -> Writer<'_> {
        Writer { out: self.out, depth: self.depth + 1, any_number: self.any_number }
    }

    fn string<E: Error>(&mut self, text: &str) -> Result<(), E> {
        let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
        if text.as_bytes().iter().all(plain) {
            self.out.push(b'"');
            self.out.extend_from_slice(text.as_bytes());
            self.out.push(b'"');
            return Ok(());
        }
        if text.as_bytes().contains(&0) {
            return Err(doubtful());
        }
        serde_json::to_writer(&mut *self.out, text).map_err(|_| doubtful())
    }

    fn integer(&mut self, number: impl itoa::Integer) {
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    fn object<'de, A: MapAccess<'de>>(mut self, mut map: A, members: &mut Vec<Member>) -> Result<(), A::Error> {
        if self.depth > MAX_DEPTH {
            return Err(doubtful());
        }
        self.out.push(b'{');
        let start = self.out.len();
        while map.next_key_seed(Key(&mut self))?.is_some() {
            let key_end = place(self.out);
            self.out.push(b':');
            map.next_value_seed(self.inner())?;
            members.push(Member { key_end, end: place(self.out) });
            self.out.push(b',');
        }
        if has_duplicates(self.out, start, members) {
            return Err(doubtful());
        }
        self.close(start, b'}');
        Ok(())
    }

    fn close(&mut self, start: usize, bracket: u8) {
        if self.out.len() > start {
            self.out.pop();
        }
        self.out.push(bracket);
    }
}

impl<'de> DeserializeSeed<'de> for Writer<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Writer<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn visit_i64<E: Error>(mut self, value: i64) -> Result<(), E> {
        self.integer(value);
        Ok(())
    }

    fn visit_u64<E: Error>(mut self, value: u64) -> Result<(), E> {
        if i64::try_from(value).is_err() && !self.any_number {
            return Err(doubtful());
        }
        self.integer(value);
        Ok(())
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<(), E> {
        let is_plain = (DOUBLE_MIN..DOUBLE_END).contains(&value.abs());
        if !is_plain && !self.any_number {
            return Err(doubtful());
        }
        if is_plain && value.fract() == 0.0 {
            self.integer(value as i64);
        } else {
            self.out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
        }
        Ok(())
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<(), E> {
        self.string(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> Result<(), A::Error> {
        if self.depth > MAX_DEPTH {
            return Err(doubtful());
        }
        self.out.push(b'[');
        let start = self.out.len();
        while array.next_element_seed(self.inner())?.is_some() {
            self.out.push(b',');
        }
        self.close(start, b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.object(map, &mut Vec::new())
    }
}

/// A key of an object.
struct Key<'k, 'w>(&'k mut Writer<'w>);

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.string(text)
    }
}

/// The object that a text is, of which the members are kept.
struct Top<'w, 'm> {
    writer: Writer<'w>,
    members: &'m mut Vec<Member>,
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.writer.object(map, self.members)
    }
}
