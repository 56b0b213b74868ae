//! What a node says when it cannot do its work.
//!
//! A node's `facts` and `run` answer with [`Error`]: words for the reader, the field at fault and
//! a hint. The engine adds the node's name and the place in the graph file.
//!
//! Not here: errors of the graph itself (`diagnostic`).

use std::fmt;

/// What a node's functions answer with.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A node's failure, or its having been stopped.
///
/// Any `std` error turns into one through `?`, its causes joined by `: `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    message: String,
    field: Option<String>,
    hint: Option<String>,
    cause: Cause,
}

/// What a run does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Tells it.
    Failure,
    /// Nothing: it was asked for.
    Stopped,
    /// Goes another way, where there is one.
    OutOfMemory,
}

impl Error {
    /// A failure in words: lower case, no full stop, both sides named.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            field: None,
            hint: None,
            cause: Cause::Failure,
        }
    }

    /// A failure that one field of the node is the cause of; the error will point at it.
    pub fn at(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..Self::new(message)
        }
    }

    /// The answer of a loop that was asked to stop; not a failure.
    pub fn stopped() -> Self {
        Self {
            cause: Cause::Stopped,
            ..Self::new("stopped")
        }
    }

    /// The memory of a device ran out. It is a failure where the work can be done in no other
    /// [`Way`](crate::Way), and then says so in these words.
    pub fn out_of_memory(message: impl Into<String>) -> Self {
        Self {
            cause: Cause::OutOfMemory,
            ..Self::new(message)
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says first what was being done: `context: message`.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// The words.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The field at fault, where one is.
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// What to do, where that is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether this is a stop that was asked for rather than a failure.
    pub fn is_stopped(&self) -> bool {
        self.cause == Cause::Stopped
    }

    /// Whether memory ran out.
    pub fn is_out_of_memory(&self) -> bool {
        self.cause == Cause::OutOfMemory
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            let words = next.to_string();
            if !message.ends_with(&words) {
                message = format!("{message}: {words}");
            }
            cause = next.source();
        }
        Self::new(message)
    }
}
