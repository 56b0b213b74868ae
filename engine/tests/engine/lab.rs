//! The lab: a little node library and a bench to run graphs of it on, for the engine's tests.
//!
//! Values are words. `Say` gives some, `Noise` hides a seed in them, `Join` puts two together,
//! `Shout` forgets how loud they were; `Save` writes them down, `Clock` never says the same
//! twice, `Open` gives a handle, `Slow` takes steps.

#![allow(dead_code, unreachable_pub)]

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ldm_engine::{
    Cache, Choice, Ctx, Data, Diagnostics, Disk, Error, Event, Facts, Fate, Float, Graph, Host,
    Identity, In, Int, Kinds, Node, Options, Outlook, Outputs, Plan, ReadPath, Relief, Report,
    Result, Run, Source, State, Stop, Storage, Text, Way, WritePath, kind,
};

/// Words on a link, with a weight in bytes so that budgets can be tested.
#[derive(Debug, Clone, PartialEq)]
pub struct Words(pub String, pub u64);

impl Data for Words {
    const NAME: &'static str = "Words";
    fn identity(&self) -> Identity {
        Identity::of(&[b"Words", self.0.as_bytes(), &self.1.to_le_bytes()])
    }
    fn bytes(&self) -> u64 {
        self.1
    }
    fn save(&self) -> Result<Cow<'_, [u8]>> {
        Ok(format!("{} {}", self.1, self.0).into_bytes().into())
    }
    fn load(bytes: Vec<u8>) -> Result<Self> {
        let text = std::str::from_utf8(&bytes)?;
        let (weight, words) = text.split_once(' ').ok_or_else(|| Error::new("no words"))?;
        Ok(Self(words.to_owned(), weight.parse()?))
    }
}

/// A handle: a book that is opened again rather than kept.
pub struct Book(pub Identity);

impl Data for Book {
    const NAME: &'static str = "Book";
    fn identity(&self) -> Identity {
        self.0
    }
    fn bytes(&self) -> u64 {
        0
    }
    fn storage(&self) -> Storage {
        Storage::Handle
    }
}

/// How many letters the words will have.
pub struct Length(pub usize);

/// Gives words.
///
/// ```ron
/// "text": Say(text: "a lighthouse")
/// ```
#[derive(Node)]
pub struct Say {
    /// The words.
    text: String,
    /// How heavy they are.
    #[node(default = 8, range = 1..=1_000_000)]
    weight: u64,
}

impl Node for Say {
    type Out = Words;
    fn facts(&self, facts: &mut Facts) -> Result<()> {
        facts.give(Length(self.text.len()));
        Ok(())
    }
    fn run(&self, _ctx: &mut Ctx) -> Result<Words> {
        Ok(Words(self.text.clone(), self.weight))
    }
}

/// Gives words that a seed decides.
///
/// ```ron
/// "noise": Noise(seed: 1)
/// ```
#[derive(Node)]
#[node(device)]
pub struct Noise {
    /// The seed.
    #[node(default = 0)]
    seed: u64,
    /// How it is drawn.
    #[node(default = Shape::Round { size: 1.0 })]
    shape: Shape,
}

/// How noise is drawn.
#[derive(Choice)]
pub enum Shape {
    /// With corners.
    Square,
    /// Without.
    Round {
        /// How large.
        #[node(default = 1.0, range = 0.5..=4.0)]
        size: f32,
    },
}

impl Node for Noise {
    type Out = Words;
    fn run(&self, _ctx: &mut Ctx) -> Result<Words> {
        let shape = match self.shape {
            Shape::Square => "square".to_owned(),
            Shape::Round { size } => format!("round {size}"),
        };
        Ok(Words(format!("noise {} {shape}", self.seed), 8))
    }
}

