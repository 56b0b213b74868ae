//! Where files are looked for, and where they may be written.
//!
//! Reading: beside the graph file, in its parent folders upward, in the model folders (also laid
//! out as ComfyUI's), in the data folder. Writing: only under the output folder.
//!
//! Promises
//! - No write leaves the output folder: absolute paths, `..` and links that lead out are refused.
//! - A file is whole or absent, and other content is never replaced unless `overwrite` says so, or
//!   the same node of this program wrote it and it stands as written (`Own`).

use std::collections::HashMap;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::files::OpenFile;
use crate::setting::ReadPath;
use crate::value::Identity;

/// Sub-folders of a model folder that are searched as well, as ComfyUI lays them out.
const MODEL_FOLDERS: [&str; 12] = [
    "checkpoints",
    "diffusion_models",
    "unet",
    "loras",
    "vae",
    "text_encoders",
    "clip",
    "controlnet",
    "upscale_models",
    "embeddings",
    "clip_vision",
    "style_models",
];

/// Where to look for files beyond the graph's own folders.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Folders to look in after the graph's own, each with the folders above it.
    pub also: Vec<PathBuf>,
    /// Model folders in order: `--models`, then `LDM_GRAPH_MODELS`.
    pub models: Vec<PathBuf>,
    /// The platform's data folder.
    pub data: Option<PathBuf>,
}

impl Search {
    /// Finds what a graph in folder `base` calls `text`, or tells every path that was tried.
    pub fn find(&self, base: &Path, text: &str) -> std::result::Result<PathBuf, Vec<PathBuf>> {
        let mut tried = Vec::new();
        for candidate in self.candidates(base, text) {
            if candidate.exists() {
                return Ok(candidate);
            }
            if !tried.contains(&candidate) {
                tried.push(candidate);
            }
        }
        Err(tried)
    }

    fn candidates(&self, base: &Path, text: &str) -> Vec<PathBuf> {
        if Path::new(text).is_absolute() {
            return vec![PathBuf::from(text)];
        }
        let whole = |folder: &Path| {
            // `graph.ron` lies in the folder "", which no system call takes for the working folder.
            let named = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            std::path::absolute(named).unwrap_or_else(|_| folder.to_owned())
        };
        let starts: Vec<PathBuf> = std::iter::once(base)
            .chain(self.also.iter().map(PathBuf::as_path))
            .map(whole)
            .collect();
        let upward = |folder: &PathBuf| -> Vec<PathBuf> {
            folder.ancestors().map(|folder| folder.join(text)).collect()
        };
        let beside = starts.iter().flat_map(upward);
        let models = self.models.iter().flat_map(|folder| {
            let inside = MODEL_FOLDERS
                .iter()
                .map(move |kind| folder.join(kind).join(text));
            std::iter::once(folder.join(text)).chain(inside)
        });
        beside
            .chain(models)
            .chain(self.data.iter().map(|folder| folder.join(text)))
            .collect()
    }
}

/// A path relative to the working folder where it is below that.
pub(crate) fn short(path: &Path) -> &Path {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| path.strip_prefix(here).ok());
    below.unwrap_or(path)
}

/// The same for messages.
pub fn shown(path: &Path) -> String {
    short(path).display().to_string()
}

/// What a node's setting names and where it was found.
#[derive(Debug, Clone)]
pub struct Located {
    /// As written in the graph.
    pub text: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Located {
    pub(crate) fn of<'a>(reads: &'a [Located], path: &ReadPath) -> Result<&'a Located> {
        let found = reads.iter().find(|located| located.text == path.text());
        found.ok_or_else(|| Error::new(format!("`{}` was not looked for", path.text())))
    }

    /// The path itself (`inside` empty) or one inside the folder.
    pub(crate) fn inside(&self, inside: &str) -> Result<PathBuf> {
        if inside.is_empty() {
            return Ok(self.path.clone());
        }
        check_relative(inside)?;
        Ok(self.path.join(inside))
    }

    pub(crate) fn open(&self, inside: &str) -> Result<OpenFile> {
        OpenFile::open(&self.inside(inside)?)
    }
}

/// A file that a run wrote, or found standing with the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Under the output folder, with `/`.
    pub path: String,
    /// Hash of its content.
    pub identity: Identity,
    /// Whether the same bytes stood there already.
    pub kept: bool,
    /// The name that was taken by other content, where one was.
    pub instead_of: Option<String>,
}

