//! The promises of the cache that a folder has to keep: across processes, with damage, under a
//! budget, and what `explain` says of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ldm_engine::{Data, Disk, Event, Fate, From, State};

use crate::lab::{Lab, Words};

const MIX: &str = r#"Graph(nodes: {
    "text": Say(text: "a lighthouse"),
    "noise": Noise(seed: 1),
    "mix": Join(a: "text", b: "noise"),
    "save": Save(words: "mix", path: "mix.txt"),
})"#;

/// A lab whose cache folder knows the graph.
fn known() -> Lab {
    let mut lab = Lab::new(MIX);
    lab.restart()
        .run_all()
        .ran(["text", "noise", "mix", "save"]);
    lab
}

fn entries(lab: &Lab, sort: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(lab.cache_folder().join(sort)).expect("a folder");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.metadata().map_or(0, |meta| meta.len()))
        .sum()
}

#[test]
fn another_process_keeps_everything_and_says_where_it_was() {
    let mut lab = known();
    let again = lab.restart().run_all();
    again.ran([]).kept(["text", "noise", "mix", "save"]);
    let places = again.events.iter().filter_map(|event| match event {
        Event::Node(node) if node.state == State::Kept => node.from,
        _ => None,
    });
    assert!(places.into_iter().all(|from| from == From::Disk));
    assert!(again.warnings().is_empty());
}

#[test]
fn another_process_runs_exactly_the_cone_of_a_change() {
    let mut lab = known();
    lab.host.overwrite = true;
    lab.set("noise.seed", 2).restart();
    let ran = lab.run_all();
    ran.ran(["noise", "mix", "save"]).kept(["text"]);
    assert_eq!(ran.because("noise").as_deref(), Some("`seed` was 1, now 2"));
    assert_eq!(
        ran.because("mix").as_deref(),
        Some("`b` gets something else")
    );
    assert_eq!(
        lab.out("mix.txt").as_deref(),
        Some("a lighthouse noise 2 round 1")
    );
}

#[test]
fn a_file_that_is_gone_runs_the_effect_alone() {
    let mut lab = known();
    fs::remove_file(lab.host.out.join("mix.txt")).unwrap();
    let ran = lab.restart().run_all();
    ran.ran(["save"]).kept(["text", "noise", "mix"]);
    assert_eq!(
        ran.because("save").as_deref(),
        Some("its files are gone or changed")
    );
}

#[test]
fn early_cut_off_works_across_processes() {
    let mut lab = Lab::new(
        r#"Graph(nodes: {
            "text": Say(text: "quiet"), "loud": Shout(words: "text"),
            "save": Save(words: "loud"),
        })"#,
    );
    lab.restart().run_all().ran(["text", "loud", "save"]);
    lab.set("text.text", "QUIET").restart();
    lab.run_all().ran(["text", "loud"]).kept(["save"]);
}

#[test]
fn an_evicted_value_below_a_kept_result_is_not_made_again() {
    let mut lab = known();
    for object in entries(&lab, "objects") {
        fs::remove_file(object).unwrap();
    }
    lab.restart().run_all().ran([]);
    // What is wanted after all is made again, and what it needs, and no more.
    fs::remove_file(lab.host.out.join("mix.txt")).unwrap();
    lab.restart()
        .run_all()
        .ran(["text", "noise", "mix", "save"]);
}

#[test]
fn a_handle_is_opened_again_quietly_in_another_process() {
    let mut lab = Lab::new(
        r#"Graph(nodes: {
            "book": Open(path: "book.txt"), "read": Read(book: "book.book", seed: 1),
            "save": Save(words: "read"),
        })"#,
    );
    lab.file("book.txt", "once upon a time");
    lab.restart().run_all().ran(["book", "read", "save"]);
    lab.host.overwrite = true;
    lab.set("read.seed", 2).restart();
    lab.run_all().ran(["read", "save"]).kept(["book"]);
    lab.file("book.txt", "another time");
    lab.restart().run_all().ran(["book", "read", "save"]);
}

