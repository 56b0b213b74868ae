//! Templates of output paths: `"{graph}-{seed}-{index}.png"`.
//!
//! Names in braces are the graph's inputs, `graph`, `node` and `index`; `{{` and `}}` are braces.
//! Everything but `index` is filled in while planning; what is left is a template again, in which
//! braces stay doubled.

use crate::names;

/// Fills in every name but `index`.
///
/// # Errors
/// The message and a hint: an unknown name, or a brace without its fellow.
pub(crate) fn fill(
    template: &str,
    names: &[(&str, String)],
) -> Result<String, (String, Option<String>)> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        filled.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            filled.push_str(if brace == "{" { "{{" } else { "}}" });
            rest = after;
            continue;
        }
        let Some((name, after)) = rest.split_once('}').filter(|_| brace == "{") else {
            let hint = format!("write `{brace}{brace}` for a brace in a file name");
            return Err((format!("`{brace}` stands alone"), Some(hint)));
        };
        match names.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => filled.push_str(&file_name(value)),
            None if name == "index" => filled.push_str("{index}"),
            None => {
                let known = names.iter().map(|(known, _)| *known).chain(["index"]);
                let message = format!("there is no input `{name}` to name a file by");
                return Err((message, names::hint(name, known)));
            }
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// The file name number `index` of a filled template. Without `{index}` later files are told
/// apart by a number before the extension.
pub(crate) fn with_index(template: &str, index: usize) -> String {
    let has_index = template.replace("{{", "").contains("{index}");
    let plain = |part: &str| part.replace("{{", "{").replace("}}", "}");
    if has_index {
        let marked = template.replace("{{", "\u{1}").replace("}}", "\u{2}");
        let named = marked.replace("{index}", &index.to_string());
        return named.replace('\u{1}', "{").replace('\u{2}', "}");
    }
    let name = plain(template);
    match (
        index,
        name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()),
    ) {
        (0, _) => name,
        (_, Some((stem, extension))) => format!("{stem}-{index}.{extension}"),
        (_, None) => format!("{name}-{index}"),
    }
}

/// A value as part of a file name: separators and control characters become `_`.
fn file_name(value: &str) -> String {
    let safe = |c: char| !matches!(c, '/' | '\\' | ':' | '{' | '}') && !c.is_control();
    value
        .chars()
        .take(100)
        .map(|c| if safe(c) { c } else { '_' })
        .collect()
}
