//! `ldm-graph verify`: runs the graph that a picture carries again, and compares the pixels.
//!
//! Promises
//! - On the CPU pixels are equal or they are not; on a GPU they may differ by rounding, whose
//!   bounds `ldm_nodes::Difference` states.
//! - No result that was kept before has a part in the verdict: the cache is in memory, new, and
//!   knows no folder; unfinished work of earlier runs is out of reach, too. Pictures of one call
//!   share it, so that those of one batch are made once.
//! - Nothing but the graph is carried out. It writes below a temporary folder (the engine's
//!   `Writer` sees to that), which is gone when the verdict is there.
//! - A picture from a stranger is a misuse with words at worst, never a panic.
//!
//! Not here: what a picture file holds (`ldm_nodes::Carried`).

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use ldm_engine::kind::Nature;
use ldm_engine::{
    Cache, Diagnostic, Diagnostics, Done, Event, Graph, Host, Kinds, Plan, Run, Source, Stop,
};
use ldm_nodes::{Carried, Difference, Machine};

use crate::args::VerifyArgs;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::terminal::Terminal;
use crate::{Exit, run, stop};

/// Verifies every picture. It ends as the worst of them did.
///
/// # Errors
/// When stdout is closed or full.
pub(crate) fn verify(mut args: VerifyArgs, terminal: &mut Terminal) -> io::Result<Exit> {
    let pictures = std::mem::take(&mut args.pictures);
    let settings = Settings::from(args);
    let stop = Stop::new();
    let said = terminal.clone();
    run::listen(&stop, terminal, move || said.say(stop::STOPPING));
    let mut bench = Bench {
        kinds: Kinds::new(ldm_nodes::list()),
        cache: settings.cache(),
        settings,
        host: None,
        stop,
    };
    let mut worst = Exit::Done;
    for picture in &pictures {
        let exit = match bench.verify(picture, terminal) {
            Ok(verdict) => {
                terminal.print(&format!("{}: {}\n", picture.display(), verdict.words))?;
                if let Some(hint) = &verdict.hint {
                    terminal.say(hint);
                }
                verdict.exit
            }
            Err(Trouble { exit, errors }) => {
                if !errors.is_empty() {
                    terminal.diagnostics(&errors);
                }
                exit
            }
        };
        worst = match (worst, exit) {
            (_, Exit::Stopped) => return Ok(Exit::Stopped),
            (Exit::Misused, _) | (_, Exit::Misused) => Exit::Misused,
            (Exit::Failed, _) | (_, Exit::Failed) => Exit::Failed,
            _ => Exit::Done,
        };
    }
    Ok(worst)
}

/// What is said of a picture whose graph ran.
struct Verdict {
    exit: Exit,
    words: String,
    hint: Option<String>,
}

/// Why there is no verdict.
struct Trouble {
    exit: Exit,
    errors: Vec<Diagnostic>,
}

impl From<Diagnostics> for Trouble {
    fn from(errors: Diagnostics) -> Self {
        let exit = Exit::Misused;
        let errors = errors.0;
        Self { exit, errors }
    }
}

impl From<Diagnostic> for Trouble {
    fn from(error: Diagnostic) -> Self {
        Diagnostics::from(error).into()
    }
}

/// What all pictures share.
struct Bench {
    kinds: Kinds,
    settings: Settings,
    cache: Cache,
    /// With the machine, once a graph needed one.
    host: Option<Host>,
    stop: Stop,
}

/// A file that the graph wrote again.
struct Made {
    node: String,
    path: PathBuf,
}

impl Made {
    fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

impl Bench {
    fn verify(&mut self, picture: &Path, terminal: &Terminal) -> Result<Verdict, Trouble> {
        let carried = read(picture)?;
        let plan = self.plan(picture, &carried)?;
        let mut host = self.lend(&plan, terminal)?;
        let folder = tempfile::Builder::new().prefix("ldm-graph-").tempdir();
        let folder = folder.map_err(|error| Trouble {
            exit: Exit::Failed,
            errors: vec![Diagnostic::error(format!(
                "cannot make a temporary folder: {error}"
            ))],
        })?;
        host.out = folder.path().join("out");
        host.previews = None;
        // Of its own as well: a checkpoint of an earlier training is a kept result.
        host.work = Some(folder.path().join("work"));
        let made = self.run(&plan, &host, terminal)?;
        let machine = host.extensions.get::<Machine>();
        let device = machine.as_ref().map_or("cpu", |machine| machine.name());
        judge(picture, &carried, made, device)
    }

    fn plan(&self, picture: &Path, carried: &Carried) -> Result<Plan, Trouble> {
        let name = picture.display();
        let Some(text) = carried.graph() else {
            let error = match carried.other_program() {
                Some(program) => {
                    let message = format!("{name} carries metadata of {program}, and no graph");
                    let hint = "only pictures that `SaveImage` wrote can be verified";
                    Diagnostic::error(message).hint(hint)
                }
                None => Diagnostic::error(format!("{name} carries no graph")).hint(
                    "`SaveImage` puts it there, unless `metadata` is false; some programs take \
                     it out",
                ),
            };
            return Err(error.into());
        };
        // From the working folder on, so that the folders above it are known.
        let whole = std::path::absolute(picture).unwrap_or_else(|_| picture.to_owned());
        let graph = Graph::parse(Source::new(format!("{name} (graph)"), text), &whole)?;
        let plan = Plan::new(&graph, &self.kinds, &self.settings.options)?;
        let writes = plan
            .nodes()
            .any(|node| node.is_needed() && node.kind().nature == Nature::Effect);
        match writes {
            true => Ok(plan),
            false => Err(Diagnostic::error(format!("the graph of {name} writes no file")).into()),
        }
    }

