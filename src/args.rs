//! What was typed, as types. What it means is settled in `settings`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, CommandFactory, Parser, Subcommand, ValueHint};
use ldm_nodes::{DeviceChoice, Isa, Precision};

use crate::settings::Bytes;
use crate::show::Format;
use crate::terminal::{Color, Verbosity};

/// Runs latent diffusion models from declarative graphs.
#[derive(Debug, Parser)]
#[command(name = "ldm-graph", version, max_term_width = 100)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// When to use colour; `auto` obeys NO_COLOR.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN"
    )]
    pub(crate) color: Color,
    /// Say nothing but errors and results.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Say why each node runs, and what is loaded.
    #[arg(short, long, global = true, action = ArgAction::SetTrue)]
    verbose: bool,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a graph: what its roots need, and nothing else.
    Run(RunArgs),
    /// Run a graph, and on every save what the edit changes; Ctrl-C ends.
    Watch(RunArgs),
    /// Tell for each node whether it would run, and why.
    Explain(ExplainArgs),
    /// Draw a graph: its nodes, the types on its links, what is kept.
    Show(ShowArgs),
    /// Write down what decides a graph's results, for `run --locked`.
    Lock(LockArgs),
    /// Run the graph that a picture carries again, and compare the pixels.
    ///
    /// What the graph reads is looked for in the picture's folder and those above it, then in
    /// the working folder and those above it, then in the folders of `--models`, those of
    /// LDM_GRAPH_MODELS, and the platform's data folder.
    ///
    /// On the CPU the pixels must be equal. On a GPU they may be off by 2 of 255 on the mean,
    /// and by more than 8 in one pixel of a hundred. Kept results are not used, and nothing that
    /// the graph writes stays.
    Verify(VerifyArgs),
    /// Look after the folder of kept results.
    Cache(CacheArgs),
    /// Check graphs without running them: offline, reading headers only.
    Check(CheckArgs),
    /// Tell what files of weights hold: networks, sizes, adapters, faults; headers only.
    ///
    /// The name of a file decides nothing, and nothing in a checkpoint is run. The exit code is 1
    /// when a file has a fault.
    Inspect(InspectArgs),
    /// Measure how fast the CPU's kernels are on this machine.
    ///
    /// Each is run at the sizes that Stable Diffusion 1.5 has for a picture of 512×512, and beside
    /// the plain operations of the tensor library. That takes some minutes, and 3 GB of memory.
    Bench(BenchArgs),
    /// Show the kinds of nodes: all, or one with its ports and settings.
    Nodes(NodesArgs),
    /// Print completions for a shell.
    Completions(CompletionsArgs),
    /// Print a man page: of the program, or of a subcommand.
    Man(ManArgs),
}

/// Titles under which `--help` lists the flags.
const GRAPH: &str = "The graph";
const KEPT: &str = "Kept results";
const OUTPUT: &str = "Output";
const MACHINE: &str = "The machine";

/// What a graph is planned with, whether it is run or checked.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = GRAPH)]
pub(crate) struct PlanArgs {
    /// Give an input or a node's setting another value; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// Make this node the root instead of the graph's own; may be repeated.
    #[arg(long, value_name = "NODE")]
    pub(crate) only: Vec<String>,
    /// Look for models here as well; may be repeated. LDM_GRAPH_MODELS lists more.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) models: Vec<PathBuf>,
}

/// Where results are kept.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = KEPT)]
pub(crate) struct StoreArgs {
    /// Keep results in this folder; LDM_GRAPH_CACHE or the platform's cache folder when left
    /// out.
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) cache: Option<PathBuf>,
    /// Let kept results take so much of the disk: `500M`, `20G`.
    #[arg(long, global = true, value_name = "SIZE", default_value = "16G")]
    pub(crate) cache_size: Bytes,
}

