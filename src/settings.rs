//! What the arguments mean, together with the environment and the machine.
//!
//! The environment is read here and in `terminal` (NO_COLOR), nowhere else.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use etcetera::BaseStrategy;
use ldm_engine::{Cache, Disk, Host, Options, Plan, Search};
use ldm_nodes::{DeviceChoice, Isa, Precision};

use crate::args::{
    BoundsArgs, ExplainArgs, HostArgs, LockArgs, PlanArgs, RunArgs, ShowArgs, StoreArgs, VerifyArgs,
};

/// Folders of models, separated as `PATH` is.
const MODELS: &str = "LDM_GRAPH_MODELS";

/// The folder of kept results.
const CACHE: &str = "LDM_GRAPH_CACHE";

/// Our folder among the user's.
const OURS: &str = "ldm-graph";

/// What a graph is planned and run with.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The graph file.
    pub(crate) graph: PathBuf,
    /// What it is planned with.
    pub(crate) options: Options,
    /// Whether files carry the graph that made them.
    pub(crate) metadata: bool,
    /// Whether the lock file beside the graph must hold.
    pub(crate) locked: bool,
    /// Whether events are printed instead of sentences.
    pub(crate) json: bool,
    /// The device asked for.
    pub(crate) device: DeviceChoice,
    /// The instruction set asked for.
    pub(crate) isa: Isa,
    /// The number type asked for.
    pub(crate) precision: Option<Precision>,
    /// Whether a GPU captures the steps of a UNet.
    pub(crate) captures: bool,
    /// CPU threads.
    pub(crate) threads: usize,
    /// Bytes of weights that may be held.
    pub(crate) weights: u64,
    /// Whether files are hashed anew.
    rehash: bool,
    /// Bytes of results that may be held.
    results: u64,
    store: Store,
    /// Whether results are kept on disk.
    keep: bool,
    out: PathBuf,
    overwrite: bool,
}

impl From<RunArgs> for Settings {
    fn from(args: RunArgs) -> Self {
        Self {
            json: args.json,
            locked: args.locked,
            overwrite: args.overwrite,
            ..Self::of(args.graph, &args.plan, args.host)
        }
    }
}

impl From<ExplainArgs> for Settings {
    fn from(args: ExplainArgs) -> Self {
        Self {
            json: args.json,
            ..Self::of(args.graph, &args.plan, args.host)
        }
    }
}

impl From<ShowArgs> for Settings {
    fn from(args: ShowArgs) -> Self {
        Self::of(args.graph, &args.plan, args.host)
    }
}

impl From<LockArgs> for Settings {
    fn from(args: LockArgs) -> Self {
        let host = HostArgs {
            store: args.store,
            no_cache: false,
            rehash: args.rehash,
            out: PathBuf::new(),
            no_metadata: args.no_metadata,
            device: args.device,
            bounds: BoundsArgs::default(),
        };
        Self::of(args.graph, &args.plan, host)
    }
}

/// Of `verify`: without a graph yet, and without kept results.
impl From<VerifyArgs> for Settings {
    fn from(args: VerifyArgs) -> Self {
        let plan = PlanArgs {
            set: Vec::new(),
            only: Vec::new(),
            models: args.models,
        };
        let host = HostArgs {
            store: StoreArgs {
                cache: None,
                cache_size: Bytes(0),
            },
            no_cache: true,
            rehash: false,
            out: PathBuf::new(),
            no_metadata: false,
            device: args.device,
            bounds: args.bounds,
        };
        let mut settings = Self::of(PathBuf::new(), &plan, host);
        settings.options.search.also = vec![PathBuf::from(".")];
        settings
    }
}

impl Settings {
    fn of(graph: PathBuf, plan: &PlanArgs, host: HostArgs) -> Self {
        let memory = host
            .bounds
            .memory
            .map_or_else(half_of_machine, |bytes| bytes.0);
        // A result is small beside the weights that made it.
        let results = memory / 4;
        Self {
            graph,
            options: options(plan),
            metadata: !host.no_metadata,
            json: false,
            locked: false,
            device: host.device.device,
            isa: host.device.cpu_isa,
            precision: host.device.dtype,
            captures: host.device.cuda_graphs,
            threads: threads(host.bounds.threads),
            weights: memory - results,
            rehash: host.rehash,
            results,
            store: Store::of(&host.store),
            keep: !host.no_cache,
            out: host.out,
            overwrite: false,
        }
    }

    /// Whether files can be written below `--out`, as far as can be said without writing one.
    ///
    /// # Errors
    /// When a file stands where a folder is wanted.
    pub(crate) fn check_out(&self) -> Result<(), String> {
        let standing = |path: &&Path| path.metadata().is_ok();
        match self.out.ancestors().find(standing) {
            Some(path) if !path.is_dir() => {
                let (path, out) = (path.display(), self.out.display());
                Err(format!(
                    "{path} is a file, `--out {out}` wants a folder there"
                ))
            }
            _ => Ok(()),
        }
    }

