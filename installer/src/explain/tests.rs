use std::ffi::OsString;

use super::*;
use crate::host::memory::Memory;

fn asked(pid: Option<u32>, exe: Option<&str>, names: &[&str]) -> Explain {
    let names = names.iter().map(OsString::from).collect();
    Explain { pid, exe: exe.map(Into::into), unit: None, names }
}

#[test]
fn a_program_of_this_machine_is_explained_and_what_it_mapped_agrees() {
    let host = crate::host::real::Real::open("/".as_ref()).unwrap();
    let mut answer = Answer::of("explain");
    run(&host, &asked(Some(std::process::id()), None, &["libc.so.6"]), &mut answer).unwrap();
    let [explanation] = &answer.explanations[..] else { panic!("{answer:?}") };
    let [libc] = &explanation.answers[..] else { panic!("{explanation:?}") };
    assert_eq!(libc.agrees, Some(true), "{libc:#?}");
    let winner = libc.winner.as_ref().unwrap();
    assert_eq!((winner.soname.as_deref(), winner.ours), (Some("libc.so.6"), false));
    assert!(answer.lines.iter().any(|line| line.contains("the process has mapped it")));
}

#[test]
fn a_name_that_is_nowhere_lists_every_place_that_was_tried() {
    let host = crate::host::real::Real::open("/".as_ref()).unwrap();
    let own = std::env::args_os().next().unwrap();
    let own = own.to_str().unwrap();
    let mut answer = Answer::of("explain");
    run(&host, &asked(None, Some(own), &["libnone999.so.1"]), &mut answer).unwrap();
    let nowhere = &answer.explanations[0].answers[0];
    assert_eq!(nowhere.winner, None);
    assert!(nowhere.steps.iter().any(|step| step.outcome == "does not name it"), "{nowhere:#?}");
    let usual = nowhere.steps.iter().filter(|step| step.rule == "the default directories");
    assert!(usual.count() >= 2, "{nowhere:#?}");
}

#[test]
fn what_has_no_loader_is_refused_in_words() {
    let host = Memory::described("dir /bin");
    host.place_file("/bin/script".as_ref(), b"#!/bin/sh -e\nexit\n");
    host.place_file("/bin/text".as_ref(), "text ".repeat(50).as_bytes());
    for (path, words) in [
        ("/bin/script", "explaining /bin/script: it is a script (#!/bin/sh -e)"),
        ("/bin/none", "explaining /bin/none: there is no such program"),
        ("/bin/text", "explaining /bin/text"),
    ] {
        let error = run(&host, &asked(None, Some(path), &["x"]), &mut Answer::of("explain"));
        let error = error.unwrap_err();
        assert!(error.to_string().starts_with(words), "{error}");
        assert!(error.hint().is_some() && error.exit_code() == 1, "{error}");
    }
}

#[test]
fn a_process_that_is_not_there_is_named() {
    let host = crate::host::real::Real::open("/".as_ref()).unwrap();
    // Above the kernel's largest number of a process (proc(5), pid_max).
    let error = run(&host, &asked(Some(1 << 23), None, &["x"]), &mut Answer::of("explain"));
    assert!(matches!(error, Err(Error::NoProcess { pid: 0x80_0000 })), "{error:?}");
    let unit = Explain { unit: Some("gone".into()), names: vec!["x".into()], ..Explain::default() };
    let error = run(&Memory::described("dir /bin"), &unit, &mut Answer::of("explain")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "explaining the unit gone.service: it starts no Ollama; those that do: none"
    );
}