/// What a run is carried out with, whether it is done or only explained.
#[derive(Debug, clap::Args)]
pub(crate) struct HostArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Neither use kept results nor keep any.
    #[arg(long, conflicts_with = "cache", help_heading = KEPT)]
    pub(crate) no_cache: bool,
    /// Hash every file anew, whatever its size and times say.
    #[arg(long, help_heading = KEPT)]
    pub(crate) rehash: bool,
    /// Write files below this folder, and nowhere else.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "out",
        value_hint = ValueHint::DirPath,
        help_heading = OUTPUT
    )]
    pub(crate) out: PathBuf,
    /// Write pictures without the graph that made them.
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) no_metadata: bool,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) bounds: BoundsArgs,
}

/// What is computed with.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = MACHINE)]
pub(crate) struct DeviceArgs {
    /// Compute on `cpu`, `cuda` or `cuda:N`; `auto` takes a GPU where one works.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub(crate) device: DeviceChoice,
    /// Hold the UNet in `f32`, `f16` or `bf16`; f32 on the CPU and f16 on CUDA when left out.
    /// CUDA computes in that type too, and so do KL autoencoders there, in bf16 where they would
    /// run over in f16; text encoders hold their weights in f16 and compute in f32. The CPU saves
    /// memory, and computes in f32 but for bf16 where it multiplies that, which is faster.
    #[arg(long, value_name = "TYPE")]
    pub(crate) dtype: Option<Precision>,
    /// Have the CPU's kernels use `avx512-bf16`, `avx512`, `avx2` or `portable` instructions;
    /// `auto` takes the first that the CPU has. The last digits of results may differ.
    #[arg(long, default_value = "auto", value_name = "SET")]
    pub(crate) cpu_isa: Isa,
    /// On CUDA, capture a step of the UNet as one CUDA graph and launch that at each step. Nobody
    /// has tried this on a GPU yet: hold the pictures to those made without it.
    #[arg(long)]
    pub(crate) cuda_graphs: bool,
}

/// How much of the machine is taken.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = MACHINE)]
pub(crate) struct BoundsArgs {
    /// Compute on so many CPU threads; all when left out. The result is the same.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Hold at most so much of weights and results: `800M`, `6G`. Half of the machine when
    /// left out. A picture that an autoencoder cannot take at once within it goes in tiles.
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<Bytes>,
}

/// Arguments of `run` and `watch`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The graph file.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) graph: PathBuf,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Run only what the lock file beside the graph (GRAPH.lock) holds; `ldm-graph lock` writes
    /// one.
    #[arg(long, help_heading = GRAPH)]
    pub(crate) locked: bool,
    /// Replace files of other content instead of taking the next free name.
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) overwrite: bool,
    /// Print one event a line on stdout, as JSON, for programs.
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
}

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The graph file.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) graph: PathBuf,
    /// Tell of these nodes only.
    pub(crate) nodes: Vec<String>,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Print one JSON object a line on stdout, for programs.
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
}

/// Arguments of `show`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The graph file.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) graph: PathBuf,
    /// Write the picture to this file, replacing it: .svg, .mmd, .md, .dot or .gv. Printed when
    /// left out.
    #[arg(short = 'o', long = "to", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) to: Option<PathBuf>,
    /// Draw in this format; what the file's name ends in, or Mermaid, when left out.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    #[command(flatten)]
    pub(crate) host: HostArgs,
}

/// Arguments of `lock`.
#[derive(Debug, clap::Args)]
pub(crate) struct LockArgs {
    /// The graph file. The lock file stands beside it: `txt2img.ron.lock`.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) graph: PathBuf,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Hash every file anew, whatever its size and times say.
    #[arg(long, help_heading = KEPT)]
    pub(crate) rehash: bool,
    /// Lock for `run --no-metadata`: pictures without the graph that made them.
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) no_metadata: bool,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The pictures, as `SaveImage` wrote them.
    #[arg(required = true, value_name = "PICTURE", value_hint = ValueHint::FilePath)]
    pub(crate) pictures: Vec<PathBuf>,
    /// Look for models here as well; may be repeated. LDM_GRAPH_MODELS lists more.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = GRAPH)]
    pub(crate) models: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) bounds: BoundsArgs,
}

