//! The manual pages and shell completions that the packages ship.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
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

/// The installer's commands, as its help lists them.
fn commands() -> Vec<String> {
    let help = run(Command::new(Stage::dev().installer()).arg("--help"), LIMIT).expect("it runs");
    let commands = help.stdout.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names: Vec<String> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|n| !n.is_empty()))
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    assert!(names.len() > 6, "{names:?} of\n{}", help.stdout);
    names
}

#[test]
fn the_page_of_the_installer_has_every_command_that_its_help_lists() {
    let names = commands();
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

/// The programs with the package that each is in, and the file of its completions for a shell.
fn completions(below: &str, name: impl Fn(&str) -> String) -> Vec<PathBuf> {
    let file = |(package, program, _): &(&str, &str, &str)| {
        Stage::dev().package(package).join("usr/share").join(below).join(name(program))
    };
    PAGES.iter().map(file).collect()
}

/// What a shell's script prints, its first argument being a file of completions.
#[track_caller]
fn printed(shell: &str, arguments: &[&str], file: &Path) -> Vec<String> {
    let mut command = Command::new(shell);
    let done = run(command.args(arguments).arg(file), LIMIT);
    let done = done.unwrap_or_else(|error| panic!("{shell} (cargo xtask setup pages): {error}"));
    let said = format!("{}: {}\n{}", file.display(), done.stdout, done.stderr);
    assert!(done.status.success() && done.stderr.is_empty(), "{said}");
    done.stdout.lines().map(str::to_owned).collect()
}

/// Demands that each command is offered, and nothing that is hidden.
#[track_caller]
fn offers_every_command(lines: &[String], end: char) {
    let offered: Vec<&str> = lines.iter().filter_map(|line| line.split(end).next()).collect();
    for name in commands() {
        assert!(offered.contains(&name.as_str()), "{name} of {lines:#?}");
    }
    assert!(!offered.contains(&"probe"), "{lines:#?}");
}

#[test]
fn zsh_reads_the_completions_and_offers_every_command() {
    let files = completions("zsh/vendor-completions", |program| format!("_{program}"));
    for file in &files {
        printed("zsh", &["-f", "-n"], file);
    }
    // The list is what the script hands to zsh's own function; a terminal would only draw it.
    let ask = "compdef() { :; }; _describe() { print -rl -- ${(P)4}; }
        source $0; _vgpu-install_commands";
    offers_every_command(&printed("zsh", &["-f", "-c", ask], &files[0]), ':');
}

#[test]
fn fish_reads_the_completions_and_offers_every_command() {
    let files = completions("fish/vendor_completions.d", |program| format!("{program}.fish"));
    for file in &files {
        printed("fish", &["--no-config", "--no-execute"], file);
    }
    let ask = |line: &str| {
        let script = format!("source $argv[1]; complete --do-complete '{line}'");
        printed("fish", &["--no-config", "-c", &script], &files[0])
    };
    offers_every_command(&ask("vgpu-install "), '\t');
    let options = ask("vgpu-install apply --no-r");
    assert!(options.iter().any(|line| line.starts_with("--no-restart")), "{options:?}");
}
