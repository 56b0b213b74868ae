//! `Report`: what was measured, as RON text.

use std::borrow::Cow;

use ldm_engine::{Data, Identity, Result};
use serde::Serialize;

/// Measurements for people and programs to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report(String);

impl Report {
    /// `measured` in RON, indented; the same for the same.
    ///
    /// # Errors
    /// When it cannot be written as RON.
    pub fn of(measured: &impl Serialize) -> Result<Self> {
        let style = ron::ser::PrettyConfig::default().struct_names(true);
        Ok(Self(ron::ser::to_string_pretty(measured, style)? + "\n"))
    }

    /// The report as text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl Data for Report {
    const NAME: &'static str = "Report";

    fn identity(&self) -> Identity {
        Identity::of(&[Self::NAME.as_bytes(), self.0.as_bytes()])
    }
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }
    fn save(&self) -> Result<Cow<'_, [u8]>> {
        Ok(self.0.as_bytes().into())
    }
    fn load(bytes: Vec<u8>) -> Result<Self> {
        Ok(Self(String::from_utf8(bytes)?))
    }
}
