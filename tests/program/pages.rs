//! Pages that the program writes are the ones in the repository.

use crate::lab::{Lab, root, updates};

#[test]
fn the_reference_page_is_what_the_program_prints() {
    let printed = Lab::new().run(["nodes", "--markdown"]);
    printed.code(0);
    let path = root().join("docs/nodes.md");
    if updates() {
        std::fs::create_dir_all(root().join("docs")).expect("a folder can be made");
        std::fs::write(&path, &printed.out).expect("the page can be written");
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let hint = "write it anew: `ldm-graph nodes --markdown > docs/nodes.md`";
    assert!(
        page == printed.out,
        "docs/nodes.md is not what the node library says; {hint}"
    );
}

#[test]
fn the_reference_page_holds_every_kind() {
    let lab = Lab::new();
    let page = lab.run(["nodes", "--markdown"]).out;
    for line in lab.run(["nodes"]).out.lines() {
        let kind = line.split(' ').next().expect("a word");
        assert!(
            page.contains(&format!("\n## {kind}\n")),
            "{kind} has no chapter"
        );
    }
}
