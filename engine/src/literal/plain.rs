//! The plain syntax of graph files, read in one pass: text, decimal numbers, names, lists, maps,
//! calls, blanks and comments.
//!
//! Reading with `ron` looks at each byte once for every bracket around it, and at each leaf
//! several times. That is what decides what a file means and how its faults are worded; this is
//! for the files that have no fault. It gives nothing as soon as it meets anything else than the
//! above, and `ron` then reads the whole text from its start.
//!
//! Promise: what this gives is what `ron` gives, places included.

use crate::place::Spanned;

use super::read::{comment, integer, number_token, quoted};
use super::{Args, Call, DEEPEST, Lit};

/// Reads a whole text, if it is plain.
pub(super) fn read(text: &str) -> Option<Spanned<Lit>> {
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
    };
    reader.trivia()?;
    let value = reader.value()?;
    reader.trivia()?;
    (reader.at == text.len()).then_some(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Brackets that are open.
    depth: usize,
}

impl<'a> Reader<'a> {
    /// The byte that comes next; 0, which no plain text holds, at the end.
    fn next(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        let found = self.next() == byte;
        self.at += usize::from(found);
        found.then_some(())
    }

    /// Skips blanks and comments. One that the text ends in may lack its end: `ron` will tell.
    fn trivia(&mut self) -> Option<()> {
        loop {
            match self.next() {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                b'/' => {
                    self.at += comment(self.rest())?;
                    (self.at < self.text.len()).then_some(())?;
                }
                _ => return Some(()),
            }
        }
    }

    fn value(&mut self) -> Option<Spanned<Lit>> {
        let start = self.at;
        let value = match self.next() {
            b'"' => Lit::Text(self.quoted()?),
            b'[' => Lit::List(self.items(b']', Self::value)?),
            b'{' => Lit::Map(self.items(b'}', Self::entry)?),
            b'(' => self.call("")?,
            b'-' | b'0'..=b'9' => self.number()?,
            _ => self.word()?,
        };
        Some(Spanned::new(value, start..self.at))
    }

    /// Everything up to the closing bracket, a comma after each but, if one likes, the last.
    fn items<T>(&mut self, close: u8, read: fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.at += 1;
        self.depth += 1;
        (self.depth <= DEEPEST).then_some(())?;
        self.trivia()?;
        // Most brackets hold nothing, a thing or two, or far more.
        let room = if self.next() == close { 0 } else { 2 };
        let mut items = Vec::with_capacity(room);
        while self.next() != close {
            items.push(read(self)?);
            self.trivia()?;
            if self.next() != close {
                self.take(b',')?;
                self.trivia()?;
            }
        }
        self.at += 1;
        self.depth -= 1;
        Some(items)
    }

    /// `key: value` of a map.
    fn entry(&mut self) -> Option<(Spanned<Lit>, Spanned<Lit>)> {
        let key = self.value()?;
        self.colon()?;
        Some((key, self.value()?))
    }

    /// `name: value` of a call.
    fn field(&mut self) -> Option<(Spanned<String>, Spanned<Lit>)> {
        let start = self.at;
        let name = self.name()?.to_owned();
        let name = Spanned::new(name, start..self.at);
        self.colon()?;
        Some((name, self.value()?))
    }

    fn colon(&mut self) -> Option<()> {
        self.trivia()?;
        self.take(b':')?;
        self.trivia()
    }

    /// `Name`, `true`, `Name(…)`. What `ron` gives a meaning of its own is left to it.
    fn word(&mut self) -> Option<Lit> {
        let name = self.name()?;
        let end = self.at;
        self.trivia()?;
        let called = self.next() == b'(';
        if !called {
            self.at = end;
        }
        match (name, called) {
            ("true", false) => Some(Lit::Bool(true)),
            ("false", false) => Some(Lit::Bool(false)),
            ("true" | "false" | "Some", _) | ("None", true) => None,
            _ if name.starts_with("inf") || name.starts_with("NaN") => None,
            (_, true) => self.call(name),
            (_, false) => Some(Lit::Call(Call {
                name: self.named(name),
                args: Args::None,
            })),
        }
    }

    /// What stands in brackets after `name`.
    fn call(&mut self, name: &'a str) -> Option<Lit> {
        let name = match name.is_empty() {
            true => Spanned::new(String::new(), self.at..self.at),
            false => self.named(name),
        };
        let args = match self.holds_fields()? {
            true => Args::Named(self.items(b')', Self::field)?),
            false => Args::Positional(self.items(b')', Self::value)?),
        };
        Some(Lit::Call(Call { name, args }))
    }

    /// Whether the bracket that comes next is followed by `name:`.
    fn holds_fields(&mut self) -> Option<bool> {
        let start = self.at;
        self.at += 1;
        self.trivia()?;
        let named = self.name().is_some() && self.colon().is_some();
        self.at = start;
        Some(named)
    }

