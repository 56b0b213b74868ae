//! Wrong graphs are files in `tests/graphs/bad/`; what `check` says stands beside each.

use std::path::{Path, PathBuf};

use crate::lab::{Ended, Lab, models, root, updates, utf8};

/// `ldm-graph check` of a graph in the repository, from its root.
fn check(graph: &str) -> Ended {
    let lab = Lab::new();
    let mut command = lab.command(["check", graph, "--models", utf8(models())]);
    Ended::of(
        command
            .current_dir(root())
            .output()
            .expect("the program starts"),
    )
}

/// The graphs of a folder, as paths from the root, in order.
fn graphs(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(folder)).expect("the folder of graphs");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut names: Vec<String> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "ron"))
        .map(|path| format!("{folder}/{}", name(&path)))
        .collect();
    names.sort();
    names
}

fn name(path: &Path) -> String {
    path.file_name()
        .expect("a file")
        .to_string_lossy()
        .into_owned()
}

/// Which places are tried above the repository depends on where it lies.
fn steady(said: &str) -> String {
    let steady = |line: &str| match line.strip_prefix("hint: tried ") {
        None => format!("{line}\n"),
        Some(tried) => {
            let here = tried.split(", ").filter(|path| !path.starts_with('/'));
            format!("hint: tried {}, …\n", here.collect::<Vec<_>>().join(", "))
        }
    };
    said.lines().map(steady).collect()
}

#[test]
fn every_bad_graph_is_refused_with_the_message_beside_it() {
    let graphs = graphs("tests/graphs/bad");
    assert!(graphs.len() >= 25, "{graphs:?}");
    let mut wrong = Vec::new();
    for graph in &graphs {
        let ended = check(graph);
        assert_eq!(ended.out, "", "{graph}");
        assert_eq!(ended.code, 2, "{graph}: {}", ended.err);
        let beside: PathBuf = root().join(graph).with_extension("txt");
        let said = steady(&ended.err);
        if updates() {
            std::fs::write(&beside, said).expect("the expectation can be written");
            continue;
        }
        let wanted = std::fs::read_to_string(&beside).unwrap_or_default();
        if wanted != said {
            wrong.push(format!("{graph} wants\n{wanted}\nand says\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_bad_graph_says_where_and_without_colour() {
    for graph in graphs("tests/graphs/bad") {
        let said = std::fs::read_to_string(root().join(&graph).with_extension("txt"));
        let said = said.unwrap_or_else(|_| panic!("{graph} has no expectation"));
        assert!(said.starts_with("error: "), "{graph}");
        assert!(
            said.contains(&format!("--> {graph}:")),
            "{graph} is not named:\n{said}"
        );
        assert!(!said.contains('\x1b'), "{graph}");
    }
}

#[test]
fn all_errors_of_all_graphs_are_shown_at_once() {
    let said = check("tests/graphs/bad/many_errors.ron").err;
    assert!(said.matches("error: ").count() >= 4, "{said}");
    let lab = Lab::new();
    let (a, b) = (
        "tests/graphs/bad/json.ron",
        "tests/graphs/bad/self_link.ron",
    );
    let mut command = lab.command(["check", a, b]);
    let ended = Ended::of(
        command
            .current_dir(root())
            .output()
            .expect("the program starts"),
    );
    ended
        .code(2)
        .says(&format!("--> {a}:"))
        .says(&format!("--> {b}:"));
}

#[test]
fn every_good_graph_is_fine() {
    for graph in graphs("tests/graphs/good") {
        let ended = check(&graph);
        ended.code(0);
        assert!(
            ended.out.starts_with(&format!("{graph}: fine, ")),
            "{}",
            ended.out
        );
    }
}

#[test]
fn every_graph_that_ships_is_fine() {
    let shipped = [graphs("graphs"), graphs("graphs/train")].concat();
    assert!(shipped.len() >= 5, "{shipped:?}");
    for graph in shipped {
        check(&graph).code(0);
    }
}

/// Seconds of a processor that a check takes, as the shell counts them. What else the machine
/// does is not the program's fault.
#[cfg(unix)]
fn processor_seconds(graph: &str) -> f64 {
    let lab = Lab::new();
    let program = lab.command(["check", graph, "--models", utf8(models())]);
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "\"$@\" >/dev/null && times", "sh"])
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(root());
    let counted = Ended::of(shell.output().expect("there is a shell"));
    // The second line is of the shell's children: `0m0.010s 0m0.000s`.
    let children = counted.code(0).out.lines().nth(1).expect("two lines");
    let seconds = |time: &str| -> Option<f64> {
        let (minutes, seconds) = time.strip_suffix('s')?.split_once('m')?;
        Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
    };
    let times = children.split_whitespace().map(seconds);
    times
        .sum::<Option<f64>>()
        .unwrap_or_else(|| panic!("{children}"))
}

#[cfg(unix)]
#[test]
fn checking_takes_less_than_a_tenth_of_a_second() {
    let took = processor_seconds("tests/graphs/good/txt2img.ron");
    assert!(took < 0.1, "{took} s");
}

/// The blocks of README that show a check: the graph, and what it says.
fn shown() -> Vec<(String, String)> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let blocks = readme.split("```text\n$ ldm-graph check ").skip(1);
    let parted = blocks.filter_map(|block| block.split_once("\n```")?.0.split_once('\n'));
    parted
        .map(|(graph, said)| (graph.to_owned(), format!("{said}\n")))
        .collect()
}

#[test]
fn the_readme_shows_ten_errors_as_they_are() {
    let shown = shown();
    assert!(shown.len() >= 10, "README shows {} errors", shown.len());
    for (graph, said) in shown {
        let beside = root().join(&graph).with_extension("txt");
        let recorded = std::fs::read_to_string(&beside);
        let recorded = recorded.unwrap_or_else(|e| panic!("{}: {e}", beside.display()));
        assert_eq!(said, recorded, "README shows {graph} otherwise");
    }
}
