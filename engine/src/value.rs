//! What travels on links, known to the engine by a descriptor only.
//!
//! A node library implements [`Data`] for its types. *Data* (a picture, a latent, a number) has
//! its bytes as identity and is kept by the cache; a *handle* (a model) is identified by what it
//! is made of and is kept by no result tier: it is opened again when it is needed.
//!
//! Promise: equal identity means equal value, also across processes and machines.
//!
//! Not here: where values are kept (`cache`), what the types are (the node library; `Text`,
//! `Int`, `Float` and `Bool` live here because settings are made of them).

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::literal::Lit;

/// The name of a value by its content: a blake3 hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity(pub [u8; 32]);

/// Its bytes are a hash already: a table needs no more than the first of them.
impl std::hash::Hash for Identity {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// A table by identity.
pub(crate) type IdentityMap<T> = HashMap<Identity, T, BuildHasherDefault<FirstBytes>>;

/// Takes the one number that an [`Identity`] writes for its hash.
#[derive(Default)]
pub(crate) struct FirstBytes(u64);

impl std::hash::Hasher for FirstBytes {
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("an identity writes a number");
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

impl Identity {
    /// The hash of labelled parts; parts cannot run into each other, each carries its length.
    ///
    /// ```
    /// use ldm_engine::Identity;
    /// assert_ne!(Identity::of(&[b"ab", b"c"]), Identity::of(&[b"a", b"bc"]));
    /// ```
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Hasher::default();
        for part in parts {
            hasher.part(part);
        }
        hasher.finish()
    }

    /// Reads the 64 hexadecimal digits that `Display` writes.
    pub fn from_hex(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text)
            .ok()
            .map(|hash| Self(*hash.as_bytes()))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex()[..12])
    }
}

/// As hexadecimal digits.
impl Serialize for Identity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("wanted 64 hex digits"))
    }
}

/// Builds an [`Identity`] from parts, each with its length before it.
///
/// Most parts are short and calls are what they cost, so bytes are gathered; most identities are
/// of so few that no state is needed at all.
#[derive(Clone)]
pub struct Hasher {
    gathered: [u8; ROOM],
    filled: usize,
    /// What came before, where it was more than there is room for.
    before: Option<blake3::Hasher>,
}

/// Bytes that are gathered: more than the key of a node with a few links and settings has.
const ROOM: usize = 512;

impl Default for Hasher {
    fn default() -> Self {
        Self {
            gathered: [0; ROOM],
            filled: 0,
            before: None,
        }
    }
}

impl Hasher {
    /// Adds one part.
    pub fn part(&mut self, bytes: &[u8]) -> &mut Self {
        self.more(&(bytes.len() as u64).to_le_bytes());
        self.more(bytes);
        self
    }

    /// Adds bytes to the last part, whose whole length an earlier part told.
    pub(crate) fn more(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len();
        if let Some(room) = self.gathered.get_mut(self.filled..end) {
            room.copy_from_slice(bytes);
            self.filled = end;
            return;
        }
        let before = self.before.get_or_insert_default();
        before.update(&self.gathered[..self.filled]).update(bytes);
        self.filled = 0;
    }

    /// The identity of all parts so far.
    pub fn finish(&self) -> Identity {
        let gathered = &self.gathered[..self.filled];
        let hash = match &self.before {
            None => blake3::hash(gathered),
            Some(before) => before.clone().update(gathered).finalize(),
        };
        Identity(*hash.as_bytes())
    }
}

/// How long a value may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Storage {
    /// By its bytes, in the cache.
    Object,
    /// Not at all: whoever made it makes it again, cheaply. Models are handles; their weights
    /// are read on first use and have a budget of their own.
    Handle,
}

/// A type whose values travel on links.
///
/// The only part that needs thought is `identity`: two values with the same identity must be
/// interchangeable. For data use [`Identity::of`] over name, shape and bytes (for floats, bits).
pub trait Data: Send + Sync + Sized + 'static {
    /// The type's name in messages and on the reference page: `Latent`.
    const NAME: &'static str;

    /// The format of what [`Data::save`] gives; raised when it is written in another way, so
    /// that what an older program stored is not read.
    const FORMAT: u32 = 1;

    /// The hash of what the value is (data) or of what it is made of (handles).
    fn identity(&self) -> Identity;

    /// Bytes of memory the value holds, for the cache's budget.
    fn bytes(&self) -> u64;

    /// Whether the cache may keep this value.
    fn storage(&self) -> Storage {
        Storage::Object
    }

    /// The value as bytes, for the disk tier. Data must give them; handles are never asked.
    ///
    /// # Errors
    /// When the value cannot be written down.
    fn save(&self) -> Result<Cow<'_, [u8]>> {
        Err(Error::new(format!("a {} cannot be stored", Self::NAME)))
    }

    /// The value back from what [`Data::save`] gave.
    ///
    /// # Errors
    /// When the bytes are not such a value.
    fn load(_bytes: Vec<u8>) -> Result<Self> {
        Err(Error::new(format!("a {} cannot be read back", Self::NAME)))
    }

    /// The value as a setting, for the four types that settings can be linked to.
    fn literal(&self) -> Option<Lit> {
        None
    }
}

/// The descriptor of a [`Data`] type.
#[derive(Clone, Copy)]
pub struct DataType {
    /// [`Data::NAME`]
    pub name: &'static str,
    /// [`Data::FORMAT`]
    pub format: u32,
    /// [`Data::load`], type-erased: the value of that identity from bytes that are known to be
    /// its own.
    pub load: fn(Vec<u8>, Identity) -> Result<Value>,
}

