//! What the engine itself costs: graphs of nodes that do next to nothing, so that all the time is
//! reading, planning, hashing, scheduling, telling and remembering.
//!
//! `cargo bench -p ldm-engine --bench engine` prints the engine's part of `docs/performance.md`;
//! `cargo bench -p ldm-engine --bench engine -- --json` prints the same numbers for
//! `benches/peers/comfyui.py`;
//! `--upto 10000` leaves larger graphs out.
//!
//! Every node makes a value, which is hashed, and everything is told to a listener. Results are
//! kept in memory, no folder behind it. A round is timed from text to report on a new cache, then
//! the same plan again on the cache that it left. Beside the time that passed stands the time that
//! processors worked for it, all threads together: on a machine that does other things as well,
//! that is what can be compared.

#![allow(clippy::print_stdout)]

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use ldm_engine::{
    Cache, Ctx, Data, Event, Graph, Host, Identity, In, Kinds, Node, Options, Plan, Report, Result,
    Run, Source, State, kind,
};

/// A number on a link.
struct Grain(u64);

impl Data for Grain {
    const NAME: &'static str = "Grain";
    fn identity(&self) -> Identity {
        Identity::of(&[b"Grain", &self.0.to_le_bytes()])
    }
    fn bytes(&self) -> u64 {
        8
    }
}

/// Gives a first number.
#[derive(Node)]
struct Seed {
    /// The number.
    value: u64,
}

impl Node for Seed {
    type Out = Grain;
    fn run(&self, _ctx: &mut Ctx) -> Result<Grain> {
        Ok(Grain(self.value))
    }
}

/// Adds to a number.
#[derive(Node)]
struct Step {
    /// What is added to.
    of: In<Grain>,
    /// What is added.
    #[node(default = 1)]
    add: u64,
}

impl Node for Step {
    type Out = Grain;
    fn run(&self, ctx: &mut Ctx) -> Result<Grain> {
        Ok(Grain(ctx.get(&self.of).0.wrapping_add(self.add)))
    }
}

/// Adds many numbers up.
#[derive(Node)]
struct Sum {
    /// The numbers.
    of: Vec<In<Grain>>,
}

impl Node for Sum {
    type Out = Grain;
    fn run(&self, ctx: &mut Ctx) -> Result<Grain> {
        let all = ctx.get(&self.of);
        let sum = all
            .iter()
            .fold(0_u64, |sum, grain| sum.wrapping_add(grain.0));
        Ok(Grain(sum))
    }
}

/// The shape of a graph.
#[derive(Clone, Copy)]
enum Layout {
    /// Each node feeds the next.
    Chain,
    /// One node feeds all others but the last, which takes them all.
    Fan,
}

/// A graph to be measured.
struct Case {
    layout: Layout,
    nodes: usize,
    rounds: usize,
}

const fn case(layout: Layout, nodes: usize, rounds: usize) -> Case {
    Case {
        layout,
        nodes,
        rounds,
    }
}

/// What is measured: fewer rounds where one takes long.
const CASES: [Case; 7] = [
    case(Layout::Chain, 100, 100),
    case(Layout::Chain, 1_000, 50),
    case(Layout::Chain, 10_000, 50),
    case(Layout::Chain, 100_000, 10),
    case(Layout::Chain, 1_000_000, 3),
    case(Layout::Fan, 10_000, 50),
    case(Layout::Fan, 100_000, 10),
];

/// Rounds before those that count.
const WARMING: usize = 2;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let asked = |flag: &str| arguments.iter().any(|argument| argument == flag);
    // `cargo test --all-targets` runs this too, without `--bench`: then it only has to work.
    if !asked("--bench") {
        let (text, kinds) = (Layout::Fan.text(100), kinds());
        Round::of(&text, &kinds, &host(), 100);
        return;
    }
    let before = load();
    let most = arguments
        .iter()
        .skip_while(|argument| *argument != "--upto");
    let most = most.skip(1).find_map(|most| most.parse().ok());
    let cases = CASES.into_iter();
    let cases = cases.filter(|case| most.is_none_or(|most| case.nodes <= most));
    let table: Vec<(Case, Vec<Round>)> = cases.map(measure).collect();
    match asked("--json") {
        true => print_json(&table),
        false => print_markdown(&table, &before),
    }
}

fn measure(case: Case) -> (Case, Vec<Round>) {
    let (text, kinds, host) = (case.layout.text(case.nodes), kinds(), host());
    let round = |_| Round::of(&text, &kinds, &host, case.nodes);
    let rounds = (0..WARMING + case.rounds).map(round).skip(WARMING);
    let rounds = rounds.collect();
    (case, rounds)
}

fn kinds() -> Kinds {
    Kinds::new([kind::<Seed>(), kind::<Step>(), kind::<Sum>()])
}

fn host() -> Host {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Host {
        threads,
        ..Host::default()
    }
}

impl Layout {
    fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Fan => "fan",
        }
    }

    /// A graph file of so many nodes, one to a line.
    fn text(self, nodes: usize) -> String {
        let mut text = String::from("Graph(\n    nodes: {\n        \"n0\": Seed(value: 1),\n");
        let last = nodes - 1;
        for i in 1..nodes {
            let _ = match self {
                Self::Chain => writeln!(text, "        \"n{i}\": Step(of: \"n{}\"),", i - 1),
                Self::Fan if i < last => {
                    writeln!(text, "        \"n{i}\": Step(of: \"n0\", add: {i}),")
                }
                Self::Fan => {
                    let all: Vec<String> = (1..last).map(|i| format!("\"n{i}\"")).collect();
                    writeln!(text, "        \"n{i}\": Sum(of: [{}]),", all.join(", "))
                }
            };
        }
        let _ = write!(
            text,
            "    }},\n    outputs: {{ \"end\": \"n{last}\" }},\n)\n"
        );
        text
    }
}

