//! The opcodes of a pickle: protocols 0 to 5, of which `torch.save` writes the second.
//!
//! Promises
//! - Each opcode costs what its own bytes cost: what is said again is referred to.
//! - Opcodes that import by number, or make things of other means than those `torch.save`
//!   uses, are refused.
//!
//! Not here: which names are allowed (`globals`), what the values mean (`walk`).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::globals::{Meaning, meaning};
use super::{Id, Pickle, Storage, Stored, Value};

/// More values than any checkpoint's description has.
const MOST_VALUES: usize = 4 << 20;

/// More bytes than any checkpoint's description has.
const MOST_BYTES: usize = 32 << 20;

type Step<T = ()> = Result<T, String>;

pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    storages: BTreeMap<String, Storage>,
    /// How many values were copied from one list into another.
    copied: usize,
}

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes: &bytes[..bytes.len().min(MOST_BYTES)],
            at: 0,
            values: vec![],
            stack: vec![],
            marks: vec![],
            memo: HashMap::new(),
            storages: BTreeMap::new(),
            copied: 0,
        }
    }

    /// Reads to the end of the pickle, which is told with its length.
    pub(super) fn run(mut self) -> Step<(Pickle<'a>, usize)> {
        loop {
            let [opcode] = self.take()?;
            if opcode == b'.' {
                break;
            }
            self.step(opcode)?;
            if self.values.len() + self.copied > MOST_VALUES {
                return fail(format!("has a pickle of more than {MOST_VALUES} values"));
            }
        }
        let root = self.pop()?;
        let pickle = Pickle {
            values: self.values,
            root,
            storages: self.storages,
        };
        Ok((pickle, self.at))
    }

    fn step(&mut self, opcode: u8) -> Step {
        match opcode {
            0x80 => self.protocol(),
            0x95 => self.take::<8>().map(drop), // FRAME: a length that is of no use here
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'1' => self.above_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'I' | b'L' | b'F' | b'J' | b'K' | b'M' | b'G' | 0x8a | 0x8b => self.number(opcode),
            b'S' | b'V' | b'X' | b'T' | b'U' | 0x8c | 0x8d => self.text(opcode),
            b'B' | b'C' | 0x8e | 0x96 => self.raw(opcode),
            b')' | 0x85 | 0x86 | 0x87 | b't' | b']' | b'l' | 0x8f | 0x91 => self.items(opcode),
            b'}' => self.push(Value::Pairs(vec![])),
            b'd' => {
                let items = self.above_mark()?;
                self.push(Value::Pairs(pairs(&items)?))
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])
            }
            b'e' | 0x90 => {
                let items = self.above_mark()?;
                self.extend(items)
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.insert(&[key, value])
            }
            b'u' => {
                let items = self.above_mark()?;
                self.insert(&items)
            }
            b'p' | b'q' | b'r' | 0x94 => self.remember(opcode),
            b'g' | b'h' | b'j' => self.recall(opcode),
            b'c' | 0x93 | b'i' => self.name(opcode),
            b'Q' => self.storage(),
            b'R' => {
                let arguments = self.pop()?;
                let called = self.pop()?;
                let made = self.call(called, arguments)?;
                self.stack.push(made);
                Ok(())
            }
            0x81 | 0x92 => self.object(opcode),
            b'b' => self.build(),
            other => fail(format!(
                "has the opcode {other:#04x} at byte {}, which torch.save does not write",
                self.at - 1
            )),
        }
    }

    fn protocol(&mut self) -> Step {
        match self.take()? {
            [0..=5] => Ok(()),
            [newer] => fail(format!("is a pickle of protocol {newer}, wanted at most 5")),
        }
    }

    fn number(&mut self, opcode: u8) -> Step {
        let value = match opcode {
            b'K' => Value::Int(i64::from(self.take::<1>()?[0])),
            b'M' => Value::Int(i64::from(u16::from_le_bytes(self.take()?))),
            b'J' => Value::Int(i64::from(i32::from_le_bytes(self.take()?))),
            b'G' => Value::Float(f64::from_be_bytes(self.take()?)),
            b'F' => Value::Float(self.parsed()?),
            b'I' => match self.line()? {
                "00" => Value::Bool(false),
                "01" => Value::Bool(true),
                digits => Value::Int(digits.parse().map_err(|_| astray("a number"))?),
            },
            b'L' => {
                let digits = self.line()?;
                let digits = digits.strip_suffix('L').unwrap_or(digits);
                Value::Int(digits.parse().map_err(|_| astray("a number"))?)
            }
            0x8a => {
                let length = usize::from(self.take::<1>()?[0]);
                whole(self.slice(length)?)
            }
            _ => {
                let length = u32::from_le_bytes(self.take()?);
                whole(self.slice(length as usize)?)
            }
        };
        self.push(value)
    }

    fn text(&mut self, opcode: u8) -> Step {
        let bytes = match opcode {
            b'S' => {
                let line = self.line()?;
                let quoted = line.len() >= 2 && line.starts_with(['\'', '"']);
                if !quoted || line.as_bytes()[0] != line.as_bytes()[line.len() - 1] {
                    return Err(astray("a word in quotes"));
                }
                &line.as_bytes()[1..line.len() - 1]
            }
            b'V' => self.line()?.as_bytes(),
            b'U' | 0x8c => {
                let length = usize::from(self.take::<1>()?[0]);
                self.slice(length)?
            }
            b'X' | b'T' => {
                let length = u32::from_le_bytes(self.take()?);
                self.slice(length as usize)?
            }
            _ => self.long_slice()?,
        };
        // The words of Python 2 are bytes: what is no text there names no tensor.
        let text = match opcode {
            b'U' | b'T' => String::from_utf8_lossy(bytes),
            _ => Cow::Borrowed(std::str::from_utf8(bytes).map_err(|_| astray("text"))?),
        };
        self.push(Value::Text(text))
    }

    fn raw(&mut self, opcode: u8) -> Step {
        match opcode {
            b'C' => {
                let length = usize::from(self.take::<1>()?[0]);
                self.slice(length)?
            }
            b'B' => {
                let length = u32::from_le_bytes(self.take()?);
                self.slice(length as usize)?
            }
            _ => self.long_slice()?,
        };
        self.push(Value::Bytes)
    }

    fn items(&mut self, opcode: u8) -> Step {
        let items = match opcode {
            b')' | b']' | 0x8f => vec![],
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let from = self.floor(count)?;
                self.stack.split_off(from)
            }
            _ => self.above_mark()?,
        };
        self.push(Value::Items(items))
    }

    /// Adds to the list on top.
    fn extend(&mut self, items: Vec<Id>) -> Step {
        let top = self.top()?;
        match &mut self.values[top] {
            Value::Items(list) => list.extend(items),
            Value::Placeholder { .. } => {}
            _ => return Err(astray("a list")),
        }
        Ok(())
    }

    /// Adds to the dictionary on top.
    fn insert(&mut self, items: &[Id]) -> Step {
        let (top, items) = (self.top()?, pairs(items)?);
        match &mut self.values[top] {
            Value::Pairs(pairs) => pairs.extend(items),
            Value::Placeholder { .. } => {}
            _ => return Err(astray("a dictionary")),
        }
        Ok(())
    }

    fn remember(&mut self, opcode: u8) -> Step {
        let top = self.top()?;
        let index = match opcode {
            b'p' => self.parsed()?,
            b'q' => u32::from(self.take::<1>()?[0]),
            b'r' => u32::from_le_bytes(self.take()?),
            _ => u32::try_from(self.memo.len()).map_err(|_| astray("a memo"))?,
        };
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, opcode: u8) -> Step {
        let index = match opcode {
            b'g' => self.parsed()?,
            b'h' => u32::from(self.take::<1>()?[0]),
            _ => u32::from_le_bytes(self.take()?),
        };
        let id = self
            .memo
            .get(&index)
            .ok_or_else(|| astray("a remembered value"))?;
        self.stack.push(*id);
        Ok(())
    }

    /// A name of another module: known, or the end.
    fn name(&mut self, opcode: u8) -> Step {
        let lines;
        let (module, name) = match opcode {
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.values[module], &self.values[name]) {
                    (Value::Text(module), Value::Text(name)) => (&**module, &**name),
                    _ => return fail("computes the name of what it imports".to_owned()),
                }
            }
            _ => {
                lines = (self.line()?, self.line()?);
                lines
            }
        };
        let short = module.len().max(name.len()) <= LONGEST_NAME;
        let Some(meaning) = meaning(module, name).filter(|_| short) else {
            return fail(format!(
                "names `{}.{}`, which weights have no need of; nothing of it was run: do not \
                 trust this file",
                shown(module),
                shown(name)
            ));
        };
        if opcode == b'i' {
            return fail(format!(
                "makes a `{module}.{name}` in a way that torch.save does not"
            ));
        }
        self.push(Value::Name(meaning))
    }

    /// A reference to numbers beside the pickle: ('storage', class, key, place, count, …).
    fn storage(&mut self) -> Step {
        let id = self.pop()?;
        let parts = self.few(id)?;
        let [kind, class, key, _, _, rest @ ..] = &parts[..] else {
            return Err(astray("a storage"));
        };
        let is_storage = matches!(&self.values[*kind], Value::Text(text) if text == "storage");
        let plain = rest
            .iter()
            .all(|id| matches!(self.values[*id], Value::None));
        let (Value::Name(Meaning::Numbers(dtype)), true, true) =
            (&self.values[*class], is_storage, plain)
        else {
            return Err(astray("a storage"));
        };
        let key = match &self.values[*key] {
            Value::Text(text) if text.len() <= LONGEST_NAME => text.to_string(),
            Value::Int(int) => int.to_string(),
            _ => return Err(astray("the key of a storage")),
        };
        let storage = Storage {
            key: key.clone(),
            dtype: *dtype,
        };
        self.storages.insert(key, storage.clone());
        self.push(Value::Storage(storage))
    }

    /// What a call of the name `called` makes: a description, never the thing.
    fn call(&mut self, called: Id, arguments: Id) -> Step<Id> {
        let Value::Name(meaning) = self.values[called] else {
            return fail("calls what is no name".to_owned());
        };
        let arguments = self.few(arguments)?;
        let first = arguments.first().copied();
        let made = match meaning {
            Meaning::Tensor => self.tensor(&arguments, None)?,
            Meaning::TypedTensor => {
                let dtype = arguments.get(6).map(|id| &self.values[*id]);
                let Some(Value::Name(Meaning::Numbers(dtype))) = dtype else {
                    return Err(astray("a number type"));
                };
                self.tensor(&arguments, Some(*dtype))?
            }
            Meaning::First => return first.ok_or_else(|| astray("a tensor")),
            Meaning::Inner => match arguments[..] {
                [function, _, inner, _] if !self.is_inner(function) => {
                    return self.call(function, inner);
                }
                _ => return Err(astray("a tensor of another class")),
            },
            Meaning::Dictionary => self.dictionary(first)?,
            Meaning::Sequence => match first {
                Some(list) if matches!(self.values[list], Value::Items(_)) => return Ok(list),
                _ => Value::Items(vec![]),
            },
            Meaning::Numbers(_) => return fail("calls a number type".to_owned()),
            Meaning::Placeholder { module } => Value::Placeholder {
                module: module || first.is_some_and(|class| self.is_module(class)),
                state: None,
            },
        };
        Ok(self.keep(made))
    }

    /// `collections.OrderedDict` of pairs; of anything else, of which a `defaultdict` is
    /// made, an empty one.
    fn dictionary(&mut self, pairs: Option<Id>) -> Step<Value<'a>> {
        let Some(Value::Items(items)) = pairs.map(|id| &self.values[id]) else {
            return Ok(Value::Pairs(vec![]));
        };
        self.copied += items.len();
        let pair = |id: &Id| match self.few(*id)?[..] {
            [key, value] => Ok((key, value)),
            _ => Err(astray("a pair")),
        };
        Ok(Value::Pairs(items.iter().map(pair).collect::<Step<_>>()?))
    }

    fn tensor(&self, arguments: &[Id], dtype: Option<safetensors::Dtype>) -> Step<Value<'a>> {
        let [storage, offset, shape, strides, ..] = arguments else {
            return Err(astray("a tensor"));
        };
        let Value::Storage(storage) = &self.values[*storage] else {
            return Err(astray("the storage of a tensor"));
        };
        let (shape, strides) = (self.sizes(*shape)?, self.sizes(*strides)?);
        if shape.len() != strides.len() {
            return fail(format!(
                "describes a tensor of shape {shape:?}, strides {strides:?}"
            ));
        }
        Ok(Value::Tensor(Box::new(Stored {
            dtype: dtype.unwrap_or(storage.dtype),
            storage: storage.clone(),
            offset: self.size(*offset)?,
            shape,
            strides,
        })))
    }

    fn sizes(&self, list: Id) -> Step<Vec<usize>> {
        self.few(list)?.iter().map(|id| self.size(*id)).collect()
    }

    fn size(&self, id: Id) -> Step<usize> {
        match self.values[id] {
            Value::Int(int) => usize::try_from(int)
                .map_err(|_| format!("describes a tensor with the size, stride or offset {int}")),
            _ => Err(astray("a size")),
        }
    }

    /// A class with arguments, to be made without its constructor.
    fn object(&mut self, opcode: u8) -> Step {
        if opcode == 0x92 {
            self.pop()?; // arguments with names
        }
        let arguments = self.pop()?;
        let class = self.pop()?;
        let made = match &self.values[class] {
            Value::Name(Meaning::Placeholder { .. } | Meaning::Dictionary | Meaning::Sequence) => {
                self.call(class, arguments)?
            }
            _ => return fail("makes an object of what is no class".to_owned()),
        };
        self.stack.push(made);
        Ok(())
    }

    /// Gives an object its state. Of tensors and dictionaries, that is of no interest.
    fn build(&mut self) -> Step {
        let given = self.pop()?;
        let top = self.top()?;
        match &mut self.values[top] {
            Value::Placeholder { state, .. } => *state = Some(given),
            Value::Tensor(_) | Value::Pairs(_) => {}
            _ => return fail("gives a state to what has none".to_owned()),
        }
        Ok(())
    }

    fn is_inner(&self, id: Id) -> bool {
        matches!(self.values[id], Value::Name(Meaning::Inner))
    }

    fn is_module(&self, id: Id) -> bool {
        let module = Meaning::Placeholder { module: true };
        matches!(self.values[id], Value::Name(meaning) if meaning == module)
    }

    /// A short list: arguments, sizes, a pair.
    fn few(&self, id: Id) -> Step<Vec<Id>> {
        match &self.values[id] {
            Value::Items(items) if items.len() <= MOST_ITEMS => Ok(items.clone()),
            Value::Items(_) => Err(astray("a short list")),
            _ => Err(astray("a list")),
        }
    }

    fn keep(&mut self, value: Value<'a>) -> Id {
        self.values.push(value);
        self.values.len() - 1
    }

    fn push(&mut self, value: Value<'a>) -> Step {
        let id = self.keep(value);
        self.stack.push(id);
        Ok(())
    }

    /// Where `count` values above the last mark begin.
    fn floor(&self, count: usize) -> Step<usize> {
        let mark = self.marks.last().copied().unwrap_or(0);
        let from = self.stack.len().checked_sub(count);
        from.filter(|from| *from >= mark)
            .ok_or_else(|| astray("a value"))
    }

    fn top(&self) -> Step<Id> {
        Ok(self.stack[self.floor(1)?])
    }

    fn pop(&mut self) -> Step<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn above_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| astray("a mark"))?;
        Ok(self.stack.split_off(mark))
    }

    fn take<const N: usize>(&mut self) -> Step<[u8; N]> {
        let bytes = self.bytes[self.at..]
            .first_chunk()
            .ok_or_else(|| self.end())?;
        self.at += N;
        Ok(*bytes)
    }

    fn slice(&mut self, length: usize) -> Step<&'a [u8]> {
        let bytes = self.bytes[self.at..]
            .get(..length)
            .ok_or_else(|| self.end())?;
        self.at += length;
        Ok(bytes)
    }

    fn long_slice(&mut self) -> Step<&'a [u8]> {
        let length = u64::from_le_bytes(self.take()?);
        self.slice(usize::try_from(length).map_err(|_| self.end())?)
    }

    fn line(&mut self) -> Step<&'a str> {
        let rest = &self.bytes[self.at..];
        let searched = &rest[..rest.len().min(LONGEST_LINE)];
        let end = searched.iter().position(|b| *b == b'\n');
        let length = end.ok_or_else(|| self.end())?;
        self.at += length + 1;
        std::str::from_utf8(&rest[..length]).map_err(|_| astray("text"))
    }

    /// The bytes end before the pickle does.
    fn end(&self) -> String {
        match self.bytes.len() < MOST_BYTES {
            true => "is a pickle that was cut short; fetch it again".to_owned(),
            false => format!("has a pickle of more than {MOST_BYTES} bytes, too long for weights"),
        }
    }

    fn parsed<T: std::str::FromStr>(&mut self) -> Step<T> {
        self.line()?.parse().map_err(|_| astray("a number"))
    }
}

