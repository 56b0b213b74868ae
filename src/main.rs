//! `ldm-graph`, the command: arguments in, terminal out.
//!
//! ```text
//! args      what was typed            run, watch, check, show, …: a file a subcommand
//! settings  what it means             face, terminal, draw, progress, json: how it is shown
//! stop      signals                   pool: the threads that compute
//! bug       what a panic says         reference: kinds of nodes as text and as a page
//! ```
//!
//! Promises
//! - Results go to stdout, the rest to stderr; everything is readable without colour.
//! - It ends in 0 when all is done, 1 when the run failed, 2 when the graph or the flags are
//!   wrong, 130 when it was stopped. A closed stdout ends it quietly.
//! - Only this crate prints, exits or reads the environment.
//!
//! Not here: what a graph means (`ldm-engine`), what nodes do (`ldm-nodes`).

mod args;
mod bench;
mod bug;
mod cache;
mod check;
mod completions;
mod draw;
mod explain;
mod face;
mod inspect;
mod json;
mod lock;
mod man;
mod nodes;
mod pool;
mod progress;
mod reference;
mod run;
mod settings;
mod show;
mod stop;
mod terminal;
mod verify;
mod watch;

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use args::Command;
use terminal::Terminal;

/// Large buffers are kept for the next layer; `watch` gives them back when it waits.
#[global_allocator]
static MEMORY: ldm_nodes::memory::Large = ldm_nodes::memory::Large;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// All that was asked for is done.
    Done,
    /// The run failed.
    Failed,
    /// The graph or the flags are wrong.
    Misused,
    /// Stopped by Ctrl-C, SIGTERM or a closed stdout.
    Stopped,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Misused => 2,
            Exit::Stopped => 130,
        })
    }
}

fn main() -> ExitCode {
    bug::catch(|| {
        // A system that refuses has no such signal either.
        #[cfg(unix)]
        let _ = stop::outlive_limits();
        let typed: Vec<_> = std::env::args_os().collect();
        match args::parse(&typed) {
            Ok(args) => dispatch(args),
            Err(said) => {
                let terminal = Terminal::new(args::color_of(&typed), Default::default());
                ended(terminal.clap(&said), &terminal)
            }
        }
    })
    .unwrap_or(Exit::Failed)
    .into()
}

fn dispatch(args: args::Args) -> Exit {
    let mut terminal = Terminal::new(args.color, args.verbosity());
    let outcome = match args.command {
        Command::Run(args) => run::run(args, &mut terminal),
        Command::Watch(args) => watch::watch(args, &mut terminal),
        Command::Explain(args) => explain::explain(args, &mut terminal),
        Command::Show(args) => show::show(args, &mut terminal),
        Command::Lock(args) => lock::lock(args, &mut terminal),
        Command::Verify(args) => verify::verify(args, &mut terminal),
        Command::Cache(args) => cache::cache(&args, &mut terminal),
        Command::Check(args) => check::check(&args, &mut terminal),
        Command::Bench(args) => bench::bench(&args, &mut terminal),
        Command::Inspect(args) => inspect::inspect(&args, &mut terminal),
        Command::Nodes(args) => nodes::nodes(&args, &mut terminal),
        Command::Completions(args) => completions::completions(args.shell, &mut terminal),
        Command::Man(args) => man::man(args.command.as_deref(), &mut terminal),
    };
    ended(outcome, &terminal)
}

/// A stdout that nobody reads any more ends the program quietly; one that is full does not.
fn ended(outcome: io::Result<Exit>, terminal: &Terminal) -> Exit {
    match outcome {
        Ok(exit) => exit,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            terminal.error(&format!("cannot write to stdout: {error}"), None);
            Exit::Failed
        }
    }
}
