//! Where a picture goes, and in which format.
//!
//! Promises
//! - A format that is asked for wins over what a file's name ends in.
//! - A file is written whole or not at all.
//! - What is no file is never replaced.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What can be done about a name that tells no format.
const ENDINGS: &str =
    "end its name in .svg, .mmd, .md, .dot or .gv, or give `--format svg|mermaid|dot`";

/// A format of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A picture, laid out by us.
    Svg,
    /// Text that Markdown pages draw.
    Mermaid,
    /// Text that Graphviz draws.
    Dot,
}

/// Where a picture goes, and in which format.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The file; stdout when there is none.
    pub(crate) file: Option<PathBuf>,
    /// The format.
    pub(crate) format: Format,
    /// Whether the picture stands in a page of Markdown.
    in_page: bool,
}

impl Target {
    /// What the flags mean.
    ///
    /// # Errors
    /// A message and a hint, when they mean nothing.
    pub(crate) fn new(
        file: Option<PathBuf>,
        asked: Option<Format>,
    ) -> Result<Self, (String, String)> {
        let Some(file) = file else {
            return Ok(Self {
                file,
                format: asked.unwrap_or(Format::Mermaid),
                in_page: false,
            });
        };
        let ending = file.extension().unwrap_or_default();
        let ending = ending.to_string_lossy().to_lowercase();
        let known = match ending.as_str() {
            "svg" => Some(Format::Svg),
            "mmd" | "md" => Some(Format::Mermaid),
            "dot" | "gv" => Some(Format::Dot),
            _ => None,
        };
        let shown = file.display();
        let Some(format) = asked.or(known) else {
            let message = format!("`{shown}` does not tell in which format to draw");
            return Err((message, ENDINGS.to_owned()));
        };
        if file.metadata().is_ok_and(|meta| !meta.is_file()) {
            let message = format!("`{shown}` is there, and is no file");
            return Err((message, "name a file to write or to replace".to_owned()));
        }
        let in_page = format == Format::Mermaid && ending == "md";
        Ok(Self {
            file: Some(file),
            format,
            in_page,
        })
    }

    /// The picture as it stands in the file.
    pub(crate) fn dressed(&self, drawn: String) -> String {
        match self.in_page {
            true => format!("```mermaid\n{drawn}```\n"),
            false => drawn,
        }
    }
}

/// Writes beside, then renames: the file is the old one or the new one at any instant.
pub(crate) fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().filter(|above| !above.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    // As any program makes its files; a temporary one would be the user's alone.
    #[cfg(unix)]
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(permissions);
    let folder = folder.unwrap_or(Path::new("."));
    let mut made = builder.prefix(".ldm-").suffix(".tmp").tempfile_in(folder)?;
    made.write_all(bytes)?;
    made.persist(file).map(drop).map_err(|failed| failed.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(file: &str, asked: Option<Format>) -> Option<Format> {
        let target = Target::new(Some(PathBuf::from(file)), asked);
        target.ok().map(|target| target.format)
    }

    #[test]
    fn a_name_tells_the_format() {
        assert_eq!(format("a.svg", None), Some(Format::Svg));
        assert_eq!(format("a.SVG", None), Some(Format::Svg));
        assert_eq!(format("a/b.mmd", None), Some(Format::Mermaid));
        assert_eq!(format("a.md", None), Some(Format::Mermaid));
        assert_eq!(format("a.dot", None), Some(Format::Dot));
        assert_eq!(format("a.gv", None), Some(Format::Dot));
        for wrong in ["a.png", "a", "svg", ".svg", "a.svg.gz"] {
            assert_eq!(format(wrong, None), None, "{wrong}");
        }
        let stdout = Target::new(None, None).expect("stdout takes anything");
        assert_eq!(stdout.format, Format::Mermaid);
    }

    #[test]
    fn a_format_that_is_asked_for_wins_over_what_a_files_name_ends_in() {
        assert_eq!(format("a.svg", Some(Format::Dot)), Some(Format::Dot));
        assert_eq!(format("a.png", Some(Format::Svg)), Some(Format::Svg));
    }

    #[test]
    fn only_mermaid_in_markdown_is_fenced() {
        let dressed = |file: &str, asked| {
            let target = Target::new(Some(PathBuf::from(file)), asked).expect("a format");
            target.dressed("x\n".to_owned())
        };
        assert_eq!(dressed("a.md", None), "```mermaid\nx\n```\n");
        assert_eq!(dressed("a.mmd", None), "x\n");
        assert_eq!(dressed("a.md", Some(Format::Dot)), "x\n");
    }

    #[test]
    fn what_is_no_file_is_never_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let inside = folder.path().join("folder.svg");
        std::fs::create_dir(&inside).expect("a folder in it");
        let said = Target::new(Some(inside.clone()), None).expect_err("it is a folder");
        assert!(said.0.contains("is no file"), "{said:?}");
        assert!(write(&inside, b"x").is_err());
    }

    #[test]
    fn a_file_is_written_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.svg");
        write(&file, b"one").expect("it can be written");
        write(&file, b"two").expect("it can be replaced");
        assert_eq!(std::fs::read(&file).expect("it is there"), b"two");
        assert!(write(&folder.path().join("none/a.svg"), b"x").is_err());
        let entries = std::fs::read_dir(folder.path())
            .expect("the folder")
            .count();
        assert_eq!(entries, 1, "nothing is left beside it");
    }
}
