//! The lock: what it holds, that it is the same text for the same plan, and what it notices.

use ldm_engine::{Diagnostic, FileTable, Lock, Locker, Plan, Severity, Source};

use crate::lab::Lab;

/// A graph with an input, links of every sort, a file, a part and a node that nobody needs.
const TEXT: &str = r#"Graph(
    inputs: { "words": Text("a lake"), "seed": Int(42) },
    nodes: {
        "text": Say(text: Input("words")),
        "noise": Noise(seed: Input("seed"), shape: Round(size: 2.0)),
        "book": Open(path: "books/one.txt"),
        "read": Read(book: "book.book"),
        "loud": Part(graph: "loud.ron", words: "text"),
        "row": Row(words: ["text", "noise", "read", "loud"]),
        "save": Save(words: "row", path: "{seed}-{index}.txt"),
        "spare": Say(text: "nobody needs this"),
    },
)"#;

const PART: &str = r#"Graph(
    inputs: { "words": Required(Words) },
    nodes: { "shout": Shout(words: Input("words")) },
    outputs: { "words": "shout" },
)"#;

const HERE: Locker<'_> = Locker {
    program: "0.1.0",
    device: "cpu",
    numerics: "flex avx2 kernels 1 f32",
    memory: u64::MAX,
};

fn lab() -> Lab {
    let lab = Lab::new(TEXT);
    lab.file("books/one.txt", "index of nothing");
    lab.file("loud.ron", PART);
    lab
}

fn lock_of(plan: &Plan, locker: &Locker<'_>) -> Lock {
    let lock = Lock::of(plan, locker, &FileTable::default());
    lock.unwrap_or_else(|errors| panic!("no lock:\n{errors}"))
}

fn locked(lab: &Lab) -> Lock {
    lock_of(&lab.plan(&[]).expect("a plan"), &HERE)
}

/// All that differs now from what was locked.
fn differences(lab: &Lab, lock: &Lock) -> Vec<Diagnostic> {
    let plan = lab.plan(&[]).expect("a plan");
    lock.compare(&lock_of(&plan, &HERE), &plan)
}

fn messages(all: &[Diagnostic]) -> Vec<&str> {
    all.iter().map(|one| one.message.as_str()).collect()
}

fn parse(text: &str) -> Result<Lock, Diagnostic> {
    Lock::parse(&Source::new("lab.ron.lock", text))
}

#[test]
fn a_lock_is_ron_that_a_person_can_read() {
    let text = locked(&lab()).to_string();
    let part = blake3_of(PART);
    let book = blake3_of("index of nothing");
    let wanted = format!(
        r#"// Written by `ldm-graph lock`; `ldm-graph run --locked` runs nothing else.
Lock(
    format: 1,
    program: "0.1.0",
    device: "cpu",
    numerics: "flex avx2 kernels 1 f32",
    kinds: {{
        "Noise": 1,
        "Open": 1,
        "Read": 1,
        "Row": 1,
        "Save": 1,
        "Say": 1,
        "Shout": 1,
    }},
    seeds: {{
        "noise.seed": 42,
        "read.seed": 1,
    }},
    files: {{
        "book": {{
            "books/one.txt": "{book}",
        }},
        "loud": {{
            "loud.ron": "{part}",
        }},
    }},
    nodes: {{
        "book": Open(
            path: File,
        ),
        "loud/shout": Shout(
            words: "text.words",
        ),
        "noise": Noise(
            shape: Round(size: 2.0),
        ),
        "read": Read(
            book: "book.book",
        ),
        "row": Row(
            words: ["text.words", "noise.words", "read.words", "loud/shout.words"],
        ),
        "save": Save(
            path: "42-{{index}}.txt",
            words: "row.words",
        ),
        "text": Say(
            text: "a lake",
        ),
    }},
)
"#
    );
    assert_eq!(text, wanted);
}

fn blake3_of(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("file");
    std::fs::write(&path, text).expect("a file");
    let hash = FileTable::default().identity(&path);
    hash.expect("it can be read").to_string()
}