/// Puts two words together.
///
/// ```ron
/// "mix": Join(a: "text", b: "noise")
/// ```
#[derive(Node)]
pub struct Join {
    /// The first.
    a: In<Words>,
    /// The second.
    b: In<Words>,
    /// What stands between them.
    #[node(default = " ")]
    between: String,
}

impl Node for Join {
    type Out = Words;
    fn run(&self, ctx: &mut Ctx) -> Result<Words> {
        let (a, b) = (ctx.get(&self.a), ctx.get(&self.b));
        Ok(Words(format!("{}{}{}", a.0, self.between, b.0), a.1 + b.1))
    }
}

/// Makes words loud; how loud they were is forgotten.
///
/// ```ron
/// "loud": Shout(words: "text")
/// ```
#[derive(Node)]
pub struct Shout {
    /// What to shout.
    words: In<Words>,
    /// Most letters that can be shouted.
    #[node(default = 100)]
    most: usize,
}

impl Node for Shout {
    type Out = Words;
    fn facts(&self, facts: &mut Facts) -> Result<()> {
        match facts.of::<Length, _>(&self.words) {
            Some(length) if length.0 > self.most => {
                let message = format!("takes {} letters, these are {}", self.most, length.0);
                Err(Error::at("words", message).hint("shorten them, or raise `most`"))
            }
            _ => Ok(()),
        }
    }
    fn run(&self, ctx: &mut Ctx) -> Result<Words> {
        let words = ctx.get(&self.words);
        Ok(Words(words.0.to_uppercase(), words.1))
    }
}

/// Puts any number of words in a row, the first one twice when it is wanted.
///
/// ```ron
/// "row": Row(words: ["text", "noise"])
/// ```
#[derive(Node)]
pub struct Row {
    /// The words.
    words: Vec<In<Words>>,
    /// What comes last.
    last: Option<In<Words>>,
}

impl Node for Row {
    type Out = Words;
    fn run(&self, ctx: &mut Ctx) -> Result<Words> {
        let mut row: Vec<String> = ctx.get(&self.words).iter().map(|w| w.0.clone()).collect();
        row.extend(ctx.get(&self.last).map(|last| last.0.clone()));
        Ok(Words(row.join(","), 8))
    }
}

/// Writes words to files.
///
/// ```ron
/// "save": Save(words: "mix", path: "{graph}-{index}.txt")
/// ```
#[derive(Node)]
#[node(effect)]
pub struct Save {
    /// What to write.
    words: In<Words>,
    /// Where to.
    #[node(default = "{graph}-{index}.txt")]
    path: WritePath,
    /// Into how many files.
    #[node(default = 1)]
    copies: usize,
}

impl Node for Save {
    type Out = ();
    fn run(&self, ctx: &mut Ctx) -> Result<()> {
        let words = ctx.get(&self.words);
        for index in 0..self.copies {
            ctx.write(&self.path, index, words.0.as_bytes())?;
        }
        Ok(())
    }
}

/// Writes down how it came to be.
///
/// ```ron
/// "story": Story(words: "mix", path: "story.ron")
/// ```
#[derive(Node)]
#[node(effect)]
pub struct Story {
    /// Whose story.
    words: In<Words>,
    /// Where to.
    path: WritePath,
}

impl Node for Story {
    type Out = ();
    fn run(&self, ctx: &mut Ctx) -> Result<()> {
        let recipe = ctx.recipe();
        ctx.write(&self.path, 0, recipe.as_bytes()).map(drop)
    }
}

static TICKS: AtomicU64 = AtomicU64::new(0);

/// Never says the same twice; in big steps it does, for a while.
///
/// ```ron
/// "clock": Clock()
/// ```
#[derive(Node)]
#[node(volatile)]
pub struct Clock {
    /// How many ticks are one.
    #[node(default = 1)]
    step: u64,
}

impl Node for Clock {
    type Out = Words;
    fn run(&self, _ctx: &mut Ctx) -> Result<Words> {
        let tick = TICKS.fetch_add(1, Ordering::Relaxed) / self.step;
        Ok(Words(format!("tick {tick} of {}", self.step), 8))
    }
}