#[test]
fn promise_3_a_damaged_entry_is_found_dropped_and_made_again() {
    for sort in ["objects", "actions", "plans"] {
        let mut lab = known();
        fs::remove_file(lab.host.out.join("mix.txt")).unwrap();
        for path in entries(&lab, sort) {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            fs::write(&path, bytes).unwrap();
        }
        let again = lab.restart().run_all();
        assert_eq!(
            lab.out("mix.txt").as_deref(),
            Some("a lighthouse noise 1 round 1")
        );
        assert!(
            again
                .warnings()
                .iter()
                .any(|words| words.contains("damaged")),
            "{sort}"
        );
        // It was written anew: what the picture needs is found again.
        fs::remove_file(lab.host.out.join("mix.txt")).unwrap();
        let healed = lab.restart().run_all();
        healed.ran(["save"]);
        assert!(
            healed.warnings().is_empty(),
            "{sort}: {:?}",
            healed.warnings()
        );
    }
}

#[test]
fn every_flipped_byte_and_every_cut_of_any_entry_still_gives_the_right_answer() {
    let lab = &mut known();
    let all: Vec<PathBuf> = ["objects", "actions", "plans"]
        .iter()
        .flat_map(|sort| entries(lab, sort))
        .collect();
    for path in all {
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(29) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            for wrong in [flipped, whole[..at].to_vec()] {
                fs::write(&path, wrong).unwrap();
                fs::remove_file(lab.host.out.join("mix.txt")).unwrap();
                lab.restart().run_all();
                let out = lab.out("mix.txt");
                assert_eq!(out.as_deref(), Some("a lighthouse noise 1 round 1"));
            }
        }
        lab.restart().run_all();
    }
}

#[test]
fn promise_4_the_disk_tier_keeps_to_its_byte_budget() {
    let budget = 60_000;
    let mut lab = Lab::new(
        r#"Graph(nodes: {
            "a": Say(text: "a"), "b": Shout(words: "a"), "c": Join(a: "a", b: "b"),
        })"#,
    );
    for round in 0..40 {
        lab.set("a.text", "x".repeat(40 + round));
        let disk = Disk::new(lab.cache_folder(), budget);
        lab.restart_with(disk).run("c");
        let sorts = ["objects", "actions", "files", "plans"];
        let used: u64 = sorts
            .iter()
            .map(|s| size(&lab.cache_folder().join(s)))
            .sum();
        assert!(used <= budget, "{used} bytes in round {round}");
    }
    // What was used last is still there.
    let disk = Disk::new(lab.cache_folder(), budget);
    lab.restart_with(disk).run("c").ran([]);
}

#[test]
fn what_is_large_cheap_and_long_unused_goes_first() {
    let mut lab = Lab::new(r#"Graph(nodes: { "a": Say(text: "a") })"#);
    let text = |i: usize| format!("{i} {}", "x".repeat(900));
    for i in 0..10 {
        lab.set("a.text", text(i)).restart().run("a");
        let old = SystemTime::now() - Duration::from_secs(1000 - 100 * i as u64);
        let identity = Words(text(i), 8).identity().to_string();
        let file = fs::File::open(lab.cache_folder().join("objects").join(identity)).unwrap();
        file.set_modified(old).unwrap();
    }
    let swept = Disk::new(lab.cache_folder(), 9_000).gc().unwrap();
    assert!(swept.evicted > 0 && swept.freed > 0, "{swept:?}");
    let stands = |i: usize| {
        let identity = Words(text(i), 8).identity().to_string();
        lab.cache_folder().join("objects").join(identity).exists()
    };
    assert!(!stands(0) && stands(9));
    let gone = (0..10).take_while(|i| !stands(*i)).count();
    assert!((gone..10).all(stands), "the longest unused went first");
}

#[test]
fn promise_5_two_processes_on_one_cache_do_not_harm_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let texts = [
        MIX.to_owned(),
        MIX.replace("seed: 1", "seed: 2"),
        MIX.to_owned(),
    ];
    std::thread::scope(|scope| {
        for text in &texts {
            let root = folder.path().to_owned();
            scope.spawn(move || {
                for round in 0..15 {
                    let mut lab = Lab::new(text);
                    lab.set("text.text", format!("round {}", round % 5));
                    lab.restart_with(Disk::new(root.clone(), 20_000));
                    let ran = lab.run_all();
                    assert!(ran.report.is_complete() && ran.warnings().is_empty());
                    let seed = if text.contains("seed: 2") { 2 } else { 1 };
                    let wanted = format!("round {} noise {seed} round 1", round % 5);
                    assert_eq!(lab.out("mix.txt"), Some(wanted));
                    Disk::new(root.clone(), 20_000).gc().unwrap();
                }
            });
        }
    });
    let swept = Disk::new(folder.path(), 20_000).gc().unwrap();
    assert!(swept.damaged.is_empty(), "{swept:?}");
}