/// More than a tensor has axes, or a call arguments.
const MOST_ITEMS: usize = 16;

/// A longer name is none of a module, a class or a storage.
const LONGEST_NAME: usize = 256;

/// A line of more bytes is no line.
const LONGEST_LINE: usize = 1 << 16;

fn pairs(items: &[Id]) -> Step<Vec<(Id, Id)>> {
    let (pairs, odd) = items.as_chunks::<2>();
    match odd {
        [] => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
        _ => Err(astray("a value for each key")),
    }
}

/// A whole number of any length, two's complement.
fn whole(bytes: &[u8]) -> Value<'_> {
    let Some(last) = bytes.last() else {
        return Value::Int(0);
    };
    if bytes.len() > 8 {
        return Value::Wide(bytes);
    }
    let mut number = [if last & 0x80 == 0 { 0 } else { 0xff }; 8];
    number[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(number))
}

/// A name as it may be printed: short, and without control characters.
fn shown(name: &str) -> String {
    let plain = |c: char| if c.is_control() { '?' } else { c };
    name.chars().take(80).map(plain).collect()
}

fn fail<T>(what: String) -> Step<T> {
    Err(what)
}

fn astray(wanted: &str) -> String {
    format!("is a damaged pickle: it lacks {wanted} where one should stand; fetch it again")
}