    /// The machine is opened once, when the first graph that computes is there.
    fn lend(&mut self, plan: &Plan, terminal: &Terminal) -> Result<Host, Trouble> {
        if let Some(host) = &self.host {
            return Ok(host.clone());
        }
        let host = run::lend(&self.settings, plan, terminal).map_err(Diagnostic::error)?;
        if host.extensions.get::<Machine>().is_some() {
            self.host = Some(host.clone());
        }
        Ok(host)
    }

    /// Runs the graph and answers what it wrote.
    fn run(&self, plan: &Plan, host: &Host, terminal: &Terminal) -> Result<Vec<Made>, Trouble> {
        let mut progress = Progress::new(terminal);
        let mut made = Vec::new();
        let run = Run::new(plan, host, &self.cache).stopped_by(self.stop.clone());
        let report = run.go(&mut |event| {
            // Paths in the temporary folder are no results: stdout is for verdicts.
            let told = match event {
                Event::Wrote { node, path, .. } => {
                    made.push(Made {
                        node: node.clone(),
                        path: PathBuf::from(path),
                    });
                    return;
                }
                Event::Done(done) => progress.tell(&Event::Done(Done {
                    outputs: Vec::new(),
                    ..done.clone()
                })),
                other => progress.tell(other),
            };
            // Without paths nothing goes to stdout, which is all that can fail.
            let _ = told;
        });
        if report.is_complete() {
            return Ok(made);
        }
        let exit = match self.stop.is_stopped() {
            true => Exit::Stopped,
            false => Exit::Failed,
        };
        Err(Trouble {
            exit,
            errors: report.failures,
        })
    }
}

fn read(path: &Path) -> Result<Carried, Trouble> {
    let name = path.display();
    let file = match File::open(path) {
        Ok(_) if path.is_dir() => {
            return Err(Diagnostic::error(format!("{name} is a folder")).into());
        }
        Ok(file) => file,
        Err(error) => return Err(Diagnostic::error(format!("cannot read {name}: {error}")).into()),
    };
    Carried::read(BufReader::new(file)).map_err(|error| {
        let words = Diagnostic::error(format!("{name} {}", error.message()));
        words
            .maybe_hint(error.hint_text().map(str::to_owned))
            .into()
    })
}

/// Finds what was made that is this picture: by its file name first, since one of another name
/// may look alike.
fn judge(
    picture: &Path,
    carried: &Carried,
    mut made: Vec<Made>,
    device: &str,
) -> Result<Verdict, Trouble> {
    let own = picture.file_name().unwrap_or_default();
    made.retain(|made| {
        made.path
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("png"))
    });
    made.sort_by_key(|made| made.path.file_name() != Some(own));
    let mut nearest: Option<(Made, Option<Difference>, (u32, u32))> = None;
    for made in made {
        let again = read(&made.path)?;
        let found = carried.difference(&again);
        let same = |found: &Difference| found.is_none() || (device != "cpu" && found.is_rounding());
        if let Some(found) = found.filter(same) {
            return Ok(agrees(&made, &found, device));
        }
        let differing = |found: &Option<Difference>| found.map_or(u64::MAX, |f| f.differing);
        let nearer =
            |(_, before, _): &(_, Option<Difference>, _)| differing(&found) < differing(before);
        if nearest.as_ref().is_none_or(nearer) {
            nearest = Some((made, found, again.size()));
        }
    }
    let Some((made, found, size)) = nearest else {
        let name = picture.display();
        return Err(Diagnostic::error(format!("the graph of {name} writes no PNG file")).into());
    };
    let (node, name) = (&made.node, made.name());
    let words = match found {
        Some(found) => format!("{}, made by `{node}` as {name}", differs(&found)),
        None => {
            let ((w, h), (width, height)) = (carried.size(), size);
            format!("it is {w}×{h}, `{node}` made {name} of {width}×{height}")
        }
    };
    let hint = format!(
        "computed on {device}; another device, `--dtype` or model gives other pixels, and so does \
         an edited picture"
    );
    Ok(Verdict {
        exit: Exit::Failed,
        words,
        hint: Some(hint),
    })
}

fn agrees(made: &Made, found: &Difference, device: &str) -> Verdict {
    let (node, name) = (&made.node, made.name());
    let same = match found.is_none() {
        true => "the same pixels".to_owned(),
        false => {
            let (some, all, most) = (found.differing, found.pixels, found.largest);
            format!(
                "the same pixels but for rounding on {device} ({some} of {all} differ, by at most \
                 {most} of 255)"
            )
        }
    };
    Verdict {
        exit: Exit::Done,
        words: format!("{same}, made by `{node}` as {name}"),
        hint: None,
    }
}

fn differs(found: &Difference) -> String {
    let Difference {
        pixels,
        differing,
        largest,
        first,
        ..
    } = found;
    let (column, row) = first.unwrap_or_default();
    format!(
        "{differing} of {pixels} pixels differ, by at most {largest} of 255, the first in column \
         {column} of row {row}"
    )
}
