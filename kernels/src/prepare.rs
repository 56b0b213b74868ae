//! Preparing a GPU's kernels: what is compiled and tuned when it first runs is kept in a folder,
//! where the next process finds it.
//!
//! Promises
//! - Once [`keep`] was called, all that decides how kernels are prepared is set here: no
//!   `cubecl.toml` beside a graph and no variable of the environment has a say.
//! - A folder that cannot be used costs time and not the run, and is told of.
//!
//! cubecl keeps both in one database of its own. It says that it prepares a kernel through the
//! `log` crate alone, so this listens there, and prints nothing.
//!
//! Not here: the CPU, whose kernels are compiled with the program.

use std::io;
use std::path::{Path, PathBuf};

/// The name of the database, which ends in `.db`; its journal's in more.
const NAME: &str = "gpu";

/// What is heard while a GPU works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A kernel was compiled, or the fastest of several was found.
    Prepared,
    /// Kernels are not kept; the library says why.
    NotKept(String),
}

/// Has GPUs keep their kernels in `folder`, and tells `told` of what they prepare; it may be
/// called on any thread. To be called before a GPU is opened: the first folder of a process
/// stays, and the last `told`. Without a GPU compiled in, this does nothing.
pub fn keep(folder: &Path, told: impl Fn(Heard) + Send + Sync + 'static) {
    #[cfg(feature = "cuda")]
    gpu::keep(folder, Box::new(told));
    #[cfg(not(feature = "cuda"))]
    let _ = (folder, told);
}

/// The files that kernels are kept in, with their bytes; none where there is no such folder.
///
/// # Errors
/// When the folder cannot be listed.
pub fn files(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let begins = format!("{NAME}.db");
    let mut files = Vec::new();
    let listed = match folder.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        listed => listed?,
    };
    for entry in listed {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&begins) {
            files.push((entry.path(), entry.metadata()?.len()));
        }
    }
    Ok(files)
}

#[cfg(feature = "cuda")]
mod gpu {
    use std::path::Path;
    use std::sync::{PoisonError, RwLock};

    use cubecl::config::cache::CacheConfig;
    use cubecl::config::compilation::CompilationLogLevel;
    use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
    use log::{Level, LevelFilter, Log, Metadata, Record};

    use super::Heard;

    type Told = Box<dyn Fn(Heard) + Send + Sync>;

    static TOLD: RwLock<Option<Told>> = RwLock::new(None);

    pub(super) fn keep(folder: &Path, told: Told) {
        *TOLD.write().unwrap_or_else(PoisonError::into_inner) = Some(told);
        let mut config = CubeClRuntimeConfig::default();
        config.environment.name = super::NAME.to_owned();
        config.environment.path = CacheConfig::Directory(folder.to_owned());
        config.compilation.cache = true;
        config.compilation.logger.level = CompilationLogLevel::Basic;
        // By their names alone: the type of this field is public but cannot be named.
        config.compilation.logger.log = Some(Default::default());
        config.autotune.logger.log = Some(Default::default());
        if CubeClRuntimeConfig::try_set(config) && log::set_logger(&Listener).is_ok() {
            log::set_max_level(LevelFilter::Info);
        }
    }

    /// Hears what cubecl says, and nobody else.
    struct Listener;

    /// Who says that a kernel was prepared: cubecl's loggers, named in the configuration above.
    const PREPARES: [&str; 2] = ["cubecl::compilation", "cubecl::autotune"];
    /// Who warns that a kernel is not kept.
    const KEEPS: &str = "cubecl_environment::persistence";

    impl Listener {
        fn heard(metadata: &Metadata<'_>) -> Option<fn(String) -> Heard> {
            match metadata.target() {
                target if PREPARES.contains(&target) => Some(|_| Heard::Prepared),
                target if target.starts_with(KEEPS) && metadata.level() <= Level::Warn => {
                    Some(Heard::NotKept)
                }
                _ => None,
            }
        }
    }

    impl Log for Listener {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            Self::heard(metadata).is_some()
        }

        fn log(&self, record: &Record<'_>) {
            let told = TOLD.read().unwrap_or_else(PoisonError::into_inner);
            if let (Some(heard), Some(told)) = (Self::heard(record.metadata()), &*told) {
                told(heard(record.args().to_string()));
            }
        }

        fn flush(&self) {}
    }

    #[cfg(test)]
    mod tests {
        use std::sync::{Arc, Mutex};

        use super::*;

        #[test]
        fn what_cubecl_says_of_kernels_is_heard_and_nothing_else() {
            let folder = std::env::temp_dir().join("ldm-graph kernels");
            let all = Arc::new(Mutex::new(Vec::new()));
            let heard = all.clone();
            keep(
                &folder,
                Box::new(move |what| heard.lock().unwrap().push(what)),
            );
            let path = cubecl::environment::path();
            assert_eq!(path, folder.join("gpu.db"));
            assert!(CubeClRuntimeConfig::get().compilation.cache);
            log::info!(target: "cubecl::autotune", "a matmul");
            log::warn!(target: "cubecl_environment::persistence::turso", "no room");
            log::info!(target: "cubecl_environment::persistence::turso", "opened");
            log::warn!(target: "somebody else", "hello");
            let wanted = [Heard::Prepared, Heard::NotKept("no room".to_owned())];
            assert_eq!(*all.lock().unwrap(), wanted);
        }
    }
}
