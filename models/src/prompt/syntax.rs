//! How people write weights: the two syntaxes in use, and none.
//!
//! | written | ComfyUI | AUTOMATIC1111 |
//! |---|---|---|
//! | `(a)` | × 1.1 | × 1.1 |
//! | `(a:1.2)` | 1.2, whatever stands around | × 1.2 |
//! | `[a]` | as written | ÷ 1.1 |
//! | `\(` `\)` | a bracket to read | the same, and `\[` `\]` `\\` |
//! | `BREAK` | a word | a new row |

/// What brackets and words mean in a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Syntax {
    /// ComfyUI's.
    #[default]
    ComfyUi,
    /// AUTOMATIC1111's.
    A1111,
    /// Nothing: every character is text.
    Plain,
}

/// A stretch of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum Span {
    /// Text of one weight.
    Text {
        /// As it goes to the tokenizer.
        text: String,
        /// 1 is as it is.
        weight: f64,
    },
    /// The rest begins a new row.
    Break,
}

/// What a bracket without a number multiplies by.
const STEP: f64 = 1.1;

/// Brackets inside brackets beyond this depth are text.
const DEEPEST: usize = 128;

/// What calls learned vectors.
pub(super) const EMBEDDING: &str = "embedding:";

impl Syntax {
    /// The stretches of `text`, in order; none are empty.
    pub fn spans(self, text: &str) -> Vec<Span> {
        match self {
            Self::Plain => vec![Span::Text {
                text: text.to_owned(),
                weight: 1.0,
            }],
            Self::ComfyUi => {
                let mut spans = Vec::new();
                let letters = escaped(text, &['(', ')']);
                comfy(&letters, 1.0, 0, &mut spans);
                spans
            }
            Self::A1111 => a1111(&escaped(text, &['(', ')', '[', ']', '\\'])),
        }
    }
}

/// A character, and whether a backslash took its meaning.
type Letter = (char, bool);

/// Takes the backslash before each of `these`.
fn escaped(text: &str, these: &[char]) -> Vec<Letter> {
    let mut letters = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match rest.peek() {
            Some(next) if c == '\\' && these.contains(next) => letters.push((*next, true)),
            _ => {
                letters.push((c, false));
                continue;
            }
        }
        rest.next();
    }
    letters
}

fn plain(letters: &[Letter]) -> String {
    letters.iter().map(|(c, _)| c).collect()
}

fn push(letters: &[Letter], weight: f64, spans: &mut Vec<Span>) {
    let text = plain(letters);
    if !text.is_empty() {
        spans.push(Span::Text { text, weight });
    }
}

/// ComfyUI's: a bracket's own number counts, else 1.1 times what stands around it.
fn comfy(letters: &[Letter], weight: f64, depth: usize, spans: &mut Vec<Span>) {
    for item in items(letters) {
        let bracketed = item.len() >= 2
            && item[0] == ('(', false)
            && item[item.len() - 1] == (')', false)
            && depth < DEEPEST;
        if !bracketed {
            push(item, weight, spans);
            continue;
        }
        let inside = &item[1..item.len() - 1];
        let (inside, weight) = match numbered(inside) {
            Some((text, number)) => (text, number),
            None => (inside, weight * STEP),
        };
        comfy(inside, weight, depth + 1, spans);
    }
}

/// The text before the last colon and the number behind it, if that is one.
fn numbered(letters: &[Letter]) -> Option<(&[Letter], f64)> {
    let colon = letters.iter().rposition(|(c, _)| *c == ':')?;
    let number: f64 = plain(&letters[colon + 1..]).trim().parse().ok()?;
    (colon > 0 && number.is_finite()).then(|| (&letters[..colon], number))
}

