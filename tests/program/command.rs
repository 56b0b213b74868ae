//! Flags, help, completions, man pages, colour: everything but the graphs.

use crate::lab::{Lab, models, utf8};

const WORD: &str = r#"Graph(nodes: { "a": Nothing(x: 1) })"#;

#[test]
fn help_and_version_go_to_stdout_and_misuse_to_stderr() {
    let lab = Lab::new();
    let help = lab.run(["--help"]);
    help.code(0);
    for command in [
        "run",
        "lock",
        "verify",
        "explain",
        "cache",
        "check",
        "bench",
        "inspect",
        "show",
        "nodes",
        "completions",
        "man",
    ] {
        assert!(help.out.contains(&format!("\n  {command}")), "{}", help.out);
        let one = lab.run([command, "--help"]);
        assert!(
            one.code(0).out.contains(&format!("ldm-graph {command}")),
            "{}",
            one.out
        );
    }
    let run = lab.run(["run", "--help"]).out;
    for title in [
        "The graph",
        "Kept results",
        "Output",
        "The machine",
        "Options",
    ] {
        assert_eq!(run.matches(&format!("\n{title}:\n")).count(), 1, "{run}");
    }
    assert!(
        lab.run(["--version"])
            .code(0)
            .out
            .starts_with("ldm-graph 0.")
    );
    assert_eq!(lab.run(["rum"]).code(2).says("error:").out, "");
    lab.run(["run"]).code(2).says("<GRAPH>");
    lab.run(["run", "a.ron", "--threads", "0"])
        .code(2)
        .says("0");
    lab.run(["run", "a.ron", "--memory", "many"])
        .code(2)
        .says("`800M`, `6G`");
    lab.run(["run", "a.ron", "--device", "gpu"])
        .code(2)
        .says("`gpu`")
        .says("cuda:N");
    lab.run(["run", "a.ron", "--dtype", "f8"])
        .code(2)
        .says("`f8`")
        .says("`bf16`");
    lab.run(["run", "a.ron", "--cpu-isa", "amx"])
        .code(2)
        .says("`amx`")
        .says("`portable`");
}

#[test]
fn a_graph_that_is_not_there_is_misuse() {
    let lab = Lab::new();
    lab.run(["run", "missing.ron"]).code(2).says("missing.ron");
    lab.run(["check", "missing.ron"])
        .code(2)
        .says("missing.ron");
}

#[test]
fn an_unknown_input_on_the_command_line_offers_the_nearest() {
    let lab = Lab::new();
    lab.write(
        "g.ron",
        r#"Graph(inputs: {"prompt": Text("a")}, nodes: {
        "model": LoadModel(path: "weights/text"),
        "said": TextEncode(text_encoder: "model", text: Input("prompt")),
    }, outputs: {"x": "said"})"#,
    );
    let check = |set: &str| lab.run(["check", "g.ron", "--models", utf8(models()), "--set", set]);
    check("prompt=a lake").code(0);
    check("said.text=a lake").code(0);
    check("promt=a lake")
        .code(2)
        .says("`promt`")
        .says("did you mean `prompt`?");
    check("prompt").code(2).says("has no `=`");
    let only = lab.run([
        "check",
        "bench",
        "g.ron",
        "--models",
        utf8(models()),
        "--only",
        "sad",
    ]);
    only.code(2).says("no node `sad`").says("`said`");
}

#[test]
fn models_are_found_in_the_environment_too() {
    let lab = Lab::new();
    lab.write(
        "g.ron",
        r#"Graph(nodes: {"model": LoadModel(path: "weights/text")},
        outputs: {"vae": "model.vae"})"#,
    );
    lab.run(["check", "g.ron"])
        .code(2)
        .says("weights/text")
        .says("tried");
    let mut command = lab.command(["check", "g.ron"]);
    command.env("LDM_GRAPH_MODELS", models());
    assert!(command.status().expect("the program starts").success());
}

#[test]
fn colour_is_used_when_asked_for_and_never_by_itself_in_a_pipe() {
    let lab = Lab::new();
    lab.write("g.ron", WORD);
    assert!(!lab.run(["check", "g.ron"]).code(2).err.contains('\x1b'));
    assert!(
        !lab.run(["check", "g.ron", "--color", "never"])
            .err
            .contains('\x1b')
    );
    let coloured = lab.run(["check", "g.ron", "--color", "always"]).err;
    assert!(coloured.contains("\x1b[1m\x1b[31merror"), "{coloured:?}");
    assert!(lab.run(["--color=always", "--help"]).out.contains('\x1b'));
    assert!(!lab.run(["--color", "never", "rum"]).err.contains('\x1b'));
}

#[test]
fn a_kind_is_shown_with_what_it_takes_and_a_wrong_one_with_the_nearest() {
    let lab = Lab::new();
    let all = lab.run(["nodes"]);
    assert!(
        all.code(0)
            .out
            .lines()
            .any(|line| line.starts_with("LoadModel ")),
        "{}",
        all.out
    );
    let one = lab.run(["nodes", "TextEncode"]);
    one.code(0);
    for words in [
        "TextEncode",
        "Takes",
        "text_encoder  TextEncoder",
        "Settings",
        "Gives",
    ] {
        assert!(one.out.contains(words), "`{words}` is not in:\n{}", one.out);
    }
    let wrong = lab.run(["nodes", "TextEncod"]);
    wrong
        .code(2)
        .says("there is no kind of node `TextEncod`")
        .says("`TextEncode`");
    lab.run(["nodes", "named"])
        .code(2)
        .says("it is a choice for `sampler` of `Denoise`: `ldm-graph nodes Denoise` shows it");
    lab.run(["nodes", "Xyzzy"]).code(2).says("hint: ");
}

#[test]
fn completions_know_flags_and_kinds() {
    let lab = Lab::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = lab.run(["completions", shell]);
        script.code(0);
        let mut words = vec!["overwrite"];
        // The other generators complete no positional arguments.
        if ["bash", "zsh"].contains(&shell) {
            words.push("TextEncode");
        }
        for word in words {
            assert!(script.out.contains(word), "{shell} does not know `{word}`");
        }
    }
    lab.run(["completions", "tcsh"]).code(2).says("bash");
}

#[test]
fn man_pages_describe_the_program_and_its_subcommands() {
    let lab = Lab::new();
    let page = lab.run(["man"]);
    assert!(page.code(0).out.contains(".TH ldm-graph 1"), "{}", page.out);
    let page = lab.run(["man", "run"]);
    page.code(0);
    assert!(page.out.contains(".TH ldm-graph-run 1"), "{}", page.out);
    assert!(page.out.contains("overwrite"), "{}", page.out);
    lab.run(["man", "rum"]).code(2).says("did you mean `run`?");
}

#[test]
fn a_closed_stdout_ends_it_quietly() {
    let lab = Lab::new();
    for arguments in [
        &["nodes"][..],
        &["completions", "bash"],
        &["man"],
        &["--help"],
    ] {
        let mut command = lab.command(arguments);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = command
            .stdout(writer)
            .stderr(std::process::Stdio::piped())
            .output();
        let output = output.expect("the program starts");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(
            output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn a_full_disk_below_stdout_is_an_error() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        return;
    };
    let lab = Lab::new();
    let mut command = lab.command(["nodes"]);
    let output = command
        .stdout(full)
        .stderr(std::process::Stdio::piped())
        .output();
    let output = output.expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write to stdout"));
}
