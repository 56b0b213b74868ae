//! `ldm-graph watch`: a session is a story of edits and of the events that answer them.
//!
//! Nothing here sleeps and hopes: every step waits for the event that it is about, for as long as
//! a slow machine may take.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lab::{Lab, models, utf8};

/// Longer than anything here takes on any machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A picture from text; `STEPS`, `CFG` and `PATH` are what the edits are about.
const GRAPH: &str = r#"Graph(nodes: {
    "model": LoadModel(path: "weights/text"),
    "wanted": TextEncode(text_encoder: "model", text: "a red house"),
    "empty": TextEncode(text_encoder: "model", text: ""),
    "noise": EmptyLatent(vae: "model", width: 32, height: 32, batch: 1),
    "latent": Denoise(
        unet: "model", latent: "noise", positive: "wanted", negative: "empty",
        steps: STEPS, cfg: CFG, seed: 1,
    ),
    "image": VaeDecode(vae: "model", latent: "latent"),
    "save": SaveImage(image: "image", path: "PATH"),
})
"#;

/// So many steps that no edit comes too late.
const LONG: u32 = 1000;
/// Enough that an edit comes in time, few enough to wait for.
const MIDDLING: u32 = 900;

fn graph(steps: u32, cfg: f32, path: &str) -> String {
    GRAPH
        .replace("STEPS", &steps.to_string())
        .replace("CFG", &format!("{cfg:?}"))
        .replace("PATH", path)
}

/// `watch --json` under way.
struct Session {
    lab: Lab,
    child: Child,
    events: Receiver<(Instant, Value)>,
    seen: Vec<Value>,
}

impl Session {
    /// Watches `graph.ron` with this text.
    fn new(text: &str) -> Self {
        let lab = Lab::new();
        lab.write("graph.ron", text);
        Self::of(lab, "graph.ron")
    }

