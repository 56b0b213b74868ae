//! What keeping and finding a large value, and hashing a weight file, cost beside the file
//! system's own time.
//!
//!     cargo bench -p ldm-engine --bench disk
//!
//! Each row is the median of rounds that take turns; the files are dropped from the system's
//! memory before they are read. Prints the rows of docs/performance.md.

#![allow(clippy::print_stdout)]

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use ldm_engine::{
    Cache, Ctx, Data, Disk, FileTable, Graph, Host, Identity, Kinds, Node, Options, Plan, Result,
    Run, Source, kind,
};

const SIZE: usize = 64 << 20;
const WEIGHTS: usize = 1 << 30;
const ROUNDS: u64 = 9;
const REST: Duration = Duration::from_secs(2);

/// Bytes on a link.
struct Blob(Vec<u8>, u64);

impl Data for Blob {
    const NAME: &'static str = "Blob";
    /// Not of the bytes: what is measured is the cache, not this.
    fn identity(&self) -> Identity {
        Identity::of(&[&self.1.to_le_bytes()])
    }
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }
    fn save(&self) -> Result<Cow<'_, [u8]>> {
        Ok((&*self.0).into())
    }
    fn load(bytes: Vec<u8>) -> Result<Self> {
        Ok(Self(bytes, 0))
    }
}

/// Gives 64 MiB.
#[derive(Node)]
struct Fill {
    /// With what.
    seed: u64,
}

impl Node for Fill {
    type Out = Blob;
    fn run(&self, _ctx: &mut Ctx) -> Result<Blob> {
        Ok(Blob(bytes(self.seed), self.seed))
    }
}

fn bytes(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    let mut state = seed | 1;
    for word in bytes.chunks_exact_mut(8) {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        word.copy_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// Seconds of a run whose result is wanted, less those of the node itself.
fn run(folder: &Path, seed: u64) -> f64 {
    let kinds = Kinds::new([kind::<Fill>()]);
    let text = format!(r#"Graph(nodes: {{ "a": Fill(seed: {seed}) }}, outputs: {{ "a": "a" }})"#);
    let path = folder.join("bench.ron");
    let graph = Graph::parse(Source::new("bench.ron", text), &path).expect("a graph");
    let plan = Plan::new(&graph, &kinds, &Options::default()).expect("a plan");
    let disk = Disk::new(folder.join("cache"), 1 << 40);
    let cache = Cache::new(1 << 30).on_disk(disk);
    let mut of_node = 0.0;
    let start = Instant::now();
    let report = Run::new(&plan, &Host::default(), &cache).go(&mut |event| {
        if let ldm_engine::Event::Node(node) = event {
            of_node += node.seconds.unwrap_or(0.0);
        }
    });
    let seconds = start.elapsed().as_secs_f64() - of_node;
    assert!(
        report
            .value::<Blob>("a")
            .is_some_and(|blob| blob.0.len() == SIZE)
    );
    seconds
}

fn write(path: &Path, bytes: &[u8]) -> f64 {
    let start = Instant::now();
    let mut file = File::create(path).expect("a file");
    file.write_all(bytes).expect("room");
    file.sync_data().expect("a disk");
    start.elapsed().as_secs_f64()
}

fn read(path: &Path) -> f64 {
    let start = Instant::now();
    let mut bytes = Vec::with_capacity(SIZE);
    let mut file = File::open(path).expect("a file");
    file.read_to_end(&mut bytes).expect("its bytes");
    start.elapsed().as_secs_f64()
}

/// Takes a folder's files out of the system's memory.
fn forget(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            forget(&path);
        } else {
            let file = File::open(path).expect("a file");
            file.sync_all().expect("a disk");
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
        }
    }
}

/// What `work` measures on a disk that has nothing left to do: after a large write, many are slow
/// for a while.
fn rested(work: impl FnOnce() -> f64) -> f64 {
    std::thread::sleep(REST);
    work()
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Seconds to know a file by its content, as the first use of a weight file does.
fn hash(path: &Path) -> f64 {
    let start = Instant::now();
    FileTable::default().identity(path).expect("its hash");
    start.elapsed().as_secs_f64()
}

/// Seconds to read a file through a buffer and do nothing with it, as `cat` does.
fn pass(path: &Path) -> f64 {
    let start = Instant::now();
    let mut file = File::open(path).expect("a file");
    let mut buffer = vec![0; 128 << 10];
    while file.read(&mut buffer).expect("its bytes") > 0 {}
    start.elapsed().as_secs_f64()
}

/// A weight file's first use: the hash that enters keys, cold and in memory.
fn weights(folder: &Path) {
    let path = folder.join("weights");
    let mut file = File::create(&path).expect("a file");
    for seed in 0..(WEIGHTS / SIZE) as u64 {
        file.write_all(&bytes(seed)).expect("room");
    }
    file.sync_all().expect("a disk");
    let [mut cold, mut read, mut warm, mut copied] = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        forget(folder);
        read.push(rested(|| pass(&path)));
        copied.push(pass(&path));
        forget(folder);
        cold.push(rested(|| hash(&path)));
        warm.push(hash(&path));
    }
    println!("\n| a file of 1 GiB | hash | file system alone | share |");
    println!("|---|---|---|---|");
    row("not in memory", WEIGHTS, cold, read);
    row("in memory", WEIGHTS, warm, copied);
}

fn row(what: &str, size: usize, own: Vec<f64>, theirs: Vec<f64>) {
    let rate = |seconds: f64| size as f64 / seconds / 1e6;
    let (own, theirs) = (rate(median(own)), rate(median(theirs)));
    let share = 100.0 * own / theirs;
    println!("| {what} | {own:.0} MB/s | {theirs:.0} MB/s | {share:.0} % |");
}

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    values(folder.path());
    weights(folder.path());
}

/// Values kept and found.
fn values(folder: &Path) {
    let plain = folder.join("plain");
    let [mut wrote, mut stored, mut had, mut found] = [const { Vec::new() }; 4];
    for round in 0..ROUNDS {
        wrote.push(rested(|| write(&plain, &bytes(round))));
        stored.push(rested(|| run(folder, round)));
        forget(folder);
        had.push(read(&plain));
        forget(folder);
        found.push(run(folder, round));
    }
    println!("| a value of 64 MiB | cache | file system alone | share |");
    println!("|---|---|---|---|");
    row("kept (beside write and fsync)", SIZE, stored, wrote);
    row("found (beside a cold read)", SIZE, found, had);
}