/// Cuts text at its outermost brackets. One closing too many lowers the level, and the next
/// opening one only makes up for it.
fn items(letters: &[Letter]) -> Vec<&[Letter]> {
    let (mut found, mut start, mut level) = (Vec::new(), 0, 0i64);
    for (at, letter) in letters.iter().enumerate() {
        match letter {
            ('(', false) => {
                if level == 0 {
                    found.push(&letters[start..at]);
                    start = at;
                }
                level += 1;
            }
            (')', false) => {
                level -= 1;
                if level == 0 {
                    found.push(&letters[start..=at]);
                    start = at + 1;
                }
            }
            _ => {}
        }
    }
    found.push(&letters[start..]);
    found.retain(|item| !item.is_empty());
    found
}

/// AUTOMATIC1111's: brackets multiply what stands in them, closed or not.
fn a1111(letters: &[Letter]) -> Vec<Span> {
    let mut runs: Vec<(Vec<Letter>, f64)> = Vec::new();
    let (mut round, mut square) = (Vec::new(), Vec::new());
    let times = |runs: &mut Vec<(Vec<Letter>, f64)>, from: usize, by: f64| {
        runs[from..]
            .iter_mut()
            .for_each(|(_, weight)| *weight *= by);
    };
    let mut at = 0;
    while at < letters.len() {
        let (mut taken, mut text) = (1, None);
        match letters[at] {
            ('(', false) => round.push(runs.len()),
            ('[', false) => square.push(runs.len()),
            (':', false) if !round.is_empty() && factor(&letters[at..]).is_some() => {
                let (number, length) = factor(&letters[at..]).expect("it was just found");
                times(&mut runs, round.pop().expect("one is open"), number);
                taken = length;
            }
            (')', false) if !round.is_empty() => {
                times(&mut runs, round.pop().expect("one is open"), STEP);
            }
            (']', false) if !square.is_empty() => {
                times(&mut runs, square.pop().expect("one is open"), 1.0 / STEP);
            }
            letter => text = Some(letter),
        }
        match (text, runs.last_mut()) {
            // Letters in a row are one run, unless a bracket opened between them.
            (Some(letter), Some((run, _))) if at > 0 && !is_mark(letters[at - 1]) => {
                run.push(letter);
            }
            (Some(letter), _) => runs.push((vec![letter], 1.0)),
            (None, _) => {}
        }
        at += taken;
    }
    round
        .into_iter()
        .for_each(|from| times(&mut runs, from, STEP));
    let open = square.into_iter();
    open.for_each(|from| times(&mut runs, from, 1.0 / STEP));
    merged(runs)
}

fn is_mark(letter: Letter) -> bool {
    matches!(letter, ('(' | ')' | '[' | ']', false))
}

/// `:1.2)` at the beginning: the number, and how many letters that is.
fn factor(letters: &[Letter]) -> Option<(f64, usize)> {
    let close = letters.iter().position(|letter| *letter == (')', false))?;
    let number: f64 = plain(&letters[1..close]).trim().parse().ok()?;
    number.is_finite().then_some((number, close + 1))
}

/// Runs of one weight made one, and cut at `BREAK`.
fn merged(runs: Vec<(Vec<Letter>, f64)>) -> Vec<Span> {
    let mut whole: Vec<(Vec<Letter>, f64)> = Vec::new();
    for (run, weight) in runs {
        match whole.last_mut() {
            Some((letters, before)) if *before == weight => letters.extend(run),
            _ => whole.push((run, weight)),
        }
    }
    let mut spans = Vec::new();
    for (run, weight) in whole {
        let text = plain(&run);
        for (i, part) in around_breaks(&text).into_iter().enumerate() {
            if i > 0 {
                spans.push(Span::Break);
            }
            if !part.is_empty() {
                let text = part.to_owned();
                spans.push(Span::Text { text, weight });
            }
        }
    }
    spans
}

/// The text between words `BREAK`, without the white space around them.
fn around_breaks(text: &str) -> Vec<&str> {
    let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (mut parts, mut start) = (Vec::new(), 0);
    for (at, word) in text.match_indices("BREAK") {
        let end = at + word.len();
        let before = letter(text[..at].chars().next_back());
        if !before && !letter(text[end..].chars().next()) {
            let part = &text[start..at];
            // The text before the first BREAK keeps its beginning.
            parts.push(if start == 0 {
                part.trim_end()
            } else {
                part.trim()
            });
            start = end;
        }
    }
    let last = &text[start..];
    parts.push(if start == 0 { last } else { last.trim_start() });
    parts
}

