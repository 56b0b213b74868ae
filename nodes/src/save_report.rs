//! `SaveReport`: measurements into a file.

use ldm_engine::{Ctx, Error, Facts, In, Node, Result, WritePath};

use crate::values::Report;

/// Writes a report as a RON file.
///
/// ```ron
/// "report": SaveReport(report: "score", path: "report.ron")
/// ```
#[derive(Node)]
#[node(effect)]
pub(crate) struct SaveReport {
    /// What was measured.
    report: In<Report>,
    /// The file, under the output folder.
    path: WritePath,
}

impl Node for SaveReport {
    type Out = ();

    fn facts(&self, _facts: &mut Facts<'_>) -> Result<()> {
        if !self.path.text().ends_with(".ron") {
            let message = format!("`{}` does not end in `.ron`", self.path.text());
            return Err(Error::at("path", message).hint("reports are written as RON"));
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<()> {
        let report = ctx.get(&self.report);
        ctx.write(&self.path, 0, report.text().as_bytes()).map(drop)
    }
}
