//! The manual pages and shell completions that the packages ship.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use vgpu_tests::{Stage, run};

const LIMIT: Duration = Duration::from_secs(60);
const PAGES: [(&str, &str, &str); 3] = [
    ("vgpu-ollama", "vgpu-install", "8"),
    ("vgpu-ollama", "vgpu-smi", "1"),
    ("vgpu-host", "vgpud", "8"),
];

fn page(package: &str, program: &str, section: &str) -> PathBuf {
    let dir = Stage::dev().package(package).join(format!("usr/share/man/man{section}"));
    dir.join(format!("{program}.{section}"))
}

#[test]
fn manual_pages_are_formatted_without_a_warning() {
    for (package, program, section) in PAGES {
        let mut groff = Command::new("groff");
        groff
            .args(["-man", "-Tutf8", "-ww", "-P-c", "-P-b", "-P-o", "-P-u"])
            .arg(page(package, program, section));
        let done = run(&mut groff, LIMIT).expect("groff is installed by cargo xtask setup");
        assert!(done.status.success(), "{program}: {}", done.stderr);
        assert_eq!(done.stderr, "", "{program}");
        for title in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"] {
            assert!(done.stdout.contains(title), "{program}: no {title}");
        }
    }
}

#[test]
fn the_page_of_the_installer_has_every_command_that_its_help_lists() {
    let help = run(Command::new(Stage::dev().installer()).arg("--help"), LIMIT).expect("it runs");
    let commands = help.stdout.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|n| !n.is_empty()))
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() > 6, "{names:?} of\n{}", help.stdout);
    let text = std::fs::read_to_string(page("vgpu-ollama", "vgpu-install", "8")).expect("staged");
    for name in names {
        assert!(text.contains(&format!("\\fB{name}\\fR")), "{name} in\n{text}");
    }
}

/// What bash offers after a line whose last word is half written.
fn offered(program: &str, words: &[&str]) -> Vec<String> {
    let package = if program == "vgpud" { "vgpu-host" } else { "vgpu-ollama" };
    let script = Stage::dev().package(package).join("usr/share/bash-completion/completions");
    let ask = r#"source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        function=$(complete -p "$1" | sed 's/.*-F \([^ ]*\).*/\1/')
        "$function" "$1" "${!#}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", ask]).arg(script.join(program)).arg(program).args(words);
    let done = run(&mut bash, LIMIT).expect("bash runs");
    assert!(done.status.success(), "{program} {words:?}: {}", done.stderr);
    done.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn bash_offers_nothing_that_is_hidden() {
    let words = offered("vgpu-install", &[""]);
    assert!(words.iter().any(|word| word == "scan"), "{words:?}");
    assert!(!words.iter().any(|word| word == "probe"), "{words:?}");
}

#[test]
fn bash_completes_commands_options_and_values() {
    for (program, words, expected) in [
        ("vgpu-install", &["doc"][..], "doctor"),
        ("vgpu-install", &["apply", "--no-r"], "--no-restart"),
        ("vgpu-install", &["--scope", "bu"], "bundle"),
        ("vgpu-smi", &["--query-g"], "--query-gpu"),
        ("vgpud", &["--dev"], "--device"),
    ] {
        let words_offered = offered(program, words);
        assert!(words_offered.iter().any(|word| word == expected), "{words:?}: {words_offered:?}");
    }
}
