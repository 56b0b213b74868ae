//! Pickles of weights: what `torch.save` writes, read without running anything.
//!
//! A pickle is a program for a small machine, which in Python may name and call any
//! function. This machine has no functions. It keeps what a pickle says in a table of
//! values; a name it does not know ends the reading, and a call of a name that it knows is
//! either one of the few that describe a tensor, or it makes a placeholder that remembers
//! its name and does nothing.
//!
//! ```text
//! globals   the names that a pickle may say, and what each means here
//! machine   the opcodes of protocols 0 to 5
//! walk      from the values to tensors with names
//! ```
//!
//! Promises
//! - Nothing is run, constructed or imported, and a name outside the list in `globals` is
//!   an error that says it.
//! - Work and memory are bounded by the pickle's length: a value said twice is one value,
//!   and a tree that says itself many times is refused where it is walked.
//!
//! Why this is ours: the reader that burn-store 0.22 uses (`pytorch-reader`) keeps unknown
//! names as silent placeholders, so that a file which names `os.system` would load without
//! a word; it opens paths, where we read the handle whose content was hashed; it copies
//! tensors, where we map them; and it brings a dozen crates to unpack archives that
//! `torch.save` never packs.

mod globals;
mod machine;
#[cfg(test)]
mod tests;
mod walk;

use std::borrow::Cow;
use std::collections::BTreeMap;

use safetensors::Dtype;

use self::globals::Meaning;
use self::machine::Machine;

/// A longer word is no storage's key.
const LONGEST_KEY: usize = 256;

/// A value's place in its pickle's table.
type Id = usize;

/// What a pickle says: values that refer to each other, and which of them is the object.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: Id,
    /// All storages that were named, by key.
    storages: BTreeMap<String, Storage>,
}

/// One thing that a pickle says.
#[derive(Debug, Clone)]
enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// A whole number of more than 8 bytes, little-endian.
    Wide(&'a [u8]),
    Float(f64),
    Text(Cow<'a, str>),
    Bytes,
    /// A list, a tuple or a set.
    Items(Vec<Id>),
    Pairs(Vec<(Id, Id)>),
    /// A name of the list in `globals`.
    Name(Meaning),
    Storage(Storage),
    Tensor(Box<Stored>),
    /// A thing of a class that is of no interest here, with its state if it has one.
    Placeholder {
        module: bool,
        state: Option<Id>,
    },
}

/// Numbers that tensors look into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    pub(super) key: String,
    pub(super) dtype: Dtype,
}

/// A tensor as a pickle describes it; counted in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) storage: Storage,
    pub(super) dtype: Dtype,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// What a checkpoint's pickle holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) tensors: BTreeMap<String, Stored>,
    /// Words and numbers beside the tensors.
    pub(super) notes: BTreeMap<String, String>,
    pub(super) storages: BTreeMap<String, Storage>,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle at the beginning of `bytes`; the answer is also how long it is.
    ///
    /// # Errors
    /// What the pickle does that weights do not, as the rest of a sentence about the file.
    pub(super) fn read(bytes: &'a [u8]) -> Result<(Self, usize), String> {
        Machine::new(bytes).run()
    }

    /// The object, where it is a whole number of more than 8 bytes.
    pub(super) fn wide(&self) -> Option<&'a [u8]> {
        match self.values[self.root] {
            Value::Wide(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The object, where it is a whole number.
    pub(super) fn int(&self) -> Option<i64> {
        match self.values[self.root] {
            Value::Int(int) => Some(int),
            _ => None,
        }
    }

    /// What the object, a dictionary, says under `name`.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match self.values[self.under(self.root, name)?] {
            Value::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    /// The words in the object, a list.
    ///
    /// # Errors
    /// It is no list of words.
    pub(super) fn texts(&self) -> Result<Vec<String>, String> {
        let no_list = || "holds no list of storages where one should stand".to_owned();
        let Value::Items(items) = &self.values[self.root] else {
            return Err(no_list());
        };
        let text = |id: &Id| {
            let key = self.key(*id).filter(|key| key.len() <= LONGEST_KEY);
            key.map(Cow::into_owned).ok_or_else(no_list)
        };
        items.iter().map(text).collect()
    }

    fn under(&self, dictionary: Id, name: &str) -> Option<Id> {
        let Value::Pairs(pairs) = &self.values[dictionary] else {
            return None;
        };
        let said = |id: Id| matches!(&self.values[id], Value::Text(text) if text == name);
        pairs
            .iter()
            .rev()
            .find(|(key, _)| said(*key))
            .map(|pair| pair.1)
    }

    /// A key of a dictionary, or a storage's, as a word.
    fn key(&self, id: Id) -> Option<Cow<'_, str>> {
        match &self.values[id] {
            Value::Text(text) => Some(Cow::Borrowed(text)),
            Value::Int(int) => Some(int.to_string().into()),
            _ => None,
        }
    }
}
