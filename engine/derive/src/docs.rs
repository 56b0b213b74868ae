//! Doc comments, read as help and example.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// Help without the example, and the example: the first fenced block marked `ron`.
pub(crate) fn read(attributes: &[Attribute]) -> (String, String) {
    let (mut help, mut example) = (Vec::new(), Vec::new());
    let (mut inside, mut seen) = (false, false);
    for line in attributes.iter().filter_map(line) {
        match line.trim() {
            "```ron" if !seen => (inside, seen) = (true, true),
            "```" if inside => inside = false,
            _ if inside => example.push(line),
            _ => help.push(line),
        }
    }
    (
        help.join("\n").trim().to_owned(),
        example.join("\n").trim().to_owned(),
    )
}

fn line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else {
        return None;
    };
    let Expr::Lit(ExprLit {
        lit: Lit::Str(text),
        ..
    }) = &pair.value
    else {
        return None;
    };
    if !pair.path.is_ident("doc") {
        return None;
    }
    let text = text.value();
    Some(text.strip_prefix(' ').unwrap_or(&text).to_owned())
}