/// Arguments of `cache`.
#[derive(Debug, clap::Args)]
pub(crate) struct CacheArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: CacheAction,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// What can be done with the cache folder.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum CacheAction {
    /// Show what the folder holds.
    Stat,
    /// Read every entry and remove the damaged ones.
    Verify,
    /// Remove what dead runs and older programs left, and what is over the size.
    Gc,
    /// Remove every kept result, and a GPU's kernels. Unfinished training stays.
    Clear,
}

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The graph files.
    #[arg(required = true, value_name = "GRAPH", value_hint = ValueHint::FilePath)]
    pub(crate) graphs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
}

/// Arguments of `inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// Files of weights, or folders of models.
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,
    /// Print one JSON object a line on stdout, for programs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// Measure one size of each kind, in seconds.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Measure the sizes that training the shipped model has, with their backward passes.
    #[arg(long, conflicts_with = "quick")]
    pub(crate) training: bool,
    /// Give layers weights of this type: `f32`, `f16` or `bf16`. Those of training are f32.
    #[arg(
        long,
        default_value = "f32",
        value_name = "TYPE",
        conflicts_with = "training"
    )]
    pub(crate) dtype: Precision,
    /// Print one JSON object a line on stdout, for programs.
    #[arg(long)]
    pub(crate) json: bool,
    /// Compute on so many CPU threads; all when left out.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1024),
        help_heading = MACHINE
    )]
    pub(crate) threads: Option<u16>,
    /// Have the kernels use `avx512-bf16`, `avx512`, `avx2` or `portable` instructions; `auto`
    /// takes the first that the CPU has.
    #[arg(long, default_value = "auto", value_name = "SET", help_heading = MACHINE)]
    pub(crate) cpu_isa: Isa,
}

/// Arguments of `nodes`.
#[derive(Debug, clap::Args)]
pub(crate) struct NodesArgs {
    /// The kind to show.
    pub(crate) kind: Option<String>,
    /// Print the reference page of all kinds, as Markdown.
    #[arg(long, conflicts_with = "kind")]
    pub(crate) markdown: bool,
}

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// The subcommand to describe.
    pub(crate) command: Option<String>,
}

impl Args {
    /// What `-q` and `-v` ask for.
    pub(crate) fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Usual,
        }
    }
}

/// Reads the command line.
///
/// # Errors
/// What clap has to say: a fault of the flags, or the help that was asked for.
pub(crate) fn parse(typed: &[OsString]) -> Result<Args, clap::Error> {
    Args::try_parse_from(typed)
}

/// The whole command, for completions and man pages.
pub(crate) fn command() -> clap::Command {
    Args::command()
}

/// The colour asked for on a command line that clap could not read, or answered itself.
pub(crate) fn color_of(typed: &[OsString]) -> Color {
    let typed: Vec<_> = typed.iter().map(|word| word.to_string_lossy()).collect();
    let apart = typed
        .windows(2)
        .filter(|pair| pair[0] == "--color")
        .map(|pair| &*pair[1]);
    let joined = typed
        .iter()
        .filter_map(|word| word.strip_prefix("--color="));
    let wanted = apart.chain(joined).last();
    let known = |word| <Color as clap::ValueEnum>::from_str(word, false).ok();
    wanted.and_then(known).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn colour_is_known_before_the_flags_are_read() {
        assert_eq!(
            color_of(&words("ldm-graph --color never run --bad")),
            Color::Never
        );
        assert_eq!(
            color_of(&words("ldm-graph run --color=always")),
            Color::Always
        );
        assert_eq!(color_of(&words("ldm-graph run --color")), Color::Auto);
    }

    #[test]
    fn flags_that_cannot_be_meant_together_are_refused() {
        assert!(parse(&words("ldm-graph run a.ron -q -v")).is_err());
        assert!(parse(&words("ldm-graph nodes --markdown Denoise")).is_err());
        assert!(parse(&words("ldm-graph run a.ron --threads 0")).is_err());
        assert!(parse(&words("ldm-graph check")).is_err());
    }
}