/// What the runs of one program wrote, so that a later run of it replaces that and nothing else.
/// Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Own(Arc<Mutex<HashMap<String, (String, Identity)>>>);

impl Own {
    /// Whether `node` wrote `name` as it stands, `found` telling how that is.
    fn has(&self, node: &str, name: &str, found: impl FnOnce() -> Option<Identity>) -> bool {
        let wrote = self.lock().get(name).cloned();
        wrote.is_some_and(|(who, what)| who == node && found() == Some(what))
    }

    fn insert(&self, node: &str, name: &str, identity: Identity) {
        let what = (node.to_owned(), identity);
        self.lock().insert(name.to_owned(), what);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (String, Identity)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes files under one folder.
#[derive(Debug)]
pub struct Writer {
    out: PathBuf,
    overwrite: bool,
    /// What earlier runs of this program wrote.
    own: Option<Own>,
    /// What this run wrote; it never replaces its own files.
    claimed: Mutex<HashMap<String, Identity>>,
}

impl Writer {
    /// A writer into `out`; with `overwrite`, other content is replaced.
    pub fn new(out: impl Into<PathBuf>, overwrite: bool) -> Self {
        Self {
            out: out.into(),
            overwrite,
            own: None,
            claimed: Mutex::default(),
        }
    }

    /// The same, which may replace what `own` knows, and lets it know more.
    #[must_use]
    pub fn owning(mut self, own: Option<Own>) -> Self {
        self.own = own;
        self
    }

    /// The output folder.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// Writes `bytes` to `path` under the output folder, for a node. The same bytes already there
    /// are kept; for other content the next free `-2` is taken, or it is replaced: with
    /// `overwrite`, or when it is the node's own.
    ///
    /// # Errors
    /// When the path leaves the folder, or the file system refuses.
    pub fn write(&self, node: &str, path: &str, bytes: &[u8]) -> Result<Written> {
        check_relative(path)?;
        let identity = Identity(*blake3::hash(bytes).as_bytes());
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        for number in 1..10_000 {
            let name = numbered(path, number);
            let instead_of = (number > 1).then(|| path.to_owned());
            let target = self.target(&name)?;
            let claim = claimed.get(&name);
            let stands = target.exists();
            let same = stands && holds(&target, bytes);
            let free = !stands
                || same
                || (claim.is_none() && self.replaces(node, &name, || hash_of(&target).ok()));
            if !free || claim.is_some_and(|other| *other != identity) {
                continue;
            }
            if !same {
                persist(&target, bytes, stands).map_err(|e| self.failed(&name, &e))?;
                self.own(node, &name, identity);
            }
            claimed.insert(name.clone(), identity);
            return Ok(Written {
                path: name,
                identity,
                kept: same,
                instead_of,
            });
        }
        Err(Error::new(format!("no free name beside {path}")).hint("pass `--overwrite`"))
    }

    /// Writes a folder to `path` under the output folder: `fill` fills one beside, which is
    /// renamed into place, so that it is whole or absent. The same files already there are
    /// kept; for other content the next free `-2` is taken, or with `overwrite` it is replaced.
    /// Answers every file of it.
    ///
    /// # Errors
    /// When the path leaves the folder, `fill` fails, or the file system refuses.
    pub fn write_folder(
        &self,
        node: &str,
        path: &str,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Vec<Written>> {
        check_relative(path)?;
        let first = self.place(path)?;
        let beside = first.parent().unwrap_or(Path::new("."));
        let made = new_folder(beside).map_err(|e| self.failed(path, &e))?;
        fill(made.path())?;
        let files = contents(made.path())?;
        let identity = hash_of_all(&files);
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        for number in 1..10_000 {
            let name = numbered(path, number);
            let target = self.place(&name)?;
            let claim = claimed.get(&name);
            let stands = target.symlink_metadata().is_ok();
            let same = target.is_dir() && contents(&target).is_ok_and(|found| found == files);
            let found = || contents(&target).ok().map(|files| hash_of_all(&files));
            let free = !stands || same || (claim.is_none() && self.replaces(node, &name, found));
            if !free || claim.is_some_and(|other| *other != identity) {
                continue;
            }
            if !same {
                replace_folder(&made, &target, beside).map_err(|e| self.failed(&name, &e))?;
                self.own(node, &name, identity);
            }
            claimed.insert(name.clone(), identity);
            let instead_of = (number > 1).then(|| path.to_owned());
            let written = |(file, identity): &(String, Identity)| Written {
                path: format!("{name}/{file}"),
                identity: *identity,
                kept: same,
                instead_of: instead_of.clone(),
            };
            return Ok(files.iter().map(written).collect());
        }
        Err(Error::new(format!("no free name beside {path}")).hint("pass `--overwrite`"))
    }

    /// Whether other content that stands there may go.
    fn replaces(&self, node: &str, name: &str, found: impl FnOnce() -> Option<Identity>) -> bool {
        let own = || {
            self.own
                .as_ref()
                .is_some_and(|own| own.has(node, name, found))
        };
        self.overwrite || own()
    }

    fn own(&self, node: &str, name: &str, identity: Identity) {
        if let Some(own) = &self.own {
            own.insert(node, name, identity);
        }
    }

    /// The place of a file to write; see [`Writer::place`].
    fn target(&self, path: &str) -> Result<PathBuf> {
        let at = self.place(path)?;
        match at.is_dir() {
            true => Err(Error::new(format!(
                "{path} is a folder, a file is to be written"
            ))),
            false => Ok(at),
        }
    }

    /// The place of a relative path, its folders made; refused where a link leads out.
    fn place(&self, path: &str) -> Result<PathBuf> {
        std::fs::create_dir_all(&self.out).map_err(|e| self.failed("", &e))?;
        let root = self.out.canonicalize().map_err(|e| self.failed("", &e))?;
        let mut at = root.clone();
        let mut parts = Path::new(path).components().peekable();
        while let Some(part) = parts.next() {
            at.push(part);
            let last = parts.peek().is_none();
            if at.symlink_metadata().is_err() && !last {
                std::fs::create_dir(&at).map_err(|e| self.failed(path, &e))?;
            }
            let real = at.canonicalize().unwrap_or_else(|_| at.clone());
            let is_link = at.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
            if !real.starts_with(&root) || (last && is_link) {
                let message = format!("{path} is a link out of {}", self.out.display());
                return Err(Error::new(message).hint("write beside it, or take the link away"));
            }
        }
        Ok(at)
    }

    fn failed(&self, path: &str, error: &std::io::Error) -> Error {
        Error::new(format!(
            "cannot write {}: {error}",
            self.out.join(path).display()
        ))
    }
}

/// Whether a path stays below the folder that it is relative to.
///
/// # Errors
/// When it is empty, absolute, or has a `..`.
pub fn check_relative(path: &str) -> Result<()> {
    let plain = |part| matches!(part, Component::Normal(_));
    if path.is_empty() || path.contains('\0') || path.ends_with('/') {
        return Err(Error::new(format!("`{path}` is no file name")));
    }
    if !Path::new(path).components().all(plain) {
        let message = format!("`{path}` leaves the output folder");
        return Err(Error::new(message).hint("paths are relative to `--out`, without `..`"));
    }
    Ok(())
}

/// `a/b.png` with number 2 is `a/b-2.png`; number 1 is the path itself.
fn numbered(path: &str, number: usize) -> String {
    if number == 1 {
        return path.to_owned();
    }
    let name = path.rfind('/').map_or(0, |at| at + 1);
    match path[name..].rfind('.').filter(|at| *at > 0) {
        Some(dot) => format!("{}-{number}{}", &path[..name + dot], &path[name + dot..]),
        None => format!("{path}-{number}"),
    }
}

/// An empty folder that nobody sees yet, in the folder that it will be renamed in.
fn new_folder(beside: &Path) -> std::io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    #[cfg(unix)]
    builder.permissions(permissions);
    builder.prefix(".ldm-").suffix(".tmp").tempdir_in(beside)
}

/// Names and hashes of the files of a folder, in order; folders inside are refused.
fn contents(folder: &Path) -> Result<Vec<(String, Identity)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(Error::new("a file's name is no text"));
        };
        files.push((name, hash_of(&entry.path())?));
    }
    files.sort();
    Ok(files)
}