    /// `[A-Za-z_][A-Za-z0-9_]*`; letters of other alphabets are left to `ron`.
    fn name(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let length = rest.bytes().take_while(|byte| is_word(byte)).count();
        let name = &rest[..length];
        let starts_well = !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit());
        self.at += length;
        starts_well.then_some(name)
    }

    /// A name of this text, with its place.
    fn named(&self, name: &str) -> Spanned<String> {
        let start = name.as_ptr() as usize - self.text.as_ptr() as usize;
        Spanned::new(name.to_owned(), start..start + name.len())
    }

    fn quoted(&mut self) -> Option<String> {
        let rest = self.rest();
        let stop = |byte: u8| byte == b'"' || byte == b'\\';
        let end = 1 + rest.bytes().skip(1).position(stop)?;
        if rest.as_bytes()[end] == b'"' {
            self.at += end + 1;
            return Some(rest[1..end].to_owned());
        }
        let token = &rest[..quoted(rest)];
        self.at += token.len();
        ron::from_str(token).ok()
    }

    fn number(&mut self) -> Option<Lit> {
        let token = number_token(self.rest());
        self.at += token.len();
        let digits = token.strip_prefix('-').unwrap_or(token);
        // So many digits fit whatever they are.
        if (1..=18).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Lit::Int(token.parse::<i64>().ok()?.into()));
        }
        integer(token).or_else(|| ron::from_str(token).ok().map(Lit::Float))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::read::read_with_ron;
    use super::*;
    use crate::place::Source;

    /// Texts that are mostly right: leaves of every sort, in brackets, with trivia between.
    fn text() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "[A-Za-z_][A-Za-z0-9_]{0,4}",
            "\"[a-z /*,:\\[\\](){}é\n]{0,6}\"",
            "\"(\\\\(n|\"|\\\\|u\\{e9\\}|x41|q)|a|'){0,4}\"",
            "-?[0-9]{1,22}",
            "[-+]?[0-9_.eExbf]{1,6}",
            "(true|false|inf|NaN|None|Some|r#\"a\"#|'a'|b\"a\"|inff32|r#x|é)",
            "\\PC{1,2}",
        ];
        let blank = || prop_oneof![4 => Just(String::new()), 1 => trivia()];
        let value = leaf.prop_recursive(4, 24, 4, move |inner| {
            let item = (blank(), inner.clone(), blank()).prop_map(|(a, b, c)| a + &b + &c);
            let list = (prop::collection::vec(item.clone(), 0..4), "(,|, ,|,,)?")
                .prop_map(|(items, end)| format!("[{}{end}]", items.join(",")));
            let pair = (blank(), inner.clone(), blank(), inner)
                .prop_map(|(a, key, b, value)| format!("{a}{key}{b}:{value}"));
            let map = prop::collection::vec(pair.clone(), 0..3)
                .prop_map(|pairs| format!("{{{}}}", pairs.join(",")));
            let name = "([A-Za-z]{0,3}|Some|None|true|inf)";
            let call = (name, blank(), prop::collection::vec(item, 0..3))
                .prop_map(|(name, b, items)| format!("{name}{b}({})", items.join(",")));
            let field = ("[a-z]{1,3}", pair).prop_map(|(name, pair)| {
                let (_, value) = pair.split_once(':').unwrap_or(("", "1"));
                format!("{name}: {value}")
            });
            let fields = (name, prop::collection::vec(field, 0..3), ",?")
                .prop_map(|(name, fields, end)| format!("{name}({}{end})", fields.join(", ")));
            prop_oneof![list, map, call, fields]
        });
        (blank(), value, blank()).prop_map(|(a, b, c)| a + &b + &c)
    }

    fn trivia() -> impl Strategy<Value = String> {
        "( |\n|\t|// a \"\\(\n|/\\* /\\* \\[\" \\*/ \\*/|//|/\\*|/\\*/|\u{85}|\r)"
    }

    fn agree(text: &str) -> bool {
        let Some(plain) = read(text) else {
            return false;
        };
        let ron = read_with_ron(&Source::new("p.ron", text));
        assert_eq!(Ok(plain), ron, "{text:?}");
        true
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 2000,
            failure_persistence: None,
            ..Default::default()
        })]

        #[test]
        fn what_is_given_is_what_ron_gives(text in text()) {
            agree(&text);
        }
    }

    #[test]
    fn a_common_file_is_plain() {
        let text = r#"// A house.
            Graph(
                inputs: {
                    "prompt": Text("a \"red\" house"), "x": Float(-1.5e-3), "on": Bool(true),
                },
                nodes: {
                    "text": Say(text: Input("prompt"), weight: 0x10), /* said */
                    "row": Row(words: ["text", "mix.a",], shape: Round, last: None, seed: -12),
                },
            )
        "#;
        assert!(agree(text));
    }
}