#[test]
fn what_differs_in_anything_locked_is_told_all_at_once() {
    let mut lab = lab();
    let lock = locked(&lab);
    assert_eq!(differences(&lab, &lock), []);

    lab.text = TEXT
        .replace("size: 2.0", "size: 3.0")
        .replace(r#"["text", "noise""#, r#"["noise", "text""#)
        .replace(r#""read": Read(book"#, r#""again": Read(book"#)
        .replace(r#""read", "loud"]"#, r#""again", "loud"]"#);
    lab.file("books/one.txt", "index of much");
    lab.file(
        "loud.ron",
        &PART.replace("\"shout\": Shout(", "\"shout\": Shout(most: 9, "),
    );
    lab.set("seed", 7).set("words", "a sea");
    let found = differences(&lab, &lock);
    let said = messages(&found);
    for wanted in [
        "`text.text` was \"a lake\", is \"a sea\"",
        "`noise.seed` was 42, is 7",
        "`noise.shape` was Round(size: 2.0), is Round(size: 3.0)",
        "`again` was not locked",
        "`save.path` was \"42-{index}.txt\", is \"7-{index}.txt\"",
        "`loud/shout.most` was 100, is 9",
        "`read` was locked, and is not in the graph",
    ] {
        assert!(said.contains(&wanted), "`{wanted}` is not in {said:#?}");
    }
    let starts = |start: &str| said.iter().any(|words| words.starts_with(start));
    assert!(starts("`row.words` was [\"text.words\", "), "{said:#?}");
    assert!(starts("the content of `books/one.txt` was "), "{said:#?}");
    assert!(starts("the content of `loud.ron` was "), "{said:#?}");
    assert_eq!(said.len(), 10, "{said:#?}");
    for one in &found {
        let hint = one.hint.as_deref().expect("a hint");
        assert!(
            hint.ends_with("lock anew with `ldm-graph lock lab.ron`"),
            "{hint}"
        );
        assert_eq!(one.severity, Severity::Error);
    }
}

#[test]
fn a_difference_points_at_the_flag_or_the_line_that_made_it() {
    let mut lab = lab();
    let lock = locked(&lab);
    lab.set("noise.seed", 7);
    lab.file("books/one.txt", "index of much");
    let found = differences(&lab, &lock);
    assert_eq!(messages(&found)[0], "`noise.seed` was 42, is 7");
    let places: Vec<(&str, &str)> = found
        .iter()
        .map(|one| (one.labels[0].file.as_str(), one.labels[0].text.trim()))
        .collect();
    assert_eq!(places[0], ("--set", "noise.seed=7"));
    assert_eq!(
        places[1],
        ("lab.ron", r#""book": Open(path: "books/one.txt"),"#)
    );
}

#[test]
fn versions_and_numerics_are_told_and_the_programs_version_only_warns() {
    let lab = lab();
    let plan = lab.plan(&[]).expect("a plan");
    let mut lock = locked(&lab);
    lock.kinds.insert("Say".to_owned(), 2);
    let there = Locker {
        program: "0.2.0",
        device: "cuda",
        numerics: "cuda 90 kernels 2 f16",
        ..HERE
    };
    let found = lock.compare(&lock_of(&plan, &there), &plan);
    let wanted = [
        "locked by ldm-graph 0.1.0, this is 0.2.0",
        "numerics were cpu: flex avx2 kernels 1 f32, now cuda: cuda 90 kernels 2 f16",
        "Say has version 1, locked with 2",
    ];
    assert_eq!(messages(&found), wanted);
    let errors = found.iter().filter(|one| one.severity == Severity::Error);
    assert_eq!(errors.count(), 2);
}

#[test]
fn where_nothing_computes_numerics_are_no_matter() {
    let mut lab = Lab::new(r#"Graph(nodes: { "a": Say(text: "a"), "b": Save(words: "a") })"#);
    let plan = lab.plan(&[]).expect("a plan");
    let lock = lock_of(&plan, &HERE);
    assert!(!lock.to_string().contains("numerics"), "{lock}");
    let there = Locker {
        numerics: "other",
        ..HERE
    };
    assert_eq!(lock.compare(&lock_of(&plan, &there), &plan), []);
    // A node that computes now has numerics where none were locked.
    lab.text = r#"Graph(nodes: { "a": Noise(), "b": Save(words: "a") })"#.to_owned();
    let said = differences(&lab, &lock);
    assert!(
        messages(&said)[0].starts_with("numerics were none, now"),
        "{said:#?}"
    );
    assert!(
        messages(&said).contains(&"`a` was a Say, is a Noise"),
        "{said:#?}"
    );
}

#[test]
fn what_is_not_needed_is_not_locked_and_running_less_is_no_difference() {
    let lab = lab();
    let lock = locked(&lab);
    assert!(!lock.nodes.contains_key("spare"));
    let plan = lab.plan(&["noise"]).expect("a plan");
    assert_eq!(lock.compare(&lock_of(&plan, &HERE), &plan), []);
    let plan = lab.plan(&["spare"]).expect("a plan");
    let found = lock.compare(&lock_of(&plan, &HERE), &plan);
    assert_eq!(messages(&found), ["`spare` was not locked"]);
}

#[test]
fn a_file_that_many_nodes_read_is_told_once() {
    let text = r#"Graph(nodes: {
        "a": Open(path: "book.txt"), "b": Open(path: "book.txt"),
        "x": Read(book: "a.book"), "y": Read(book: "b.book"),
        "row": Row(words: ["x", "y"]), "save": Save(words: "row"),
    })"#;
    let lab = Lab::new(text);
    lab.file("book.txt", "one");
    let lock = locked(&lab);
    lab.file("book.txt", "two");
    let found = differences(&lab, &lock);
    assert_eq!(found.len(), 1, "{found:#?}");
    let hint = found[0].hint.as_deref().expect("a hint");
    assert!(
        hint.starts_with("put the file back that `a` and `b` read"),
        "{hint}"
    );
}

#[test]
fn a_folder_is_locked_file_by_file() {
    let lab = lab();
    lab.file("model/unet.safetensors", "weights")
        .file("model/sub/vae", "more");
    let table = FileTable::default();
    let files = table
        .contents(&lab.folder.path().join("model"))
        .expect("a folder");
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sub/vae", "unet.safetensors"]);
    assert_eq!(files[1].1.to_string(), blake3_of("weights"));
}

#[test]
fn the_same_plan_gives_the_same_text_without_a_date_a_user_or_an_absolute_path() {
    let (mut here, there) = (lab(), lab());
    assert_eq!(locked(&here).to_string(), locked(&there).to_string());
    // Nodes in another order are the same plan.
    here.text = TEXT
        .replace(r#""spare": Say(text: "nobody needs this"),"#, "")
        .replace(
            r#""text": Say(text: Input("words")),"#,
            r#""spare": Say(text: "x"), "text": Say(text: Input("words")),"#,
        );
    assert_eq!(locked(&here).to_string(), locked(&there).to_string());

    let absolute = here.folder.path().join("books/one.txt");
    here.set("book.path", absolute.display());
    let text = locked(&here).to_string();
    let folder = here.folder.path().display().to_string();
    assert!(
        !text.contains(&folder) && text.contains("\"one.txt\""),
        "{text}"
    );
    for variable in ["USER", "HOME"] {
        let told = std::env::var(variable).ok().filter(|value| value.len() > 3);
        assert!(told.is_none_or(|value| !text.contains(&value)), "{text}");
    }
}

#[test]
fn a_lock_file_is_written_whole_or_not_at_all_and_reads_back_as_what_was_written() {
    let mut lab = lab();
    lab.text = TEXT.replace("a lake", r#"a \u{1b}[31m \"lake\"\n{{ }} ü \\"#);
    let lock = locked(&lab);
    let path = Lock::beside(&lab.path());
    assert!(path.ends_with("lab.ron.lock"));
    lock.write(&path).expect("it can be written");
    assert_eq!(Lock::read(&path).expect("it can be read"), lock);
    let text = std::fs::read_to_string(&path).expect("a file");
    assert!(text.ends_with(")\n") && !text.contains('\u{1b}'), "{text}");
    // Once more over what stands there, and nothing is left beside.
    lab.set("seed", 3);
    locked(&lab).write(&path).expect("it can be written");
    assert_ne!(std::fs::read_to_string(&path).expect("a file"), text);
    let names = std::fs::read_dir(lab.folder.path()).expect("a folder");
    let left = names.filter(|entry| {
        let name = entry.as_ref().expect("an entry").file_name();
        name.to_string_lossy().contains(".tmp")
    });
    assert_eq!(left.count(), 0);
    // What cannot be written leaves nothing.
    let missing = lab.folder.path().join("missing/lab.ron.lock");
    let error = lock.write(&missing).expect_err("there is no folder");
    assert!(error.message.starts_with("cannot write "), "{error}");
    assert!(!missing.exists());
}

#[test]
fn no_lock_file_panics_it_and_a_large_one_is_refused() {
    let lab = lab();
    let lock = locked(&lab);
    let text = lock.to_string();
    let plan = lab.plan(&[]).expect("a plan");
    let whole = text.trim_end().len();
    // Steps that share no divisor with the lines' lengths meet every sort of token.
    for cut in (0..whole).step_by(5) {
        let error = parse(&text[..cut]).expect_err("it is cut off");
        assert_eq!(error.labels.len(), 1, "{error}");
        assert!(error.hint.is_some(), "{error}");
    }
    for at in (0..text.len()).step_by(7) {
        for other in ["", "(", "\"", ",", "\u{1b}"] {
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            if let Ok(read) = parse(&changed) {
                read.compare(&lock, &plan);
            }
        }
    }
    let path = lab.folder.path().join("large.lock");
    let file = std::fs::File::create(&path).expect("a file");
    file.set_len((64 << 20) + 1).expect("a sparse file");
    let error = Lock::read(&path).expect_err("it is too large");
    assert!(
        error.message.ends_with("is larger than 64 MiB, no lock is"),
        "{error}"
    );
}

#[test]
fn what_is_wrong_with_a_lock_file_has_its_place() {
    let text = locked(&lab()).to_string();
    let wrong = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        let error = parse(&text.replacen(from, to, 1)).expect_err(to);
        let label = &error.labels[0];
        assert_eq!(label.file, "lab.ron.lock");
        format!("{}:{}: {}", label.line, label.column, error.message)
    };
    let cases = [
        (
            "format: 1",
            "format: 2",
            "3:13: this lock has format 2, this program reads 1",
        ),
        ("format: 1,", "", "2:1: `Lock` needs `format`"),
        (
            "format: 1",
            "format: \"1\"",
            "3:13: `format` is 1, found Text",
        ),
        (
            "Lock(",
            "Graph(",
            "2:1: a lock file holds `Lock(…)`, found `Graph(…)`",
        ),
        (
            "program:",
            "programme:",
            "4:5: `Lock` has no field `programme`",
        ),
        (
            "    program: \"0.1.0\",\n",
            "",
            "2:1: `Lock` needs `program`",
        ),
        ("device:", "program:", "5:5: `program` is given twice"),
        (
            "\"Noise\": 1",
            "\"Noise\": -1",
            "8:18: this is no version: a small whole number",
        ),
        ("\"Noise\": 1", "\"a b\": 1", "8:9: this is no legal name"),
        (
            "\"Open\": 1",
            "\"Noise\": 1",
            "9:9: this name is given twice",
        ),
        ("\"Noise\": 1", "7: 1", "8:9: a text is wanted, found Int"),
    ];
    for (from, to, message) in cases {
        assert_eq!(wrong(from, to), message);
    }
    assert!(wrong("\"books/one.txt\": \"", "\"books/one.txt\": \"z").contains("content hash"));
    assert!(wrong("\"text\": Say", "\"../text\": Say").contains("no legal name of a node"));
    assert!(wrong("Say(", "(").ends_with("this is no kind of node"));
}

#[test]
fn a_path_that_comes_through_a_link_cannot_be_locked() {
    let text = r#"Graph(nodes: {
        "which": Title(text: "books/one.txt"),
        "book": Open(path: Link("which")),
        "read": Read(book: "book.book"), "save": Save(words: "read"),
    })"#;
    let lab = Lab::new(text);
    lab.file("books/one.txt", "one");
    let plan = lab.plan(&[]).expect("a plan");
    let errors = Lock::of(&plan, &HERE, &FileTable::default()).expect_err("which file?");
    let error = &errors.0[0];
    assert!(
        error
            .message
            .starts_with("`book.path` comes through a link"),
        "{error}"
    );
    assert_eq!(error.labels[0].line, 3);
}

#[test]
fn a_setting_that_comes_through_a_link_is_locked_as_the_link() {
    let text = r#"Graph(nodes: {
        "page": Number(value: 4),
        "book": Open(path: "book.txt"),
        "read": Read(book: "book.book", seed: Link("page")), "save": Save(words: "read"),
    })"#;
    let mut lab = Lab::new(text);
    lab.file("book.txt", "one");
    let lock = locked(&lab);
    assert_eq!(lock.nodes["read"].fields["seed"], "Link(\"page.int\")");
    assert!(lock.seeds.is_empty());
    lab.text = text.replace("Link(\"page\")", "4");
    let said = differences(&lab, &lock);
    assert!(
        messages(&said).contains(&"`read.seed` was Link(\"page.int\"), is 4"),
        "{said:#?}"
    );
}
