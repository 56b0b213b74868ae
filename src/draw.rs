//! A diagnostic as the terminal shows it. Without colour it is the engine's own `Display`.

use std::fmt::Write;

use ldm_engine::{Diagnostic, Label, Severity};

use crate::terminal::Palette;

/// The diagnostic in lines, without a line end.
pub(crate) fn drawn(diagnostic: &Diagnostic, palette: &Palette) -> String {
    let (style, word) = match diagnostic.severity {
        Severity::Error => (palette.error, "error"),
        Severity::Warning => (palette.warning, "warning"),
    };
    let strong = palette.strong;
    let mut text = format!(
        "{style}{word}{style:#}: {strong}{}{strong:#}",
        diagnostic.message
    );
    for label in &diagnostic.labels {
        write_label(&mut text, label, palette, style);
    }
    if let Some(hint) = &diagnostic.hint {
        let style = palette.hint;
        put(&mut text, format_args!("\n{style}hint{style:#}: {hint}"));
    }
    text
}

fn write_label(text: &mut String, label: &Label, palette: &Palette, mark: anstyle::Style) {
    let number = label.line.to_string();
    let gutter = " ".repeat(number.len());
    let indent = " ".repeat(label.column - 1 - label.skipped);
    let frame = palette.frame;
    let (file, line, column) = (&label.file, label.line, label.column);
    put(
        text,
        format_args!("\n{frame}{gutter}-->{frame:#} {file}:{line}:{column}"),
    );
    put(text, format_args!("\n{frame}{gutter} |{frame:#}"));
    put(
        text,
        format_args!(
            "\n{frame}{number} |{frame:#} {}",
            label.text.replace('\t', " ")
        ),
    );
    let carets = "^".repeat(label.width);
    put(
        text,
        format_args!("\n{frame}{gutter} |{frame:#} {indent}{mark}{carets}"),
    );
    if let Some(note) = &label.note {
        put(text, format_args!(" {note}"));
    }
    put(text, format_args!("{mark:#}"));
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use ldm_engine::{Graph, Kinds, Options, Plan, Source};
    use std::path::Path;

    use super::*;

    #[test]
    fn without_colour_an_error_is_drawn_as_the_engine_draws_it() {
        let text = "Graph(nodes: {\n    \"ä\": Nothing(a: 1),\n    \"ä\": Nothing(a: 1),\n})";
        let parsed = Graph::parse(Source::new("a.ron", text), Path::new("a.ron"));
        let planned = parsed
            .and_then(|graph| Plan::new(&graph, &Kinds::new([]), &Options::default()).map(|_| ()));
        let errors = planned.expect_err("the name is no name");
        for error in errors.iter() {
            assert_eq!(drawn(error, &Palette::default()), error.to_string());
        }
    }
}
