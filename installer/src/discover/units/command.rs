//! What a unit's command runs: Ollama itself, Ollama behind another program, or a container.

use std::path::Path;

use crate::discover::readable;
use crate::error::Result;
use crate::facts::Runs;
use crate::host::Host;

/// How much of a script or wrapper is read: 256 KiB; those of Nix have 20 KiB.
const SCRIPT_BYTES: u64 = 256 << 10;
/// What a script may set that decides which libraries are loaded.
const WATCHED: [&str; 3] = ["LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT"];
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "ash", "busybox"];

/// What is known of a command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// What it runs in the end.
    pub runs: Runs,
    /// The program of Ollama, else the program that is named.
    pub program: Option<String>,
    /// The programs before it.
    pub through: Vec<String>,
    /// Variables that the command sets anew: no unit reaches them.
    pub assigned: Vec<(String, String)>,
    /// True if it starts the server.
    pub serves: bool,
}

/// Reads a command's words, prefixes and all.
///
/// # Errors
/// [`crate::Error::Io`] where the program that is named cannot be looked at.
pub fn of(host: &dyn Host, words: &[String]) -> Result<Command> {
    let Some((first, rest)) = words.split_first() else {
        return Ok(Command { runs: Runs::Unknown, ..Command::default() });
    };
    let program = first.trim_start_matches(['-', '@', ':', '+', '!', '|']);
    let prefix = &first[..first.len() - program.len()];
    // With an @, the next word is the name that the program is told to have.
    let rest = rest.get(usize::from(prefix.contains('@'))..).unwrap_or_default();
    let mut command = plain(program, rest);
    if matches!(command.runs, Runs::Unknown | Runs::Ollama) && command.through.is_empty() {
        command = wrapped(host, program, rest)?.unwrap_or(command);
    }
    Ok(command)
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

fn is_ollama(word: &str) -> bool {
    let is_store = word.starts_with("/nix/store/") && base(word) == ".ollama-wrapped";
    base(word) == "ollama" || is_store
}

fn starts_server(arguments: &[String]) -> bool {
    arguments.iter().any(|word| word == "serve" || word == "start")
}

/// Reads what the words alone tell.
fn plain(program: &str, rest: &[String]) -> Command {
    let named = |runs, serves| Command {
        runs,
        program: Some(program.into()),
        serves,
        ..Command::default()
    };
    let says_ollama = || rest.iter().any(|word| word.contains("ollama"));
    match base(program) {
        _ if program.starts_with("/snap/bin/ollama") => named(Runs::Snap, true),
        "snap" if says_ollama() => named(Runs::Snap, true),
        "docker" | "nerdctl" | "docker-compose" if says_ollama() => named(Runs::Docker, true),
        "podman" | "podman-compose" if says_ollama() => named(Runs::Podman, true),
        _ if is_ollama(program) => named(Runs::Ollama, starts_server(rest)),
        shell if SHELLS.contains(&shell) => {
            let script = rest.iter().position(|word| word.starts_with('-') && word.ends_with('c'));
            let script = script.and_then(|index| rest.get(index + 1));
            let mut inner = script.map(|text| scripted(text)).unwrap_or_default();
            if inner.program.is_none() {
                return named(Runs::Unknown, false);
            }
            inner.through.insert(0, program.into());
            inner
        }
        _ => {
            let Some(index) = rest.iter().position(|word| is_ollama(word)) else {
                return named(Runs::Unknown, false);
            };
            let assigned = rest[..index].iter().filter_map(|word| assignment(word));
            Command {
                runs: Runs::Ollama,
                program: Some(rest[index].clone()),
                through: vec![program.into()],
                assigned: assigned.collect(),
                serves: starts_server(&rest[index + 1..]),
            }
        }
    }
}

/// Looks for Ollama in a shell's text. This reads words, not the shell's language: a script that
/// hides the name is not understood, and then the unit is said to run an unknown program.
fn scripted(text: &str) -> Command {
    let split = |letter: char| letter.is_whitespace() || ";|&()".contains(letter);
    let tokens = text.split(split).map(|token| token.trim_matches(['"', '\'']));
    let tokens: Vec<String> = tokens.filter(|t| !t.is_empty()).map(str::to_owned).collect();
    let assigned = || tokens.iter().filter_map(|word| assignment(word)).collect();
    for (index, token) in tokens.iter().enumerate() {
        let rest = &tokens[index + 1..];
        if is_ollama(token) && rest.first().is_some_and(|next| next != "=") {
            let serves = starts_server(rest) || rest.iter().any(|word| word.contains("$@"));
            let program = Some(token.clone());
            let runs = Runs::Ollama;
            return Command { runs, program, assigned: assigned(), serves, through: Vec::new() };
        }
        let engine = ["docker", "podman", "snap"].contains(&base(token));
        let line = rest.iter().take(64).any(|word| word.contains("ollama"));
        if engine && line {
            return plain(token, rest);
        }
    }
    Command::default()
}

/// A watched variable that a word sets to something that does not hold what it was before.
fn assignment(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    let kept = value.contains(&format!("${name}")) || value.contains(&format!("${{{name}"));
    let value = value.trim_matches(['"', '\'']);
    (WATCHED.contains(&name) && !kept).then(|| (name.to_owned(), value.to_owned()))
}

/// Looks into the program itself: a script, or a wrapper that Nix compiled, whose own command
/// line stands in it as text.
fn wrapped(host: &dyn Host, program: &str, rest: &[String]) -> Result<Option<Command>> {
    let Some(opened) = readable(host.open(Path::new(program)))?.flatten() else { return Ok(None) };
    if opened.bytes > SCRIPT_BYTES {
        return Ok(None);
    }
    let bytes = usize::try_from(opened.bytes).unwrap_or(0);
    let content = opened.source.read_at(0, bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&content);
    let mut command = if text.starts_with("#!") {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        scripted(&lines.collect::<Vec<_>>().join("\n"))
    } else if let Some((_, made)) = text.split_once("makeCWrapper ") {
        let made = made.split('\0').next().unwrap_or_default();
        let target = made.split('\'').nth(1).filter(|path| is_ollama(path));
        let runs = Runs::Ollama;
        Command { runs, program: target.map(str::to_owned), ..Command::default() }
    } else {
        return Ok(None);
    };
    if command.program.is_none() {
        return Ok(None);
    }
    command.serves |= starts_server(rest);
    command.through.insert(0, program.into());
    Ok(Some(command))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::memory::Memory;
    use crate::unit_file;

    #[test]
    fn what_stands_before_ollama_is_seen_through() {
        let host = Memory::described(
            "file /opt/run.sh #!/bin/sh\\n# docker run ollama\\nexport LD_PRELOAD=/x.so\\nexec \
             /opt/ollama/bin/ollama serve\\n
             file /nix/store/h-ollama-0/bin/ollama #!/bin/bash\\nLD_LIBRARY_PATH=\
             ${LD_LIBRARY_PATH:+':'$LD_LIBRARY_PATH}\\nexec -a \"$0\" \
             \"/nix/store/h-ollama-0/bin/.ollama-wrapped\" \"$@\"\\n
             file /opt/other binary",
        );
        let cases = [
            ("/usr/bin/ollama serve", "Ollama /usr/bin/ollama [] [] true"),
            ("-!/usr/bin/ollama pull x", "Ollama /usr/bin/ollama [] [] false"),
            ("@/usr/bin/ollama name serve", "Ollama /usr/bin/ollama [] [] true"),
            (
                "/usr/bin/env LD_PRELOAD=/a.so ollama serve",
                "Ollama ollama [\"/usr/bin/env\"] [(\"LD_PRELOAD\", \"/a.so\")] true",
            ),
            (
                "/bin/sh -c 'sleep 10; LD_LIBRARY_PATH=/a:$LD_LIBRARY_PATH exec /o/ollama serve'",
                "Ollama /o/ollama [\"/bin/sh\"] [] true",
            ),
            ("/bin/sh -c 'docker run --rm ollama/ollama'", "Docker docker [\"/bin/sh\"] [] true"),
            ("/usr/bin/docker run -p 1:1 ollama/ollama:0.5", "Docker /usr/bin/docker [] [] true"),
            ("/usr/bin/podman start -a ollama", "Podman /usr/bin/podman [] [] true"),
            ("/usr/bin/snap run ollama.listener", "Snap /usr/bin/snap [] [] true"),
            (
                "/opt/run.sh",
                "Ollama /opt/ollama/bin/ollama [\"/opt/run.sh\"] \
                 [(\"LD_PRELOAD\", \"/x.so\")] true",
            ),
            ("/opt/other serve", "Unknown /opt/other [] [] false"),
            ("/usr/bin/docker run nginx", "Unknown /usr/bin/docker [] [] false"),
        ];
        for (line, expected) in cases {
            let found = of(&host, &unit_file::words(line)).unwrap();
            let Command { runs, program, through, assigned, serves } = found;
            let program = program.unwrap_or_default();
            let shown = format!("{runs:?} {program} {through:?} {assigned:?} {serves}");
            assert_eq!(shown, expected, "{line}");
        }
        let words = ["/nix/store/h-ollama-0/bin/ollama".to_owned(), "serve".to_owned()];
        let found = of(&host, &words).unwrap();
        assert_eq!(found.runs, Runs::Ollama);
    }
}