/// The times of one round.
struct Round {
    parse: Duration,
    plan: Duration,
    run: Duration,
    rerun: Duration,
    /// What processors worked, from text to report and in the rerun.
    work: [Duration; 2],
}

impl Round {
    fn of(text: &str, kinds: &Kinds, host: &Host, nodes: usize) -> Self {
        let before = worked();
        let start = Instant::now();
        let graph = Graph::parse(Source::new("bench.ron", text), Path::new("bench.ron"));
        let graph = graph.expect("the graph is well written");
        let parse = start.elapsed();
        let start = Instant::now();
        let plan = Plan::new(&graph, kinds, &Options::default()).expect("the graph is right");
        let plan_took = start.elapsed();
        let cache = Cache::new(1 << 30);
        let (run, ran) = go(&plan, host, &cache, State::Ran);
        let between = worked();
        let (rerun, kept) = go(&plan, host, &cache, State::Kept);
        let work = [between - before, worked() - between];
        assert_eq!((ran.done.ran.len(), kept.done.kept.len()), (nodes, nodes));
        Self {
            parse,
            plan: plan_took,
            run,
            rerun,
            work,
        }
    }

    /// From text to report.
    fn whole(&self) -> Duration {
        self.parse + self.plan + self.run
    }
}

/// One run, in which every node ends in `state`, and the listener hears so.
fn go(plan: &Plan, host: &Host, cache: &Cache, state: State) -> (Duration, Report) {
    let mut heard = 0;
    let start = Instant::now();
    let report = Run::new(plan, host, cache).go(&mut |event| {
        heard += usize::from(matches!(event, Event::Node(node) if node.state == state));
    });
    let took = start.elapsed();
    assert_eq!(heard, plan.nodes().count(), "every node was told of");
    (took, report)
}

/// Smallest, middle and largest in milliseconds.
fn spread(rounds: &[Round], of: impl Fn(&Round) -> Duration) -> [f64; 3] {
    let mut times: Vec<f64> = rounds.iter().map(|r| of(r).as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    [times[0], times[times.len() / 2], times[times.len() - 1]]
}

/// The mean in milliseconds.
fn mean(rounds: &[Round], of: impl Fn(&Round) -> Duration) -> f64 {
    let sum: Duration = rounds.iter().map(of).sum();
    sum.as_secs_f64() * 1e3 / rounds.len() as f64
}

fn print_markdown(table: &[(Case, Vec<Round>)], load_before: &str) {
    println!(
        "{}; load {load_before} before, {} after.",
        machine(),
        load()
    );
    println!();
    println!("| graph | nodes | parse | plan | run | sum | min – max | work | a node |");
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    for (case, rounds) in table {
        let middle = |of: fn(&Round) -> Duration| spread(rounds, of)[1];
        let [least, sum, most] = spread(rounds, Round::whole);
        let work = mean(rounds, |round| round.work[0]);
        println!(
            "| {} | {} | {:.1} | {:.1} | {:.1} | {sum:.1} | {least:.1} – {most:.1} | {work:.1} \
             | {:.2} µs |",
            case.layout.name(),
            case.nodes,
            middle(|round| round.parse),
            middle(|round| round.plan),
            middle(|round| round.run),
            work * 1e3 / case.nodes as f64,
        );
    }
    println!();
    println!("| graph | nodes | unchanged rerun | min – max | work | a node |");
    println!("|---|--:|--:|--:|--:|--:|");
    for (case, rounds) in table {
        let [least, again, most] = spread(rounds, |round| round.rerun);
        let work = mean(rounds, |round| round.work[1]);
        println!(
            "| {} | {} | {again:.2} | {least:.2} – {most:.2} | {work:.2} | {:.2} µs |",
            case.layout.name(),
            case.nodes,
            work * 1e3 / case.nodes as f64,
        );
    }
}

fn print_json(table: &[(Case, Vec<Round>)]) {
    for (case, rounds) in table {
        let (layout, nodes) = (case.layout.name(), case.nodes);
        let [least, whole, most] = spread(rounds, Round::whole);
        let [least_again, again, most_again] = spread(rounds, |round| round.rerun);
        println!(
            r#"{{"graph":"{layout}","nodes":{nodes},"first_ms":[{least},{whole},{most}],{}}}"#,
            format_args!(r#""again_ms":[{least_again},{again},{most_again}]"#),
        );
    }
}

/// What processors worked for this process so far, in Linux' hundredths of a second; means over
/// many rounds are finer than that.
fn worked() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = text.rsplit(") ").next().unwrap_or("");
    let ticks = after.split(' ').skip(11).take(2);
    let ticks = ticks.filter_map(|ticks| ticks.parse::<u64>().ok());
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// The processor, as Linux names it, and the threads that a run has.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1));
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let model = model.unwrap_or("an unnamed processor");
    format!("{model}, {} threads, {os} {arch}", host().threads)
}

/// The first of Linux' load averages: how many threads wanted a processor in the last minute.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().filter(|first| !first.is_empty());
    first.unwrap_or("unknown").to_owned()
}