    /// What a run is lent, before there is a device.
    pub(crate) fn host(&self) -> Host {
        let inside = |name: &str| self.store.root.as_ref().map(|root| root.join(name));
        Host {
            out: self.out.clone(),
            overwrite: self.overwrite,
            previews: inside("previews"),
            work: inside("work"),
            threads: self.threads,
            ..Host::default()
        }
    }

    /// Where a GPU finds the kernels again that it prepared, whether or not results are kept.
    pub(crate) fn kernels(&self) -> Option<PathBuf> {
        self.store.kernels()
    }

    /// Where results are found again.
    pub(crate) fn cache(&self) -> Cache {
        let cache = Cache::new(self.results);
        let cache = match self.store.disk().filter(|_| self.keep) {
            Some(disk) => cache.on_disk(disk),
            None => cache,
        };
        if self.rehash {
            cache.files().forget();
        }
        cache
    }

    /// The options that take the graph out of every file the plan writes.
    pub(crate) fn without_metadata(&self, plan: &Plan) -> Options {
        let carrying = plan
            .nodes()
            .filter(|node| node.kind().setting("metadata").is_some());
        let mut options = self.options.clone();
        options
            .sets
            .extend(carrying.map(|node| format!("{}.metadata=false", node.name())));
        options
    }
}

/// The folder of kept results.
#[derive(Debug)]
pub(crate) struct Store {
    /// Where it is; nowhere on a system that has no place for it.
    root: Option<PathBuf>,
    size: u64,
}

impl Store {
    pub(crate) fn of(args: &StoreArgs) -> Self {
        let named = std::env::var_os(CACHE).filter(|name| !name.is_empty());
        let usual = || folders().map(|folders| folders.cache_dir().join(OURS));
        let root = args.cache.clone().or_else(|| named.map(PathBuf::from));
        Self {
            root: root.or_else(usual),
            size: args.cache_size.0,
        }
    }

    /// The folder of a GPU's kernels there.
    pub(crate) fn kernels(&self) -> Option<PathBuf> {
        Some(self.root.as_ref()?.join("kernels"))
    }

    /// The disk tier there.
    pub(crate) fn disk(&self) -> Option<Disk> {
        Some(Disk::new(self.root.as_ref()?, self.size))
    }
}

/// What a graph is planned with.
pub(crate) fn options(args: &PlanArgs) -> Options {
    let more = std::env::var_os(MODELS).unwrap_or_default();
    let listed = std::env::split_paths(&more).filter(|path| !path.as_os_str().is_empty());
    Options {
        sets: args.set.clone(),
        only: args.only.clone(),
        search: Search {
            also: Vec::new(),
            models: args.models.iter().cloned().chain(listed).collect(),
            data: folders().map(|folders| folders.data_dir().join(OURS)),
        },
    }
}

/// The user's folders: `XDG_DATA_HOME`, `XDG_CACHE_HOME` or what the platform has for them.
fn folders() -> Option<impl BaseStrategy> {
    etcetera::choose_base_strategy().ok()
}

/// The threads asked for; all of the machine's when none are.
pub(crate) fn threads(asked: Option<u16>) -> usize {
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    asked.map_or_else(available, usize::from)
}

/// Half of the machine's memory; 4 GiB where the system does not say.
fn half_of_machine() -> u64 {
    machine_memory().map_or(4 << 30, |bytes| bytes / 2)
}

/// Bytes of memory that the machine has, where the system says.
pub(crate) fn machine_memory() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = told
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib = total.trim().strip_suffix("kB")?.trim().parse::<u64>();
    Some(kib.ok()?.saturating_mul(1024))
}

/// A number of bytes: `512`, `800M`, `1.5GiB`. Units are powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

impl FromStr for Bytes {
    type Err = String;

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size; write `800M`, `6G` or a number of bytes");
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kb" | "kib" => 1024.0,
            "m" | "mb" | "mib" => 1024.0 * 1024.0,
            "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
            "t" | "tb" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            _ => return Err(wrong()),
        };
        let bytes = number.parse::<f64>().map_err(|_| wrong())? * unit;
        match (1.0..=u64::MAX as f64).contains(&bytes) {
            true => Ok(Self(bytes as u64)),
            false => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        let read = |text: &str| text.parse::<Bytes>().map(|bytes| bytes.0);
        assert_eq!(read("512"), Ok(512));
        assert_eq!(read("800M"), Ok(800 << 20));
        assert_eq!(read("1.5 GiB"), Ok(3 << 29));
        for wrong in ["", "G", "-1", "0", "1X", "1.2.3M", "NaN", "inf"] {
            assert!(read(wrong).is_err_and(|e| e.contains("800M")), "{wrong}");
        }
    }

    #[test]
    fn the_machine_has_memory() {
        assert!(half_of_machine() > 1 << 20);
    }
}
