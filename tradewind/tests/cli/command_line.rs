//! `tradewind completions` and `tradewind man`: generated from the options, for every subcommand.

use std::fs;
use std::process::Command;

use crate::platform::{TestFolder, run};

const SUBCOMMANDS: [&str; 18] = [
    "up",
    "command-side",
    "relay",
    "sagas",
    "query-side",
    "payment-provider",
    "load",
    "replay",
    "verify",
    "events",
    "reconcile",
    "parked",
    "migrate",
    "topics",
    "engines",
    "health",
    "completions",
    "man",
];

#[test]
fn the_completion_script_of_each_shell_has_every_subcommand() {
    let folder = TestFolder::new("completions");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (code, script) = run(&mut folder.tradewind(&["completions", shell]));
        assert_eq!(code, Some(0), "{shell}: {script}");
        for subcommand in SUBCOMMANDS {
            assert!(script.contains(subcommand), "{shell}: no {subcommand}");
        }
    }
}

#[test]
fn bash_completes_a_subcommand_by_the_generated_script() {
    let folder = TestFolder::new("completions-bash");
    let (code, script) = run(&mut folder.tradewind(&["completions", "bash"]));
    assert_eq!(code, Some(0), "{script}");
    let file = folder.state().join("tradewind.bash");
    fs::write(&file, script).expect("our own folder can be written");
    let complete = "source \"$0\"; COMP_WORDS=(tradewind reco) COMP_CWORD=1; \
                    _tradewind tradewind reco tradewind; echo \"${COMPREPLY[@]}\"";
    let (code, output) = run(Command::new("bash").args(["-c", complete]).arg(&file));
    assert_eq!((code, output.trim()), (Some(0), "reconcile"));
}

#[test]
fn an_unknown_shell_is_refused_with_those_allowed() {
    let folder = TestFolder::new("completions-unknown");
    let (code, output) = run(&mut folder.tradewind(&["completions", "csh"]));
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("bash, elvish, fish, powershell, zsh"), "{output}");
}

#[test]
fn the_manual_has_one_page_for_the_program_and_each_subcommand() {
    let folder = TestFolder::new("man");
    let (code, page) = run(&mut folder.tradewind(&["man"]));
    assert_eq!(code, Some(0), "{page}");
    assert!(page.contains(".TH tradewind 1") && page.contains("reconcile"), "{page}");

    let out = folder.state().join("man").join("man1");
    let (code, output) = run(folder.tradewind(&["man", "--out"]).arg(&out));
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains(&out.display().to_string()), "{output}");
    for name in SUBCOMMANDS.iter().copied().chain(["events-tail", "parked-retry", "relay-status"]) {
        let page = out.join(format!("tradewind-{name}.1"));
        let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(text.contains(".SH SYNOPSIS"), "{name}: {text}");
    }
}

/// The defaults of the tools come from `endpoints.json`, which has the password of the database.
#[test]
fn neither_completions_nor_manual_pages_show_the_password_of_a_running_platform() {
    let folder = TestFolder::new("man-password");
    let endpoints = r#"{"database_url": "postgres://tradewind:s3cret@127.0.0.1:5432/tradewind", "kafka_brokers": "127.0.0.1:9092"}"#;
    fs::write(folder.state().join("endpoints.json"), endpoints).expect("our own folder can be written");
    let out = folder.state().join("man1");
    let (code, output) =
        run(folder.tradewind(&["man", "--out"]).arg(&out).env("DATABASE_URL", "postgres://u:s3cret@h/d"));
    assert_eq!(code, Some(0), "{output}");
    let pages: Vec<String> = fs::read_dir(&out)
        .expect("the pages are written")
        .map(|page| fs::read_to_string(page.expect("an entry").path()).expect("a page is text"))
        .collect();
    let (_, script) = run(&mut folder.tradewind(&["completions", "zsh"]));
    assert!(pages.len() > SUBCOMMANDS.len(), "{} pages", pages.len());
    for text in pages.iter().chain([&script]) {
        assert!(!text.contains("s3cret"), "{text}");
    }
}
