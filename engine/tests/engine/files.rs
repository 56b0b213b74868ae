//! Reading: where files are looked for, how their content enters keys.

use crate::lab::Lab;

const READ: &str =
    r#"Graph(nodes: { "book": Open(path: "sub/book.txt"), "read": Read(book: "book") })"#;

#[test]
fn content_decides_and_paths_do_not() {
    let mut lab = Lab::new(READ);
    lab.file("sub/book.txt", "one").file("copy.txt", "one");
    lab.run("read").ran(["book", "read"]);
    lab.set("book.path", "copy.txt").run("read").ran([]);
    lab.file("copy.txt", "two")
        .run("read")
        .ran(["book", "read"]);
    lab.file("copy.txt", "one").run("read").ran([]);
}

#[test]
fn a_file_is_looked_for_upward_and_the_error_lists_what_was_tried() {
    let lab = Lab::new(&READ.replace("sub/book", "sub/bok"));
    lab.file("sub/book.txt", "one");
    let errors = lab.errors();
    assert!(
        errors.contains("there is no file `sub/bok.txt`"),
        "{errors}"
    );
    assert!(errors.contains("hint: tried "), "{errors}");
    assert!(errors.contains("/sub/bok.txt, "), "{errors}");
    assert!(errors.contains("lab.ron:1:35"), "{errors}");
}

#[test]
fn an_output_that_a_file_turns_out_not_to_have_is_an_error_while_planning() {
    let text = r#"Graph(nodes: {
        "book": Open(path: "book.txt"),
        "loud": Shout(words: "book.index"),
    })"#;
    let lab = Lab::new(text);
    lab.file("book.txt", "index: 1");
    lab.run("loud").ran(["book", "loud"]);
    lab.file("book.txt", "no such thing");
    let errors = lab.errors();
    assert!(
        errors.contains("`loud.words`: there is no `book.index`"),
        "{errors}"
    );
    let why = "hint: `index` does not stand in its first line";
    assert!(errors.contains(why), "{errors}");
}

#[test]
fn a_folder_is_known_by_the_files_in_it() {
    let table = ldm_engine::FileTable::default();
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("sub")).expect("a folder");
    std::fs::write(at("a"), "1").expect("a file");
    std::fs::write(at("sub/b"), "2").expect("a file");
    let first = table.identity(folder.path()).expect("readable");
    std::fs::write(at(".hidden"), "3").expect("a file");
    assert_eq!(table.identity(folder.path()).expect("readable"), first);
    std::fs::write(at("sub/b"), "3").expect("a file");
    assert_ne!(table.identity(folder.path()).expect("readable"), first);
}

#[test]
fn a_file_hashed_too_soon_after_its_change_is_hashed_again() {
    let table = ldm_engine::FileTable::default();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a");
    std::fs::write(&path, "1").expect("a file");
    let mtime = path
        .metadata()
        .and_then(|meta| meta.modified())
        .expect("an mtime");
    let first = table.file(&path).expect("readable");
    // The same size and mtime: only the racy rule can tell (ctime is as coarse as mtime).
    let file = std::fs::File::options()
        .write(true)
        .open(&path)
        .expect("writable");
    std::io::Write::write_all(&mut &file, b"2").expect("writable");
    file.set_modified(mtime).expect("settable");
    let second = table.file(&path).expect("readable");
    assert_ne!(first.identity(), second.identity());
    assert!(first.open().is_err(), "what was hashed is no longer there");
    assert!(second.open().is_ok());
}

#[test]
fn the_folders_above_are_searched_also_for_a_graph_named_without_a_folder() {
    let search = ldm_engine::Search::default();
    let tried = search
        .find(std::path::Path::new(""), "no such file")
        .expect_err("there is none");
    let here = std::env::current_dir().expect("a working folder");
    let wanted: Vec<_> = here.ancestors().map(|at| at.join("no such file")).collect();
    assert_eq!(tried, wanted);
}

#[test]
fn further_folders_are_searched_upward_after_the_graphs_own() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (own, also) = (folder.path().join("own"), folder.path().join("a/b"));
    let search = ldm_engine::Search {
        also: vec![also.clone()],
        ..Default::default()
    };
    std::fs::create_dir_all(&also).expect("folders");
    std::fs::create_dir_all(&own).expect("folders");
    // A name that nobody has in the folders above.
    let name = "ldm-graph-test-of-folders";
    let find = || search.find(&own, name).ok();
    assert_eq!(find(), None);
    for found in [folder.path().join("a"), also.clone(), own.clone()].map(|at| at.join(name)) {
        std::fs::write(&found, "x").expect("a file");
        assert_eq!(find(), Some(found));
    }
}