/// Opens a file as a book, and says its first line.
///
/// ```ron
/// "book": Open(path: "book.txt")
/// ```
#[derive(Node)]
pub struct Open {
    /// The file.
    path: ReadPath,
}

/// What `Open` gives.
#[derive(Outputs)]
pub struct Opened {
    /// The book.
    book: Book,
    /// Its index, if it has one.
    index: Option<Words>,
}

impl Node for Open {
    type Out = Opened;
    fn facts(&self, facts: &mut Facts) -> Result<()> {
        let text = facts.open(&self.path)?.read_all(1 << 20)?;
        if !text.starts_with(b"index") {
            facts.absent_because("index", "`index` does not stand in its first line");
        }
        Ok(())
    }
    fn run(&self, ctx: &mut Ctx) -> Result<Opened> {
        OPENED.fetch_add(1, Ordering::SeqCst);
        let file = ctx.file(&self.path)?;
        let text = file.open()?.read_all(1 << 20)?;
        ctx.reporter().loaded("book", text.len() as u64, 0.0);
        let index = text
            .starts_with(b"index")
            .then(|| Words("index".to_owned(), 8));
        Ok(Opened {
            book: Book(Identity::of(&[b"book", &file.identity().0])),
            index,
        })
    }
}

/// How often a book was opened in this process.
pub static OPENED: AtomicUsize = AtomicUsize::new(0);

/// Reads a book with a seed.
///
/// ```ron
/// "read": Read(book: "book", seed: 3)
/// ```
#[derive(Node)]
pub struct Read {
    /// The book.
    book: In<Book>,
    /// Which page.
    #[node(default = 1)]
    seed: u64,
}

impl Node for Read {
    type Out = Words;
    fn run(&self, ctx: &mut Ctx) -> Result<Words> {
        let book = ctx.get(&self.book);
        Ok(Words(format!("{} {}", book.0, self.seed), 8))
    }
}

/// Goes wrong, one way or another.
///
/// ```ron
/// "bad": Fail(words: "text")
/// ```
#[derive(Node)]
pub struct Fail {
    /// What it fails on.
    words: In<Words>,
    /// Whether it panics.
    #[node(default = false)]
    panic: bool,
}

impl Node for Fail {
    type Out = Words;
    fn run(&self, _ctx: &mut Ctx) -> Result<Words> {
        assert!(!self.panic, "the floor gave way");
        Err(Error::at("words", "are not what they seem").hint("look again"))
    }
}

/// Takes steps, and asks to be stopped at one of them.
///
/// ```ron
/// "slow": Slow(words: "text", steps: 10)
/// ```
#[derive(Node)]
pub struct Slow {
    /// What it thinks about.
    words: In<Words>,
    /// How many steps.
    #[node(default = 10)]
    steps: u64,
    /// The step at which it stops the run.
    stop_at: Option<u64>,
}

impl Node for Slow {
    type Out = Words;
    fn run(&self, ctx: &mut Ctx) -> Result<Words> {
        for step in 1..=self.steps {
            if Some(step) == self.stop_at {
                ctx.stop().stop();
            }
            ctx.step(step, self.steps)?;
        }
        Ok(Words(format!("{}…", ctx.get(&self.words).0), 8))
    }
}

/// Takes steps until the test lets it go.
///
/// ```ron
/// "wait": Wait(words: "text", until: "the bell")
/// ```
#[derive(Node)]
pub struct Wait {
    /// What it says then.
    words: In<Words>,
    /// What it waits for.
    until: String,
}