/// Renames `made` to `target`; what stands there is moved aside first and then removed.
fn replace_folder(made: &tempfile::TempDir, target: &Path, beside: &Path) -> std::io::Result<()> {
    let aside = new_folder(beside)?;
    let old = aside.path().join("old");
    let stood = target.symlink_metadata().is_ok();
    if stood {
        std::fs::rename(target, &old)?;
    }
    let renamed = std::fs::rename(made.path(), target);
    if renamed.is_err() && stood {
        std::fs::rename(&old, target)?;
    }
    renamed
}

/// The hash of a file's content.
fn hash_of(path: &Path) -> std::io::Result<Identity> {
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
    Ok(Identity(*hasher.finalize().as_bytes()))
}

/// The hash of a folder's files and their names.
fn hash_of_all(files: &[(String, Identity)]) -> Identity {
    let parts = files
        .iter()
        .flat_map(|(name, hash)| [name.as_bytes(), &hash.0[..]]);
    Identity::of(&parts.collect::<Vec<_>>())
}

fn holds(path: &Path, bytes: &[u8]) -> bool {
    let size = path.metadata().map(|meta| meta.len());
    size.is_ok_and(|size| size == bytes.len() as u64)
        && std::fs::read(path).is_ok_and(|found| found == bytes)
}

