//! A bench for the program: a folder of its own, a model of a few channels, and what came out.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::SystemTime;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor};
use ldm_models::autoencoder::KlAutoencoderConfig;
use ldm_models::noise::Noise;
use ldm_models::schedule::ScheduleConfig;
use ldm_models::text::TextTransformerConfig;
use ldm_models::tokenizer::Tokenizer;
use ldm_models::unet::{Heads, UNetConfig};
use ldm_models::weights::manifest::{TextConfig, TextPart, UNetPart, VaeConfig, VaePart};
use ldm_models::weights::{LatentSpec, Manifest, SaveAs, save};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether expectations are to be rewritten instead of compared.
pub(crate) fn updates() -> bool {
    std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1")
}

/// A folder that holds the model as `weights/text`; made once for all tests.
pub(crate) fn models() -> &'static Path {
    static MODELS: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        make_model(&folder.path().join("weights/text"));
        folder
    });
    MODELS.path()
}

/// A folder to work in, and the program.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
}

/// How the program ended.
pub(crate) struct Ended {
    /// The exit code; 1000 when a signal ended it.
    pub(crate) code: i32,
    /// stdout
    pub(crate) out: String,
    /// stderr
    pub(crate) err: String,
}

impl Lab {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in the folder.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let above = path.parent().expect("a path in a folder");
        std::fs::create_dir_all(above).expect("a folder can be made");
        std::fs::write(&path, content).expect("a file can be written");
        path
    }

    /// The program, not yet started, in this folder and away from the user's own.
    pub(crate) fn command<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ldm-graph"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        for name in [
            "NO_COLOR",
            "RUST_BACKTRACE",
            "LDM_GRAPH_CACHE",
            "LDM_GRAPH_MODELS",
            "CLICOLOR_FORCE",
        ] {
            command.env_remove(name);
        }
        command
            .env("XDG_DATA_HOME", self.path("data"))
            .env("XDG_CACHE_HOME", self.path("cache"));
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ended {
        Ended::of(
            self.command(arguments)
                .output()
                .expect("the program starts"),
        )
    }

    /// `ldm-graph run` of a graph with these nodes, with the model at hand.
    pub(crate) fn graph(&self, nodes: &str, flags: &[&str]) -> Ended {
        self.write("graph.ron", format!("Graph(nodes: {{\n{nodes}\n}})\n"));
        let mut arguments = vec!["run", "graph.ron", "--models", utf8(models())];
        arguments.extend(flags);
        self.run(arguments)
    }

    /// What stands in a file, if it is there.
    pub(crate) fn read(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.path(name)).ok()
    }
}

impl Ended {
    /// Of a finished process.
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(1000),
            out: String::from_utf8(output.stdout).expect("stdout is text"),
            err: String::from_utf8(output.stderr).expect("stderr is text"),
        }
    }

    /// Asserts the exit code, showing what was said when it is another.
    #[track_caller]
    pub(crate) fn code(&self, wanted: i32) -> &Self {
        assert_eq!(
            self.code, wanted,
            "stdout:\n{}\nstderr:\n{}",
            self.out, self.err
        );
        self
    }

    /// Asserts that stderr says this.
    #[track_caller]
    pub(crate) fn says(&self, words: &str) -> &Self {
        assert!(
            self.err.contains(words),
            "`{words}` is not in:\n{}",
            self.err
        );
        self
    }
}

/// Numbers that a seed decides: a new one each time, unless `LDM_GRAPH_KILL_SEED` sets it.
pub(crate) struct Chance {
    seed: u64,
    drawn: u64,
}

impl Chance {
    /// Prints the seed, for whoever reads why a test failed; one that passes shows nothing.
    #[allow(clippy::print_stderr)]
    pub(crate) fn new() -> Self {
        let fixed = std::env::var("LDM_GRAPH_KILL_SEED").ok();
        let fixed = fixed.map(|seed| seed.parse().expect("LDM_GRAPH_KILL_SEED is a number"));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seed = fixed.unwrap_or_else(|| now.expect("a clock").as_secs());
        eprintln!("LDM_GRAPH_KILL_SEED={seed}");
        Self { seed, drawn: 0 }
    }

    /// The next number, below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, self.drawn).hash(&mut hasher);
        self.drawn += 1;
        hasher.finish() % end
    }
}

/// A path as an argument.
pub(crate) fn utf8(path: &Path) -> &str {
    path.to_str().expect("temporary folders are UTF-8")
}

/// Writes a model whose networks have a few channels, random weights, and the shape of a real
/// one: an f8 autoencoder, a conditional UNet, a text encoder.
pub(crate) fn make_model(folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder can be made");
    let tokenizer = Tokenizer::from_words(["a red blue house by the lake at night"], 6);
    let tokenizer = tokenizer.expect("a tokenizer");
    let vae = KlAutoencoderConfig {
        in_channels: 3,
        ch: 4,
        ch_mult: vec![1, 1, 1, 1],
        num_res_blocks: 1,
        attn_resolutions: vec![],
        resolution: 64,
        z_channels: 4,
        embed_dim: 4,
        groups: 2,
    };
    let unet = UNetConfig {
        in_channels: 4,
        out_channels: 4,
        model_channels: 8,
        channel_mult: vec![1, 2],
        num_res_blocks: 1,
        attention_resolutions: vec![1],
        heads: Heads::Count(2),
        context_dim: Some(4),
        transformer_depth: vec![1],
        groups: 2,
        middle_depth: None,
        label: None,
        scale_shift: false,
        resblock_updown: false,
    };
    let text = TextTransformerConfig {
        vocab_size: tokenizer.vocabulary(),
        max_length: tokenizer.length(),
        width: 4,
        layers: 1,
        heads: 2,
        head_width: 2,
    };
    let device = Device::default();
    write(
        vae.init(&device, 1).expect("a sound shape"),
        &folder.join("vae.safetensors"),
    );
    write(
        unet.init(&device, 2).expect("a sound shape"),
        &folder.join("unet.safetensors"),
    );
    write(
        text.init(&device, 3).expect("a sound shape"),
        &folder.join("text.safetensors"),
    );
    let json = tokenizer.to_json().expect("a tokenizer can be written");
    std::fs::write(folder.join("tokenizer.json"), json).expect("a file can be written");
    let mut manifest = Manifest::new(
        "tiny",
        LatentSpec {
            factor: 8,
            channels: 4,
            scale: 0.5,
        },
    );
    manifest.schedule = Some(ScheduleConfig::scaled_linear(0.0015, 0.0195));
    manifest.vae = Some(VaePart {
        fits_f16: false,
        file: "vae.safetensors".into(),
        config: VaeConfig::Kl(vae),
    });
    manifest.unet = Some(UNetPart {
        file: "unet.safetensors".into(),
        config: unet,
    });
    manifest.text_encoder = Some(TextPart {
        file: "text.safetensors".into(),
        tokenizer: "tokenizer.json".into(),
        config: TextConfig::Bert(text),
    });
    manifest.write(folder).expect("a manifest can be written");
}

/// Stirred first: layers that start at zero would hide what comes before them.
fn write<M: Module>(network: M, path: &Path) {
    let network = network.map(&mut Stir(Noise::new(7)));
    save(&network, path, SaveAs::F32).expect("weights can be written");
}

struct Stir(Noise);

impl ModuleMapper for Stir {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|weights| {
            let noise = self.0.like(&weights);
            weights + noise * 0.1
        })
    }
}