impl Node for Wait {
    type Out = Words;
    fn run(&self, ctx: &mut Ctx) -> Result<Words> {
        for step in 1..=60_000 {
            ctx.step(step, 60_000)?;
            if RUNG
                .lock()
                .expect("no test panics here")
                .contains(&self.until)
            {
                return Ok(Words(ctx.get(&self.words).0.clone(), 8));
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Err(Error::new("nobody rang"))
    }
}

/// What was waited for and has come.
static RUNG: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Lets every `Wait` go that waits for this.
pub fn ring(what: &str) {
    RUNG.lock()
        .expect("no test panics here")
        .push(what.to_owned());
}

/// Gives a number.
///
/// ```ron
/// "seven": Number(value: 7)
/// ```
#[derive(Node)]
pub struct Number {
    /// The number.
    value: i64,
}

impl Node for Number {
    type Out = Int;
    fn run(&self, _ctx: &mut Ctx) -> Result<Int> {
        Ok(Int(self.value.into()))
    }
}

/// Gives text that settings can be linked to.
///
/// ```ron
/// "title": Title(text: "a lake")
/// ```
#[derive(Node)]
pub struct Title {
    /// The text.
    text: String,
}

impl Node for Title {
    type Out = Text;
    fn run(&self, _ctx: &mut Ctx) -> Result<Text> {
        Ok(Text(self.text.trim().to_owned()))
    }
}

/// Takes a number and a scale.
///
/// ```ron
/// "sized": Sized(size: 2.5)
/// ```
#[derive(Node)]
pub struct Scale {
    /// The size.
    #[node(range = 0.0..=10.0)]
    size: f64,
    /// More sizes.
    #[node(default = Vec::new(), range = 0..=9)]
    more: Vec<u8>,
    /// A number that comes by a link.
    by: Option<In<Float>>,
}

impl Node for Scale {
    type Out = Words;
    fn run(&self, ctx: &mut Ctx) -> Result<Words> {
        let by = ctx.get(&self.by).map_or(1.0, |by| by.0);
        Ok(Words(format!("size {} {:?}", self.size * by, self.more), 8))
    }
}

/// Folds words once a letter, or once a word where memory does not hold all letters.
///
/// ```ron
/// "folded": Fold(words: "text")
/// ```
#[derive(Node)]
#[node(computes)]
pub struct Fold {
    /// What is folded.
    words: In<Words>,
    /// Never once a word.
    #[node(default = false)]
    finely: bool,
}

impl Fold {
    fn ways(&self, letters: usize) -> Vec<Way> {
        let way = |bytes, words: &str| Way {
            bytes,
            words: words.to_owned(),
            asked: None,
        };
        let letters = letters as u64;
        let mut ways = vec![way(10 * letters, "by letters"), way(letters, "by words")];
        ways.truncate(if self.finely { 1 } else { 2 });
        ways
    }
}

impl Node for Fold {
    type Out = Words;
    fn has_ways(&self) -> bool {
        !self.finely
    }
    fn facts(&self, facts: &mut Facts) -> Result<()> {
        if let Some(length) = facts.of::<Length, _>(&self.words) {
            facts.ways(self.ways(length.0));
        }
        Ok(())
    }
    fn run(&self, ctx: &mut Ctx) -> Result<Words> {
        let words = ctx.get(&self.words);
        let ways = self.ways(words.0.len());
        let folded = format!("{} {}", words.0, ways[ctx.way(&ways)].words);
        if let Ok(shortage) = ctx.extension::<Shortage>() {
            shortage.strike()?;
        }
        Ok(Words(folded, 8))
    }
}

/// A device whose memory runs out, as often as it is told to.
#[derive(Debug, Default)]
pub struct Shortage {
    /// How often it will.
    pub times: AtomicUsize,
    /// Whether by a panic.
    pub panics: bool,
    /// Books that rest in memory.
    pub resting: AtomicUsize,
}

impl Shortage {
    fn strike(&self) -> Result<()> {
        let times = self.times.load(Ordering::SeqCst);
        if times == 0 {
            return Ok(());
        }
        self.times.store(times - 1, Ordering::SeqCst);
        assert!(!self.panics, "cannot fold: no room");
        Err(Self::error("cannot fold"))
    }

    fn error(words: &str) -> Error {
        Error::out_of_memory(words).hint("fewer letters")
    }
}

impl Relief for Shortage {
    fn ran_out(&self, words: &str) -> Option<Error> {
        words.ends_with("no room").then(|| Self::error(words))
    }

    fn relieve(&self, _since: Instant) -> Option<String> {
        let resting = self.resting.swap(0, Ordering::SeqCst);
        (resting > 0).then(|| format!("{resting} books went"))
    }
}

pub fn kinds() -> Kinds {
    Kinds::new([
        kind::<Say>(),
        kind::<Noise>(),
        kind::<Join>(),
        kind::<Shout>(),
        kind::<Row>(),
        kind::<Save>(),
        kind::<Story>(),
        kind::<Clock>(),
        kind::<Open>(),
        kind::<Read>(),
        kind::<Fail>(),
        kind::<Slow>(),
        kind::<Wait>(),
        kind::<Number>(),
        kind::<Title>(),
        kind::<Scale>(),
        kind::<Fold>(),
    ])
}

/// A graph on a bench, with a folder of its own.
pub struct Lab {
    pub text: String,
    pub sets: Vec<String>,
    pub host: Host,
    pub cache: Cache,
    pub folder: tempfile::TempDir,
    pub kinds: Kinds,
}

impl Lab {
    /// A bench with the graph of these nodes.
    pub fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let host = Host {
            out: folder.path().join("out"),
            threads: 2,
            ..Host::default()
        };
        Self {
            text: text.to_owned(),
            sets: Vec::new(),
            host,
            cache: Cache::new(1 << 20),
            folder,
            kinds: kinds(),
        }
    }

    /// Another process on the same cache folder: nothing is left in memory.
    pub fn restart(&mut self) -> &mut Self {
        self.restart_with(Disk::new(self.cache_folder(), 1 << 20))
    }

    /// The same with a cache folder of the caller's making.
    pub fn restart_with(&mut self, disk: Disk) -> &mut Self {
        // The old one lets its lock go first, as a process that ended has.
        self.cache = Cache::new(1 << 20);
        self.cache = Cache::new(1 << 20).on_disk(disk);
        self
    }

    pub fn cache_folder(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// What a run would do with a node.
    pub fn fate(&self, node: &str) -> Fate {
        self.outlook(node).fate
    }

    /// The same, and what it does for want of memory.
    pub fn outlook(&self, node: &str) -> Outlook {
        let plan = self.plan(&[]).expect("a plan");
        let outlooks = Run::new(&plan, &self.host, &self.cache).explain();
        let found = outlooks.into_iter().find(|outlook| outlook.node == node);
        found.expect("a node of that name")
    }

    /// `--set target=value`
    pub fn set(&mut self, target: &str, value: impl std::fmt::Display) -> &mut Self {
        self.sets.push(format!("{target}={value}"));
        self
    }

    /// Puts a file beside the graph.
    pub fn file(&self, name: &str, text: &str) -> &Self {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, text).expect("a file");
        self
    }

    /// What stands in the output folder under that name.
    pub fn out(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.host.out.join(name)).ok()
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("lab.ron")
    }