    fn of(lab: Lab, graph: &str) -> Self {
        let arguments = ["watch", graph, "--json", "--models", utf8(models())];
        let mut command = lab.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("an event a line");
                if sender.send((Instant::now(), event)).is_err() {
                    return;
                }
            }
        });
        let seen = Vec::new();
        Self {
            lab,
            child,
            events,
            seen,
        }
    }

    /// Writes the graph over itself, as many editors do.
    fn edit(&self, text: &str) -> Instant {
        self.lab.write("graph.ron", text);
        Instant::now()
    }

    /// The next event of which this is true.
    #[track_caller]
    fn until(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> (Instant, Value) {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok((at, event)) => {
                    self.seen.push(event.clone());
                    if is(&event) {
                        return (at, event);
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no {what} in {:#?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => {
                    let mut said = String::new();
                    let stderr = self.child.stderr.as_mut().expect("a pipe");
                    let _ = stderr.read_to_string(&mut said);
                    panic!("no {what}, it ended after {:#?}\n{said}", self.seen);
                }
            }
        }
    }

    /// The next event of that name.
    #[track_caller]
    fn next(&mut self, name: &str) -> Value {
        self.until(name, |event| event["event"] == name).1
    }

    /// The next step of a node.
    #[track_caller]
    fn step(&mut self, node: &str) -> (Instant, Value) {
        self.until("step", |event| {
            event["node"] == node && event["state"] == "progress"
        })
    }

    /// The end of the run under way, which ran and stopped these.
    #[track_caller]
    fn ended(&mut self, ran: &[&str], cancelled: &[&str]) {
        let done = self.next("done");
        assert_eq!(done["ran"], json!(ran), "{done}");
        assert_eq!(done["cancelled"], json!(cancelled), "{done}");
        assert_eq!(
            (&done["failed"], &done["blocked"]),
            (&json!([]), &json!([]))
        );
    }

    /// How often an event of that name was seen.
    fn count(&self, name: &str) -> usize {
        let named = self.seen.iter().filter(|event| event["event"] == name);
        named.count()
    }

    /// Ctrl-C ends it with 130; what stderr said.
    #[track_caller]
    fn interrupt(mut self) -> String {
        let kill = format!("kill -INT {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.expect("there is a shell").success());
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().expect("a pipe");
        stderr.read_to_string(&mut said).expect("stderr is text");
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(130), "{said}");
        said
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It has ended already when all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ALL: [&str; 7] = [
    "model", "wanted", "empty", "noise", "latent", "image", "save",
];
const CONE: [&str; 3] = ["latent", "image", "save"];

#[test]
fn a_session_of_edits_runs_what_they_change_and_loses_nothing() {
    let mut session = Session::new(&graph(2, 3.0, "a.png"));
    session.ended(&ALL, &[]);
    let first = session.lab.read("out/a.png").expect("a picture");

    // An edit reruns its cone, and replaces what this session wrote.
    session.edit(&graph(2, 5.0, "a.png"));
    let change = session.next("change");
    let cfg = json!([["latent", [{"what": "cfg", "from": "3.0", "to": "5.0"}]]]);
    assert_eq!(change["changed"], cfg);
    session.ended(&CONE, &[]);
    let second = session.lab.read("out/a.png").expect("a picture");
    assert_ne!(first, second);
    assert_eq!(session.lab.read("out/a-2.png"), None);

    // An edit while denoising stops that at its next step.
    session.edit(&graph(LONG, 5.0, "a.png"));
    session.step("latent");
    session.edit(&graph(2, 7.0, "a.png"));
    session.ended(&[], &CONE);
    session.ended(&CONE, &[]);

    // One that leaves the denoising as it is does not: its result is kept for the next run.
    session.edit(&graph(MIDDLING, 7.0, "a.png"));
    session.step("latent");
    session.edit(&graph(MIDDLING, 7.0, "b.png"));
    session.next("change");
    session.ended(&["latent"], &["image", "save"]);
    session.ended(&["image", "save"], &[]);

    // Nothing changes no work: a word of comment, the same bytes again.
    let last = graph(MIDDLING, 7.0, "b.png");
    let (changes, runs) = (session.count("change"), session.count("done"));
    session.edit(&format!("// a word\n{last}"));
    session.edit(&last);
    session.edit(&last);

    // A bad edit is told of, and leaves what stands.
    session.edit(&last.replace("VaeDecode", "VaeDecod"));
    let errors = session.next("errors");
    let message = errors["errors"][0]["message"].as_str().expect("words");
    assert!(message.contains("`VaeDecod`"), "{errors}");
    assert_eq!(errors["errors"][0]["labels"][0]["file"], "graph.ron");
    assert!(session.lab.read("out/b.png").is_some());
    assert_eq!(
        (session.count("change"), session.count("done")),
        (changes, runs)
    );

    // A good one runs on from the last good one.
    session.edit(&graph(3, 7.0, "b.png"));
    session.next("change");
    session.ended(&CONE, &[]);
    assert_eq!(session.count("errors"), 1);
    session.interrupt();
}

#[test]
fn a_bad_edit_lets_the_last_good_graph_run_on() {
    let mut session = Session::new(&graph(MIDDLING, 3.0, "a.png"));
    session.step("latent");
    session.edit("Graph(nodes: {");
    session.next("errors");
    session.ended(&ALL, &[]);
    session.edit(&graph(MIDDLING, 3.0, "a.png"));
    let change = session.next("change");
    assert_eq!(change["changed"], json!([]), "it is right again");
    session.interrupt();
}

#[test]
fn a_graph_that_is_bad_from_the_start_waits_for_an_edit() {
    let mut session = Session::new("Graph(nodes: {})");
    session.next("errors");
    session.edit(&graph(1, 3.0, "a.png"));
    session.ended(&ALL, &[]);
    session.interrupt();
    let lab = Lab::new();
    lab.run(["watch", "none.ron"]).code(2).says("none.ron");
}

/// Puts `text` where the graph is, in one of the ways of editors; the answer is whether a reader
/// could have taken the file for whole though it was not.
type Save = fn(&Session, &str) -> bool;

fn in_place(session: &Session, text: &str) -> bool {
    session.edit(text);
    false
}

fn truncated_then_written(session: &Session, text: &str) -> bool {
    let start = Instant::now();
    let path = session.lab.path("graph.ron");
    let mut file = std::fs::File::create(path).expect("it can be written");
    // Longer than events are gathered, shorter than half a file is waited for.
    std::thread::sleep(Duration::from_millis(80));
    file.write_all(text.as_bytes()).expect("it can be written");
    start.elapsed() > Duration::from_millis(150)
}

fn beside_then_renamed(session: &Session, text: &str) -> bool {
    let new = session.lab.write(".graph.ron.swp", text);
    let old = session.lab.path("graph.ron");
    std::fs::rename(&old, session.lab.path("graph.ron~")).expect("a backup");
    std::fs::rename(new, old).expect("it can be renamed");
    false
}

#[test]
fn editors_save_in_their_own_ways_and_none_flashes_an_error() {
    let mut session = Session::new(&graph(1, 1.0, "a.png"));
    session.ended(&ALL, &[]);
    let ways: [(Save, f32); 3] = [
        (in_place, 2.0),
        (truncated_then_written, 3.0),
        (beside_then_renamed, 4.0),
    ];
    for (save, cfg) in ways {
        let slow = save(&session, &graph(1, cfg, "a.png"));
        let change = session.next("change");
        assert_eq!(change["changed"][0][1][0]["to"], json!(format!("{cfg:?}")));
        session.ended(&CONE, &[]);
        assert!(slow || session.count("errors") == 0, "{:#?}", session.seen);
    }
    session.interrupt();
}

#[test]
fn files_that_are_linked_removed_or_read_by_nodes_are_followed() {
    // The graph stands behind a link, and uses a part and a picture.
    let lab = Lab::new();
    let part = |text: &str| graph(1, 1.0, "p.png").replace("a red house", text);
    lab.write("real/part.ron", part("a red house"));
    let maker = lab.run(["run", "real/part.ron", "--models", utf8(models())]);
    maker.code(0);
    let picture = lab.read("out/p.png").expect("a picture");
    lab.write("real/in.png", &picture);
    let text = |name: &str| {
        format!(
            r#"Graph(nodes: {{
                "part": Part(graph: "part.ron"),
                "photo": LoadImage(path: "in.png"),
                "copy": SaveImage(image: "photo", path: "{name}.png"),
            }})"#
        )
    };
    lab.write("real/graph.ron", text("one"));
    std::os::unix::fs::symlink("real/graph.ron", lab.path("graph.ron")).expect("a link");
    std::os::unix::fs::symlink("real/part.ron", lab.path("part.ron")).expect("a link");
    std::os::unix::fs::symlink("real/in.png", lab.path("in.png")).expect("a link");
    let mut session = Session::of(lab, "graph.ron");
    let ran = |done: &Value, node: &str| done["ran"].to_string().contains(&format!("\"{node}\""));
    session.next("done");

    session.lab.write("real/graph.ron", text("two"));
    session.next("change");
    let done = session.next("done");
    assert_eq!(done["ran"], json!(["copy"]));

    session.lab.write("real/part.ron", part("a blue house"));
    let change = session.next("change");
    assert_eq!(change["changed"][0][0], "part/wanted", "{change}");
    let done = session.next("done");
    assert!(ran(&done, "part/latent") && !ran(&done, "copy"), "{done}");

    // The same picture again is nothing; another one is.
    session.lab.write("real/in.png", &picture);
    lab_edit_picture(&session.lab, "real/in.png", &picture);
    let change = session.next("change");
    let files = change["files"].to_string();
    assert!(files.contains("in.png"), "{change}");
    assert!(ran(&session.next("done"), "photo"));

    // Gone, with its folder, and back again.
    let away: PathBuf = session.lab.path("away");
    std::fs::rename(session.lab.path("real"), &away).expect("a folder can be moved");
    session.next("errors");
    std::fs::rename(&away, session.lab.path("real")).expect("and back");
    session.next("change");
    session.lab.write("real/graph.ron", text("three"));
    session.next("change");
    assert_eq!(session.next("done")["ran"], json!(["copy"]));
    session.interrupt();
}