#[test]
fn explain_tells_what_a_run_would_do_and_runs_nothing() {
    let mut lab = known();
    lab.restart();
    assert!(matches!(
        lab.fate("mix"),
        Fate::Kept {
            from: From::Disk,
            bytes: Some(_),
            ..
        }
    ));
    assert!(matches!(lab.fate("save"), Fate::Kept { bytes: None, .. }));
    lab.set("noise.seed", 2);
    let because = "`seed` was 1, now 2".to_owned();
    assert_eq!(lab.fate("noise"), Fate::Runs { because });
    let on = vec!["noise".to_owned()];
    assert_eq!(lab.fate("mix"), Fate::Depends { on });
    assert!(matches!(lab.fate("text"), Fate::Kept { .. }));
    assert_eq!(
        lab.out("mix.txt").as_deref(),
        Some("a lighthouse noise 1 round 1")
    );
    // Asking changed nothing: the run gives the same reason.
    assert_eq!(
        lab.run_all().because("noise").as_deref(),
        Some("`seed` was 1, now 2")
    );
}

#[test]
fn explain_follows_linked_settings_through_kept_values() {
    let mut lab = Lab::new(
        r#"Graph(nodes: {
            "title": Title(text: "a lake"), "say": Say(text: Link("title")),
            "save": Save(words: "say"),
        })"#,
    );
    lab.restart().run_all();
    lab.restart();
    assert!(matches!(lab.fate("save"), Fate::Kept { .. }));
    lab.set("title.text", "a hill");
    let on = vec!["title".to_owned()];
    assert_eq!(lab.fate("say"), Fate::Depends { on });
}

#[test]
fn a_folder_full_of_garbage_and_a_symlink_to_one_do_no_harm() {
    let mut lab = Lab::new(MIX);
    let real = lab.folder.path().join("elsewhere");
    for sort in ["objects", "actions", "files", "plans", "tmp"] {
        fs::create_dir_all(real.join(sort).join("a folder")).unwrap();
        fs::write(real.join(sort).join("README"), "not yours").unwrap();
        fs::write(real.join(sort).join("0".repeat(64)), [0xff; 300]).unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(&real, lab.cache_folder()).unwrap();
    lab.restart()
        .run_all()
        .ran(["text", "noise", "mix", "save"]);
    lab.restart().run_all().ran([]);
    let disk = Disk::new(lab.cache_folder(), 1 << 20);
    assert_eq!(
        disk.stat().unwrap().strange,
        6,
        "with two among the files being written"
    );
    assert_eq!(disk.verify(&mut |_, _| true).unwrap().damaged.len(), 4);
    disk.clear().unwrap();
    assert!(
        real.join("objects/README").exists(),
        "what is not ours stays"
    );
    lab.restart()
        .run_all()
        .ran(["text", "noise", "mix", "save"]);
}

#[test]
fn an_older_format_is_swept_and_a_newer_one_left_alone() {
    let mut lab = known();
    let object = entries(&lab, "objects")[0].clone();
    let text = fs::read_to_string(&object).unwrap();
    fs::write(&object, text.replacen("object 1 ", "object 0 ", 1)).unwrap();
    let newer = entries(&lab, "objects")[1].clone();
    let text = fs::read_to_string(&newer).unwrap();
    fs::write(&newer, text.replacen("object 1 ", "object 9 ", 1)).unwrap();
    lab.restart();
    let disk = Disk::new(lab.cache_folder(), 1 << 20);
    assert_eq!(disk.gc().unwrap().old, 1);
    assert!(!object.exists() && newer.exists());
    fs::remove_file(lab.host.out.join("mix.txt")).unwrap();
    lab.run_all();
    assert_eq!(
        lab.out("mix.txt").as_deref(),
        Some("a lighthouse noise 1 round 1")
    );
}

#[test]
fn a_clock_that_goes_backwards_does_no_harm() {
    let mut lab = known();
    let tomorrow = SystemTime::now() + Duration::from_secs(100_000);
    for sort in ["objects", "actions", "plans"] {
        for path in entries(&lab, sort) {
            fs::File::open(path)
                .unwrap()
                .set_modified(tomorrow)
                .unwrap();
        }
    }
    lab.restart().run_all().ran([]);
    let swept = Disk::new(lab.cache_folder(), 2_000).gc().unwrap();
    assert!(swept.evicted > 0);
    lab.host.overwrite = true;
    lab.set("noise.seed", 3).restart().run_all();
    assert_eq!(
        lab.out("mix.txt").as_deref(),
        Some("a lighthouse noise 3 round 1")
    );
}

/// A book that is long enough for its hash to be remembered by the folder.
fn long(word: &str) -> String {
    word.repeat((300 << 10) / word.len())
}

const READ: &str = r#"Graph(nodes: {
    "book": Open(path: "book.txt"), "read": Read(book: "book.book"),
    "save": Save(words: "read"),
})"#;