    pub fn plan(&self, only: &[&str]) -> Result<Plan, Diagnostics> {
        let only = only.iter().map(|name| (*name).to_owned()).collect();
        let options = Options {
            sets: self.sets.clone(),
            only,
            ..Options::default()
        };
        let graph = Graph::parse(Source::new("lab.ron", self.text.clone()), &self.path())?;
        Plan::new(&graph, &self.kinds, &options)
    }

    /// Runs one node.
    pub fn run(&self, only: &str) -> Ran {
        self.go(&[only])
    }

    /// Runs the whole graph.
    pub fn run_all(&self) -> Ran {
        self.go(&[])
    }

    pub fn go(&self, only: &[&str]) -> Ran {
        let plan = match self.plan(only) {
            Ok(plan) => plan,
            Err(errors) => panic!("no plan:\n{errors}"),
        };
        let mut events = Vec::new();
        let run = Run::new(&plan, &self.host, &self.cache).stopped_by(Stop::new());
        let report = run.go(&mut |event| events.push(event.clone()));
        let ran = Ran { report, events };
        ran.check_lists(&plan);
        ran
    }

    /// Has the device run out of memory from here on as `shortage` says.
    pub fn short(&mut self, shortage: Shortage) -> &mut Self {
        self.host.extensions.insert(shortage);
        let shortage: Option<Arc<Shortage>> = self.host.extensions.get();
        self.host.relief = shortage.map(|shortage| shortage as Arc<dyn Relief>);
        self
    }