/// Another picture of the same size: bytes behind the end of a PNG are not read, but are content.
fn lab_edit_picture(lab: &Lab, name: &str, picture: &[u8]) {
    lab.write(name, [picture, b"more"].concat());
}

#[test]
fn an_edit_is_told_in_words() {
    let lab = Lab::new();
    lab.write("graph.ron", graph(1, 1.0, "a.png"));
    let arguments = ["watch", "graph.ron", "--models", utf8(models())];
    let mut command = lab.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut lines = out.lines();
    let path = lines.next().expect("a line").expect("text");
    assert_eq!(path, "out/a.png");
    lab.write("graph.ron", graph(1, 2.0, "a.png"));
    let path = lines.next().expect("a line").expect("text");
    assert_eq!(path, "out/a.png");
    let kill = format!("kill -INT {}", child.id());
    let status = Command::new("sh").args(["-c", &kill]).status();
    assert!(status.expect("there is a shell").success());
    let ended = crate::lab::Ended::of(child.wait_with_output().expect("it ends"));
    let said = ended.code(130).says("watching graph.ron");
    said.says("changed: latent (cfg 1.0 → 2.0)");
}

/// From a save to the first step of the new run, the model being loaded; not part of the usual
/// tests because it measures the machine as much as the program:
/// `cargo test --release --test program latency -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stderr)]
fn latency_of_an_edit() {
    let mut session = Session::new(&graph(1, 1.0, "a.png"));
    session.next("done");
    let mut times = Vec::new();
    for edit in 0..15_u8 {
        // What the last run read is still being looked at; a person takes longer to edit.
        std::thread::sleep(Duration::from_millis(400));
        let saved = session.edit(&graph(4, 2.0 + f32::from(edit), "a.png"));
        let (stepped, _) = session.step("latent");
        session.next("done");
        times.push(stepped.duration_since(saved).as_millis());
    }
    times.sort_unstable();
    let (least, middle, most) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    eprintln!("save to first step: least {least} ms, middle {middle} ms, most {most} ms");
    session.interrupt();
}