fn age(path: &Path, seconds: u64) -> SystemTime {
    let then = SystemTime::now() - Duration::from_secs(seconds);
    let file = fs::File::open(path).expect("a file");
    file.set_modified(then).expect("its time can be set");
    then
}

#[test]
fn the_hash_of_a_large_file_is_remembered_for_the_next_process() {
    let mut lab = Lab::new(READ);
    lab.file("book.txt", &long("once "));
    age(&lab.folder.path().join("book.txt"), 100);
    lab.restart().run_all();
    assert_eq!(entries(&lab, "files").len(), 1);
    lab.restart().run_all().ran([]);
    // Not if it was written a moment ago: it could change again within the clock's step.
    let mut lab = Lab::new(READ);
    lab.file("book.txt", &long("once "));
    lab.restart().run_all();
    assert!(!lab.cache_folder().join("files").exists());
}

#[test]
fn a_file_replaced_under_the_same_name_size_and_time_is_noticed() {
    let mut lab = Lab::new(READ);
    lab.file("book.txt", &long("once "));
    let path = lab.folder.path().join("book.txt");
    let then = age(&path, 100);
    lab.restart().run_all();
    lab.file("new.txt", &long("else "));
    let new = lab.folder.path().join("new.txt");
    fs::File::open(&new).unwrap().set_modified(then).unwrap();
    fs::rename(&new, &path).unwrap();
    lab.host.overwrite = true;
    lab.restart().run_all().ran(["book", "read", "save"]);
    // In place, too: the time of the change cannot be set.
    lab.file("book.txt", &long("more "));
    fs::File::open(&path).unwrap().set_modified(then).unwrap();
    lab.restart().run_all().ran(["book", "read", "save"]);
}

#[test]
fn a_folder_that_is_taken_away_in_the_middle_is_made_again() {
    let mut lab = known();
    lab.host.overwrite = true;
    fs::remove_dir_all(lab.cache_folder()).unwrap();
    let ran = lab.set("noise.seed", 2).run_all();
    assert!(ran.warnings().is_empty(), "{:?}", ran.warnings());
    lab.restart().run_all().kept(["noise", "mix", "save"]);
}

#[test]
fn a_file_where_a_folder_should_be_is_no_entry() {
    let mut lab = Lab::new(MIX);
    lab.file("cache/plans", "not a folder");
    let ran = lab.restart().run_all();
    assert!(ran.report.is_complete());
    let disk = Disk::new(lab.cache_folder(), 1 << 20);
    assert!(disk.stat().is_ok() && disk.gc().is_ok() && disk.clear().is_ok());
}

#[test]
fn what_was_stopped_leaves_the_reason_of_the_run_before_it() {
    let mut lab = Lab::new(
        r#"Graph(nodes: {
            "a": Say(text: "a"), "slow": Slow(words: "a", steps: 4), "save": Save(words: "slow"),
        })"#,
    );
    lab.restart().run_all();
    lab.set("slow.steps", 9).set("slow.stop_at", 3);
    let because = "`steps` was 4, now 9".to_owned();
    assert_eq!(
        lab.fate("slow"),
        Fate::Runs {
            because: because.clone()
        }
    );
    assert_eq!(lab.run_all().report.done.cancelled, ["slow", "save"]);
    assert_eq!(
        lab.fate("slow"),
        Fate::Runs {
            because: because.clone()
        }
    );
    lab.restart();
    assert_eq!(lab.fate("slow"), Fate::Runs { because });
}
