//! `--rollback --check` foresees what the rollback then does, whatever others changed since: the
//! same actions, the same things left, the same exit code.

use std::path::{Path, PathBuf};

use crate::machine::{DROP_IN, applied, linked, machine};
use clap::Parser;
use vgpu_install::answer::Answer;
use vgpu_install::cli::Line;
use vgpu_install::commands;
use vgpu_install::host::Host;
use vgpu_install::host::memory::Memory;
use vgpu_install::plan::Scope;

const BUNDLE: &str = "/usr/local/lib/ollama/cuda_v13";
const CONF: &str = "/etc/ld.so.conf.d/00-vgpu.conf";

/// What others did, in words and as a deed.
type Form = (&'static str, fn(&Memory));

fn file(host: &Memory, path: &str) {
    host.place_file(Path::new(path), b"theirs");
}

fn gone(host: &Memory, path: &str) {
    host.unlink(Path::new(path)).unwrap();
}

/// The hidden originals in a directory.
fn originals(host: &Memory, dir: &str) -> Vec<PathBuf> {
    let names = host.list(Path::new(dir)).unwrap();
    let hidden = names.iter().filter(|name| name.to_string_lossy().starts_with(".vgpu-"));
    hidden.map(|name| Path::new(dir).join(name)).collect()
}

const FORMS: [Form; 15] = [
    ("nothing", |_| ()),
    ("the drop-in was edited", |host| file(host, DROP_IN)),
    ("the drop-in was removed", |host| gone(host, DROP_IN)),
    ("the drop-in's directory got a file", |host| {
        file(host, "/etc/systemd/system/ollama.service.d/60-theirs.conf");
    }),
    ("the drop-in's directory is gone", |host| {
        let dir = Path::new(DROP_IN).parent().unwrap();
        for name in host.list(dir).unwrap() {
            host.unlink(&dir.join(name)).unwrap();
        }
        host.remove_dir(dir).unwrap();
    }),
    ("a directory is where the drop-in was", |host| {
        gone(host, DROP_IN);
        file(host, &format!("{DROP_IN}/deep"));
    }),
    ("the first drop-in's hidden name holds something else", |host| {
        for hidden in originals(host, "/etc/systemd/system/ollama.service.d") {
            host.place_file(&hidden, b"theirs");
        }
    }),
    ("a link was replaced", |host| file(host, &format!("{BUNDLE}/libcudart.so.13"))),
    ("a link was removed", |host| gone(host, &format!("{BUNDLE}/libcudart.so.13"))),
    ("a new link was replaced", |host| file(host, &format!("{BUNDLE}/libcuda.so.1"))),
    ("what we removed came back", |host| file(host, &format!("{BUNDLE}/libcudart.so.12"))),
    ("the originals are gone", |host| {
        for hidden in originals(host, BUNDLE) {
            host.unlink(&hidden).unwrap();
        }
    }),
    ("Ollama was installed anew", |host| {
        for hidden in originals(host, BUNDLE) {
            host.unlink(&hidden).unwrap();
        }
        file(host, &format!("{BUNDLE}/libcudart.so.13"));
        file(host, &format!("{BUNDLE}/libcublas.so.13"));
    }),
    ("the line for ldconfig was edited", |host| file(host, CONF)),
    ("somebody else has a line for ldconfig", |host| file(host, "/etc/ld.so.conf.d/zz.conf")),
];

/// A machine with every scope in force, and two generations of one drop-in.
fn installed() -> Memory {
    let host = machine();
    applied(&host, Scope::Bundle).unwrap();
    applied(&host, Scope::System).unwrap();
    linked(&host, "vsock:2:999");
    host
}

fn run(host: &Memory, arguments: &[&str]) -> (u8, Answer) {
    let words = [&["vgpu-install", "--detailed-exitcode"], arguments].concat();
    let mut answer = Answer::of("rollback");
    let line = Line::try_parse_from(words).unwrap();
    let code = commands::run(host, &line, &mut answer).unwrap();
    (code, answer)
}

#[test]
fn a_check_of_a_rollback_says_what_the_rollback_does() {
    let mut codes = Vec::new();
    for (form, deed) in FORMS {
        for back in ["--rollback", "--rollback=1", "--rollback=2"] {
            for further in [&[][..], &["--force"], &["--no-restart"]] {
                let host = installed();
                deed(&host);
                let before = host.tree();
                let arguments = [&[back], further].concat();
                let what = format!("{form}, then {arguments:?}");
                let (foreseen, check) = run(&host, &[&arguments[..], &["--check"]].concat());
                assert_eq!(host.tree(), before, "{what}: a check changes nothing");
                let (code, done) = run(&host, &arguments);
                assert_eq!(check.left, done.left, "{what}: left");
                let sentences = |answer: &Answer| -> Vec<String> {
                    answer.actions.iter().map(|action| action.sentence.clone()).collect()
                };
                assert_eq!(sentences(&check), sentences(&done), "{what}: actions");
                assert_eq!((foreseen, check.changed), (code, done.changed), "{what}: exit code");
                assert_eq!(code, if done.left.is_empty() { 2 } else { 3 }, "{what}");
                codes.push((form, code));
            }
        }
    }
    let clean: Vec<_> = codes.iter().filter(|(form, _)| *form == "nothing").collect();
    assert!(clean.iter().all(|(_, code)| *code == 2), "{clean:?}");
    let drifted = codes.iter().filter(|(_, code)| *code == 3).count();
    assert!(drifted > FORMS.len(), "{drifted} runs left something");
}

#[test]
fn a_directory_that_stays_for_somebody_elses_file_is_foreseen() {
    let host = machine();
    applied(&host, Scope::Service).unwrap();
    file(&host, "/etc/systemd/system/ollama.service.d/60-theirs.conf");
    let (code, check) = run(&host, &["--rollback", "--check"]);
    let why = "/etc/systemd/system/ollama.service.d holds other files by now";
    assert_eq!((code, &check.left[..]), (3, &[why.to_owned()][..]));
    let paths: Vec<String> =
        check.actions.iter().filter_map(|action| Some(action.path.as_ref()?.to_string())).collect();
    assert_eq!(paths, [DROP_IN]);
}