impl DataType {
    /// The descriptor of `T`.
    pub const fn of<T: Data>() -> Self {
        Self {
            name: T::NAME,
            format: T::FORMAT,
            load: |bytes, identity| {
                let data = Arc::new(T::load(bytes)?);
                Ok(Value { data, identity })
            },
        }
    }
}

impl PartialEq for DataType {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for DataType {}

impl fmt::Debug for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A value of any [`Data`] type; cloning shares it. Its identity is computed once.
#[derive(Clone)]
pub struct Value {
    data: Arc<dyn Erased>,
    identity: Identity,
}

impl Value {
    /// Takes a value in.
    pub fn new<T: Data>(data: T) -> Self {
        let identity = data.identity();
        Self {
            data: Arc::new(data),
            identity,
        }
    }

    /// The value as its own type, or nothing when it is of another.
    pub fn get<T: Data>(&self) -> Option<Arc<T>> {
        Arc::clone(&self.data).any().downcast().ok()
    }

    /// The value's identity.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Its type's name.
    pub fn type_name(&self) -> &'static str {
        self.data.name()
    }

    /// The format in which it is stored.
    pub(crate) fn format(&self) -> u32 {
        self.data.format()
    }

    /// Bytes of memory it holds.
    pub fn bytes(&self) -> u64 {
        self.data.bytes()
    }

    /// Whether the cache may keep it.
    pub fn storage(&self) -> Storage {
        self.data.storage()
    }

    /// The value as bytes; see [`Data::save`].
    ///
    /// # Errors
    /// When the value cannot be written down.
    pub fn save(&self) -> Result<Cow<'_, [u8]>> {
        self.data.save()
    }

    /// The value as a setting, where it is a text or a number.
    pub fn literal(&self) -> Option<Lit> {
        self.data.literal()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.type_name(), self.identity)
    }
}

trait Erased: Send + Sync {
    fn name(&self) -> &'static str;
    fn format(&self) -> u32;
    fn bytes(&self) -> u64;
    fn storage(&self) -> Storage;
    fn save(&self) -> Result<Cow<'_, [u8]>>;
    fn literal(&self) -> Option<Lit>;
    fn any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<T: Data> Erased for T {
    fn name(&self) -> &'static str {
        T::NAME
    }
    fn format(&self) -> u32 {
        T::FORMAT
    }
    fn bytes(&self) -> u64 {
        Data::bytes(self)
    }
    fn storage(&self) -> Storage {
        Data::storage(self)
    }
    fn save(&self) -> Result<Cow<'_, [u8]>> {
        Data::save(self)
    }
    fn literal(&self) -> Option<Lit> {
        Data::literal(self)
    }
    fn any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

macro_rules! scalar {
    ($name:ident, $inner:ty, $word:literal, $doc:literal, $bytes:expr, $lit:expr, $load:expr) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name(pub $inner);

        impl Data for $name {
            const NAME: &'static str = $word;

            fn identity(&self) -> Identity {
                let lit: Lit = $lit(&self.0);
                Identity::of(&[Self::NAME.as_bytes(), lit.to_string().as_bytes()])
            }
            fn bytes(&self) -> u64 {
                $bytes(&self.0)
            }
            fn save(&self) -> Result<Cow<'_, [u8]>> {
                let lit: Lit = $lit(&self.0);
                Ok(lit.to_string().into_bytes().into())
            }
            fn load(bytes: Vec<u8>) -> Result<Self> {
                let text = std::str::from_utf8(&bytes)?;
                let load: fn(&str) -> Result<$inner> = $load;
                load(text).map(Self)
            }
            fn literal(&self) -> Option<Lit> {
                Some($lit(&self.0))
            }
        }
    };
}

scalar!(
    Text,
    String,
    "Text",
    "Text on a link.",
    |text: &String| text.len() as u64 + 24,
    |text: &String| Lit::Text(text.clone()),
    |text| Ok(ron::from_str(text)?)
);
scalar!(
    Int,
    i128,
    "Int",
    "A whole number on a link; wide enough for any seed.",
    |_: &i128| 16,
    |value: &i128| Lit::Int(*value),
    |text| Ok(text.parse()?)
);
scalar!(
    Float,
    f64,
    "Float",
    "A number on a link.",
    |_: &f64| 8,
    |value: &f64| Lit::Float(*value),
    |text| Ok(text.parse()?)
);
scalar!(
    Bool,
    bool,
    "Bool",
    "Yes or no on a link.",
    |_: &bool| 1,
    |value: &bool| Lit::Bool(*value),
    |text| Ok(text.parse()?)
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_any_length_are_hashed_as_one_text() {
        for lengths in [
            [0, 1, 2],
            [500, 4, 1],
            [496, 0, 0],
            [600, 3, 511],
            [3, 5000, 9],
        ] {
            let (mut hasher, mut whole) = (Hasher::default(), Vec::new());
            for length in lengths {
                let bytes: Vec<u8> = (0..length).map(|at: usize| at.to_le_bytes()[0]).collect();
                hasher.part(&bytes);
                whole.extend((length as u64).to_le_bytes());
                whole.extend(bytes);
            }
            let expected = Identity(*blake3::hash(&whole).as_bytes());
            assert_eq!(hasher.finish(), expected, "{lengths:?}");
        }
    }
}
