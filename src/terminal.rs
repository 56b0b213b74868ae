//! The terminal: results to stdout, the rest to stderr, coloured where that is wanted.
//!
//! Promise: a write to stdout that fails is told to the caller; one to stderr is not, because
//! there is nobody left to tell.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use ldm_engine::Diagnostic;

use crate::{Exit, draw};

/// When to use colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How much to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Errors and results.
    Quiet,
    /// Also what is being done.
    #[default]
    Usual,
    /// Also why.
    Verbose,
}

/// Both streams and how to write to them.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    color: Color,
    verbosity: Verbosity,
}

/// The styles of one stream: all plain where colour is not wanted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Palette {
    /// `error`
    pub(crate) error: Style,
    /// `warning`
    pub(crate) warning: Style,
    /// Line numbers and frames.
    pub(crate) frame: Style,
    /// `hint`, and what is to be typed.
    pub(crate) hint: Style,
    /// Headings and names.
    pub(crate) strong: Style,
    /// What matters less.
    pub(crate) faint: Style,
}

impl Palette {
    fn coloured() -> Self {
        let bold = |color: AnsiColor| color.on_default().bold();
        Self {
            error: bold(AnsiColor::Red),
            warning: bold(AnsiColor::Yellow),
            frame: AnsiColor::Blue.on_default(),
            hint: bold(AnsiColor::Cyan),
            strong: Style::new().bold(),
            faint: Style::new().dimmed(),
        }
    }
}

impl Terminal {
    /// A terminal that obeys `--color`, `-q` and `-v`.
    pub(crate) fn new(color: Color, verbosity: Verbosity) -> Self {
        Self { color, verbosity }
    }

    /// How much to say.
    pub(crate) fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Styles for stdout.
    pub(crate) fn stdout(&self) -> Palette {
        self.palette(io::stdout().is_terminal())
    }

    /// Styles for stderr.
    pub(crate) fn stderr(&self) -> Palette {
        self.palette(io::stderr().is_terminal())
    }

    fn palette(&self, is_terminal: bool) -> Palette {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match self.color {
            Color::Always => Palette::coloured(),
            Color::Auto if is_terminal && !no_color && !dumb => Palette::coloured(),
            _ => Palette::default(),
        }
    }

    /// Prints a result.
    ///
    /// # Errors
    /// When stdout is closed or full.
    pub(crate) fn print(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Says something beside the result, unless `-q`.
    pub(crate) fn say(&self, text: &str) {
        if self.verbosity > Verbosity::Quiet {
            self.complain(text);
        }
    }

    /// Says an error in words.
    pub(crate) fn error(&self, message: &str, hint: Option<&str>) {
        let diagnostic = Diagnostic::error(message).maybe_hint(hint.map(str::to_owned));
        self.diagnostics([&diagnostic]);
    }

    /// Draws diagnostics, a blank line between.
    pub(crate) fn diagnostics<'a>(&self, all: impl IntoIterator<Item = &'a Diagnostic>) {
        let palette = self.stderr();
        let drawn: Vec<_> = all
            .into_iter()
            .map(|one| draw::drawn(one, &palette))
            .collect();
        self.complain(&drawn.join("\n\n"));
    }

    /// Prints what clap has to say: help to stdout, faults to stderr.
    ///
    /// # Errors
    /// When stdout is closed or full.
    pub(crate) fn clap(&self, said: &clap::Error) -> io::Result<Exit> {
        let text = said.render();
        let text = |is_terminal| match self.palette(is_terminal).strong == Style::new() {
            true => text.to_string(),
            false => text.ansi().to_string(),
        };
        if said.use_stderr() {
            self.complain(text(io::stderr().is_terminal()).trim_end());
            return Ok(Exit::Misused);
        }
        let mut out = io::stdout().lock();
        out.write_all(text(io::stdout().is_terminal()).as_bytes())?;
        out.flush()?;
        Ok(Exit::Done)
    }

    fn complain(&self, text: &str) {
        // A stderr that cannot be written to leaves nowhere to say so.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}