/// Text cut before each ` embedding:`, whose space goes; empty parts are left out.
pub(super) fn around_embeddings(text: &str) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    for (at, _) in text.match_indices(EMBEDDING) {
        let before = text[..at].chars().next_back();
        if matches!(before, Some(' ' | '\n')) && at > start {
            parts.push(&text[start..at - 1]);
            start = at;
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(syntax: Syntax, text: &str) -> Vec<(String, f64)> {
        let spans = syntax.spans(text).into_iter().map(|span| match span {
            Span::Text { text, weight } => (text, (weight * 1e6).round() / 1e6),
            Span::Break => ("<break>".to_owned(), 0.0),
        });
        spans.collect()
    }

    fn check(syntax: Syntax, text: &str, wanted: &[(&str, f64)]) {
        let found = spans(syntax, text);
        let found: Vec<(&str, f64)> = found.iter().map(|(t, w)| (&t[..], *w)).collect();
        assert_eq!(found, wanted, "{text:?}");
    }

    #[test]
    fn comfyuis_numbers_count_alone_and_its_brackets_multiply() {
        let comfy = |text, wanted: &[_]| check(Syntax::ComfyUi, text, wanted);
        comfy("a (b) c", &[("a ", 1.0), ("b", 1.1), (" c", 1.0)]);
        comfy("((a:1.2) b:1.5)", &[("a", 1.2), (" b", 1.5)]);
        comfy("((a))", &[("a", 1.21)]);
        comfy("[a] BREAK", &[("[a] BREAK", 1.0)]);
        comfy(r"\(a\) (b\):2)", &[("(a) ", 1.0), ("b)", 2.0)]);
        comfy(
            "(a:b) (c:nan) ()",
            &[("a:b", 1.1), (" ", 1.0), ("c:nan", 1.1), (" ", 1.0)],
        );
        comfy("(a", &[("(a", 1.0)]);
        comfy("", &[]);
    }

    #[test]
    fn a1111s_numbers_and_brackets_multiply_and_break_breaks() {
        let a1111 = |text, wanted: &[_]| check(Syntax::A1111, text, wanted);
        a1111(
            "a (b) [c]",
            &[("a ", 1.0), ("b", 1.1), (" ", 1.0), ("c", 0.909_091)],
        );
        a1111("((a:1.2) b:1.5)", &[("a", 1.8), (" b", 1.5)]);
        a1111("(a", &[("a", 1.1)]);
        a1111("(((a))", &[("a", 1.331)]);
        a1111(r"\[a\] \(b\) \\", &[(r"[a] (b) \", 1.0)]);
        a1111(
            "a BREAK b BREAKING",
            &[("a", 1.0), ("<break>", 0.0), ("b BREAKING", 1.0)],
        );
        a1111("a) b] c:1.2)", &[("a) b] c:1.2)", 1.0)]);
        a1111("", &[]);
    }

    #[test]
    fn any_depth_of_brackets_is_read() {
        let deep = "(".repeat(100_000) + "a" + &")".repeat(100_000);
        for syntax in [Syntax::ComfyUi, Syntax::A1111] {
            assert_eq!(spans(syntax, &deep).len(), 1);
        }
    }

    #[test]
    fn embeddings_are_cut_out_where_a_space_stands_before_them() {
        assert_eq!(around_embeddings("a embedding:b c"), ["a", "embedding:b c"]);
        assert_eq!(around_embeddings("embedding:b"), ["embedding:b"]);
        assert_eq!(around_embeddings("xembedding:b"), ["xembedding:b"]);
        assert_eq!(around_embeddings("a\nembedding:b embedding:c").len(), 3);
    }
}
