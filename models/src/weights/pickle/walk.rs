//! From what a pickle says to tensors with names.
//!
//! A name is the way from the top: `encoder.conv_in.weight`. What a trainer wraps around
//! its weights is left away: the object's `state_dict`, or a dictionary that is its only
//! entry. A tensor that is saved alone has an empty name; a whole network that was saved as
//! an object gives the names that its `state_dict` would.
//!
//! Promise: a value that is reached in more ways than weights can be is an error, not an
//! endless walk.

use std::borrow::Cow;

use super::{Found, Id, Pickle, Value};

/// How deep a checkpoint's dictionaries go at most.
const DEEPEST: usize = 64;

/// As many values as are looked at at most, counted with repetition.
const MOST_LOOKS: usize = 4 << 20;

/// More tensors than any checkpoint has.
const MOST_TENSORS: usize = 1 << 17;

/// A longer name is no tensor's.
const LONGEST_NAME: usize = 512;

/// A longer word beside the weights is no note, and there are no more of them.
const LONGEST_NOTE: usize = 256;
const MOST_NOTES: usize = 256;

impl Pickle<'_> {
    /// All tensors under their names, and the words and numbers beside them.
    ///
    /// # Errors
    /// Where there is no tensor, or no end.
    pub(in super::super) fn tensors(self) -> Result<Found, String> {
        let mut walk = Walk {
            pickle: &self,
            found: Found::default(),
            looks: 0,
        };
        walk.notes();
        walk.visit(self.weights(), "", 0)?;
        let mut found = walk.found;
        if found.tensors.is_empty() {
            return Err("holds no tensors; name a file that does".to_owned());
        }
        found.storages = self.storages;
        Ok(found)
    }

    /// What is inside the wrapping.
    fn weights(&self) -> Id {
        let dictionary = |id: &Id| matches!(self.values[*id], Value::Pairs(_));
        if let Some(inside) = self.under(self.root, "state_dict").filter(dictionary) {
            return inside;
        }
        match &self.values[self.root] {
            Value::Pairs(pairs) if pairs.len() == 1 && dictionary(&pairs[0].1) => pairs[0].1,
            _ => self.root,
        }
    }
}

struct Walk<'p, 'a> {
    pickle: &'p Pickle<'a>,
    found: Found,
    looks: usize,
}

impl Walk<'_, '_> {
    /// Keeps the words and numbers at the top.
    fn notes(&mut self) {
        let Value::Pairs(pairs) = &self.pickle.values[self.pickle.root] else {
            return;
        };
        for (key, value) in pairs.iter().take(MOST_NOTES) {
            let note = match &self.pickle.values[*value] {
                Value::Text(text) if text.len() <= LONGEST_NOTE => text.to_string(),
                Value::Int(int) => int.to_string(),
                Value::Float(float) => float.to_string(),
                _ => continue,
            };
            if let Some(key) = self
                .pickle
                .key(*key)
                .filter(|key| key.len() <= LONGEST_NOTE)
            {
                self.found.notes.insert(key.into_owned(), note);
            }
        }
    }

    /// All tensors below the value `id`, which is called `name`.
    fn visit(&mut self, id: Id, name: &str, depth: usize) -> Result<(), String> {
        let pickle = self.pickle;
        self.bounded(depth)?;
        match &pickle.values[id] {
            Value::Tensor(tensor) => {
                self.found
                    .tensors
                    .insert(name.to_owned(), (**tensor).clone());
            }
            Value::Pairs(pairs) => {
                for (key, value) in pairs {
                    self.child(*value, name, depth, pickle.key(*key))?;
                }
            }
            Value::Items(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.child(*item, name, depth, Some(i.to_string().into()))?;
                }
            }
            Value::Placeholder {
                module: true,
                state: Some(state),
            } => {
                for table in ["_parameters", "_buffers", "_modules"] {
                    if let Some(table) = pickle.under(*state, table) {
                        self.visit(table, name, depth + 1)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What stands under a key, if it can hold tensors and the key is a word.
    fn child(
        &mut self,
        id: Id,
        name: &str,
        depth: usize,
        key: Option<Cow<'_, str>>,
    ) -> Result<(), String> {
        self.looks += 1;
        let holds = match &self.pickle.values[id] {
            Value::Tensor(_) | Value::Pairs(_) | Value::Items(_) => true,
            Value::Placeholder { module, .. } => *module,
            _ => false,
        };
        match key {
            Some(key) if holds && name.len() + key.len() > LONGEST_NAME => Err(format!(
                "names a tensor with more than {LONGEST_NAME} bytes"
            )),
            Some(key) if holds && name.is_empty() => self.visit(id, &key, depth + 1),
            Some(key) if holds => self.visit(id, &format!("{name}.{key}"), depth + 1),
            _ => self.bounded(depth),
        }
    }

    fn bounded(&self, depth: usize) -> Result<(), String> {
        let many = self.looks > MOST_LOOKS || self.found.tensors.len() > MOST_TENSORS;
        match many || depth > DEEPEST {
            true => Err("nests deeper, or repeats itself more often, than weights do".to_owned()),
            false => Ok(()),
        }
    }
}
