//! How wide text becomes, without a font: generous, as nobody knows which one draws it.

/// The width of a line of text in a font of this size.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(em).sum::<f64>() * size
}

/// The same in bold.
pub(crate) fn bold(text: &str, size: f64) -> f64 {
    width(text, size) * 1.1
}

/// Widths as in DejaVu Sans, the widest of the fonts that systems come with.
fn em(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' | 'I' | '/' => 0.33,
        'f' | 'r' | 't' | '(' | ')' | '[' | ']' | '"' | '-' => 0.42,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '…' => 0.95,
        'k' | 's' | 'v' | 'x' | 'y' | 'z' | 'c' | '_' => 0.57,
        'A'..='Z' => 0.72,
        c if c < '\u{1100}' => 0.64,
        _ => 1.05,
    }
}