    /// All errors of the graph, as they would be printed.
    pub fn errors(&self) -> String {
        self.plan(&[]).expect_err("the graph is wrong").to_string()
    }
}

/// How a run went.
pub struct Ran {
    pub report: Report,
    pub events: Vec<Event>,
}

impl Ran {
    /// Asserts which nodes ran, in the order of the file.
    #[track_caller]
    pub fn ran<const N: usize>(&self, nodes: [&str; N]) -> &Self {
        assert_eq!(
            self.report.done.ran, nodes,
            "which ran: {:?}",
            self.report.failures
        );
        self
    }

    #[track_caller]
    pub fn kept<const N: usize>(&self, nodes: [&str; N]) -> &Self {
        assert_eq!(self.report.done.kept, nodes, "which were kept");
        self
    }

    #[track_caller]
    pub fn gave(&self, name: &str, words: &str) -> &Self {
        let value = self.report.value::<Words>(name);
        assert_eq!(value.expect("a value").0, words);
        self
    }

    /// What went wrong though the run went on.
    pub fn warnings(&self) -> Vec<&str> {
        let warning = |event: &'_ Event| matches!(event, Event::Warning { .. });
        let warnings = self.events.iter().filter(|event| warning(event));
        warnings
            .map(|event| match event {
                Event::Warning { message } => message.as_str(),
                _ => unreachable!("only warnings are left"),
            })
            .collect()
    }

    /// What nodes said.
    pub fn notes(&self) -> Vec<&str> {
        let said = self.events.iter().filter_map(|event| match event {
            Event::Note { message, .. } => Some(message.as_str()),
            _ => None,
        });
        said.collect()
    }

    /// How often a node was told to begin.
    pub fn begun(&self, node: &str) -> usize {
        let begins = |event: &&Event| match event {
            Event::Node(e) => *e.node == *node && e.state == State::Running,
            _ => false,
        };
        self.events.iter().filter(begins).count()
    }

    pub fn because(&self, node: &str) -> Option<Cow<'static, str>> {
        self.events.iter().find_map(|event| match event {
            Event::Node(e) if *e.node == *node && e.because.is_some() => e.because.clone(),
            _ => None,
        })
    }

    /// Every planned node is in exactly one list, and the last event says the same.
    #[track_caller]
    fn check_lists(&self, plan: &Plan) {
        let done = &self.report.done;
        let mut all: Vec<&str> = [
            &done.ran,
            &done.kept,
            &done.unneeded,
            &done.failed,
            &done.blocked,
            &done.cancelled,
        ]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
        let mut planned: Vec<&str> = plan.nodes().map(|node| node.name()).collect();
        all.sort_unstable();
        planned.sort_unstable();
        assert_eq!(all, planned, "every node is in exactly one list");
        assert!(matches!(self.events.last(), Some(Event::Done(last)) if last == done));
    }
}

pub fn beside(path: &Path, name: &str) -> PathBuf {
    path.parent().expect("a folder").join(name)
}