/// Written beside, then renamed.
pub(crate) fn persist(target: &Path, bytes: &[u8], replace: bool) -> std::io::Result<()> {
    let folder = target.parent().unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(permissions);
    let mut file = builder.prefix(".ldm-").suffix(".tmp").tempfile_in(folder)?;
    file.write_all(bytes)?;
    match replace {
        true => file.persist(target).map(drop).map_err(|e| e.error),
        false => file
            .persist_noclobber(target)
            .map(drop)
            .map_err(|e| e.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(files: &'static [(&'static str, &'static str)]) -> impl FnOnce(&Path) -> Result<()> {
        move |folder| {
            for (name, text) in files {
                std::fs::write(folder.join(name), text)?;
            }
            Ok(())
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_appears_whole_and_is_kept_when_nothing_differs() {
        let out = tempfile::tempdir().unwrap();
        let writer = Writer::new(out.path(), false);
        let files = writer
            .write_folder("save", "sub/model", fill(&[("b", "2"), ("a", "1")]))
            .unwrap();
        let paths: Vec<&str> = files.iter().map(|file| &file.path[..]).collect();
        assert_eq!(paths, ["sub/model/a", "sub/model/b"]);
        let again = Writer::new(out.path(), false);
        let files = again
            .write_folder("save", "sub/model", fill(&[("a", "1"), ("b", "2")]))
            .unwrap();
        assert!(files.iter().all(|file| file.kept));
        assert_eq!(
            names(&out.path().join("sub")),
            ["model"],
            "nothing is left beside"
        );
    }

    #[test]
    fn other_content_takes_a_free_name_or_replaces_the_whole_folder() {
        let out = tempfile::tempdir().unwrap();
        Writer::new(out.path(), false)
            .write_folder("save", "model", fill(&[("a", "1"), ("c", "3")]))
            .unwrap();
        let beside = Writer::new(out.path(), false)
            .write_folder("save", "model", fill(&[("a", "2")]))
            .unwrap();
        assert_eq!(beside[0].path, "model-2/a");
        assert_eq!(beside[0].instead_of.as_deref(), Some("model"));
        Writer::new(out.path(), true)
            .write_folder("save", "model", fill(&[("a", "2")]))
            .unwrap();
        assert_eq!(
            names(&out.path().join("model")),
            ["a"],
            "no file of the old one is left"
        );
        assert_eq!(names(out.path()), ["model", "model-2"]);
    }

    #[test]
    fn a_folder_that_fails_half_way_leaves_nothing() {
        let out = tempfile::tempdir().unwrap();
        let writer = Writer::new(out.path(), false);
        let failed = writer.write_folder("save", "model", |folder| {
            std::fs::write(folder.join("a"), "1")?;
            Err(Error::new("no more"))
        });
        assert_eq!(failed.unwrap_err().message(), "no more");
        assert_eq!(names(out.path()), [""; 0]);
        assert!(writer.write_folder("save", "../model", |_| Ok(())).is_err());
    }
}
