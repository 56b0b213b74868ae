//! A file system that refuses: the run goes on uncached, and says so once.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ldm_engine::{Disk, Door, Listed, Reading, Real, Writing};

use crate::lab::Lab;

const MIX: &str = r#"Graph(nodes: {
    "a": Say(text: "a"), "b": Say(text: "b"), "ab": Join(a: "a", b: "b"),
    "save": Save(words: "ab", path: "ab.txt"),
})"#;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// The disk is full after so many writes, in the middle of one.
    NoSpace(usize),
    /// Every read fails.
    Reading,
    /// Nothing can be made, written, touched or removed.
    ReadOnly,
    /// Nothing can be listed.
    Listing,
    /// No lock can be had.
    Locking,
}

/// The file system with a fault.
struct Broken {
    fault: Fault,
    writes: Arc<AtomicUsize>,
}

/// A file on a disk that is full in the middle of it.
struct Half(Box<dyn Writing>);

impl Write for Half {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match bytes.len() {
            0 | 1 => Err(io::ErrorKind::StorageFull.into()),
            all => self.0.write(&bytes[..all / 2]),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Seek for Half {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl Writing for Half {
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
}

impl Broken {
    fn only_if(&self, broken: bool, kind: io::ErrorKind) -> io::Result<()> {
        if broken { Err(kind.into()) } else { Ok(()) }
    }

    fn writable(&self) -> io::Result<()> {
        let refused = self.fault == Fault::ReadOnly;
        self.only_if(refused, io::ErrorKind::ReadOnlyFilesystem)
    }
}

impl Door for Broken {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Reading>> {
        self.only_if(self.fault == Fault::Reading, io::ErrorKind::Other)?;
        Real.open(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn Writing>> {
        self.writable()?;
        let before = self.writes.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            Fault::NoSpace(after) if before >= after => Ok(Box::new(Half(Real.create(path)?))),
            _ => Real.create(path),
        }
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.writable()?;
        Real.rename(from, to)
    }
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.writable()?;
        Real.make_folder(path)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<(String, Listed)>> {
        self.only_if(self.fault == Fault::Listing, io::ErrorKind::Other)?;
        Real.list(folder)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.writable()?;
        // A full disk of this sort does not even take names away.
        let full = matches!(self.fault, Fault::NoSpace(_));
        self.only_if(full, io::ErrorKind::Other)?;
        Real.remove(path)
    }
    fn hold(&self, path: &Path) -> io::Result<File> {
        self.only_if(self.fault == Fault::Locking, io::ErrorKind::Unsupported)?;
        self.writable()?;
        Real.hold(path)
    }
    fn seize(&self, path: &Path) -> Option<File> {
        Real.seize(path)
    }
}

fn broken(lab: &Lab, fault: Fault) -> Disk {
    let writes = Arc::default();
    Disk::through(lab.cache_folder(), 1 << 20, Broken { fault, writes })
}

#[test]
fn a_file_system_that_refuses_costs_one_warning_and_not_the_run() {
    let faults = [
        Fault::NoSpace(0),
        Fault::NoSpace(1),
        Fault::NoSpace(4),
        Fault::ReadOnly,
        Fault::Listing,
        Fault::Locking,
    ];
    for fault in faults {
        let mut lab = Lab::new(MIX);
        let disk = broken(&lab, fault);
        let ran = lab.restart_with(disk).run_all();
        assert!(ran.report.is_complete(), "{fault:?}");
        assert_eq!(lab.out("ab.txt").as_deref(), Some("a b"), "{fault:?}");
        let warnings = ran.warnings();
        assert_eq!(warnings.len(), 1, "{fault:?}: {warnings:?}");
        assert!(
            warnings[0].contains("results are no longer kept"),
            "{warnings:?}"
        );
        // It is told once, and what was kept in memory serves on.
        let again = lab.run_all();
        again.ran([]);
        assert!(again.warnings().is_empty(), "{fault:?}");
        // The next process is none the worse for it.
        let next = lab.restart().run_all();
        assert!(
            next.report.is_complete() && next.warnings().is_empty(),
            "{fault:?}"
        );
        let left = Disk::new(lab.cache_folder(), 1 << 20)
            .stat()
            .expect("a count");
        if fault == Fault::NoSpace(0) {
            assert_eq!(left.temporary.entries, 1, "the half that was left");
        }
        lab.restart();
        Disk::new(lab.cache_folder(), 1 << 20)
            .gc()
            .expect("a sweep");
        let left = Disk::new(lab.cache_folder(), 1 << 20)
            .stat()
            .expect("a count");
        assert_eq!(left.temporary.entries, 0, "{fault:?}");
    }
}

#[test]
fn what_cannot_be_read_is_made_again() {
    let mut lab = Lab::new(MIX);
    lab.restart().run_all().ran(["a", "b", "ab", "save"]);
    let disk = broken(&lab, Fault::Reading);
    lab.restart_with(disk)
        .run_all()
        .ran(["a", "b", "ab", "save"]);
    lab.restart().run_all().ran([]);
}

#[test]
fn a_cache_in_a_place_that_is_no_folder_is_a_warning() {
    let mut lab = Lab::new(MIX);
    lab.file("cache", "a file stands here");
    let ran = lab.restart().run_all();
    assert!(ran.report.is_complete());
    assert_eq!(ran.warnings().len(), 1);
    assert_eq!(lab.out("ab.txt").as_deref(), Some("a b"));
}

#[test]
fn files_of_a_living_process_are_not_swept() {
    let mut lab = Lab::new(MIX);
    lab.restart().run_all();
    let tmp = lab.cache_folder().join("tmp");
    let lock = std::fs::read_dir(&tmp)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let own = lock.file_stem().unwrap().to_owned();
    let half = tmp.join(format!("{}-99", own.to_string_lossy()));
    std::fs::write(&half, "half").unwrap();
    let other = Disk::new(lab.cache_folder(), 1 << 20);
    assert_eq!(other.gc().unwrap().temporary, 0);
    assert!(half.exists());
    lab.restart();
    assert_eq!(other.gc().unwrap().temporary, 1);
    assert!(!half.exists());
}
