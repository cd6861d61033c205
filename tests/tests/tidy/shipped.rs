//! What the packages hold.

use crate::check;
use crate::files::all;

/// Words that open something to everybody.
const OPEN: [&str; 6] = ["o+w", "a+w", "o+rw", "a+rw", "ugo+", "=rw,"];

/// True for a mode in octal digits, as `0666`, by which everybody may write.
fn is_open(word: &str) -> bool {
    let is_mode = word.len() == 4 && word.bytes().all(|digit| (b'0'..b'8').contains(&digit));
    is_mode && word.starts_with(['0', '1']) && word.ends_with(['2', '3', '6', '7'])
}

/// What carries the link is its group's: what can be written by everybody can be misused by
/// everybody.
#[test]
fn no_shipped_file_opens_anything_to_everybody() {
    let files = all();
    let is_shipped = |path: &std::path::Path| {
        ["packaging", "templates"].iter().any(|directory| path.starts_with(directory))
    };
    let shipped: Vec<_> = files.iter().filter(|file| is_shipped(&file.path)).collect();
    assert!(shipped.len() > 15, "the shipped files are there");
    let mut offences = Vec::new();
    for file in shipped {
        for (at, line) in file.text.lines().enumerate() {
            let mut words = line.split(|letter: char| !letter.is_ascii_alphanumeric());
            if words.any(is_open) || OPEN.iter().any(|word| line.contains(word)) {
                offences.push(format!("{}:{}: {line}", file.path.display(), at + 1));
            }
        }
    }
    check("nothing shipped is everybody's to write", "give it to the group vgpu", offences);
}

/// dpkg compares a trigger's path with a package's as text, a directory fires for every library,
/// and a package that waits for a trigger is not configured before it.
#[test]
fn triggers_name_exact_files_in_both_spellings_and_nobody_waits() {
    let files = all();
    let lists = files.iter().filter(|file| file.path.ends_with("triggers"));
    let lines: Vec<&str> = lists
        .flat_map(|file| file.text.lines())
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    assert!(lines.len() > 4, "the triggers are there");
    let mut offences = Vec::new();
    for line in &lines {
        let path = line.strip_prefix("interest-noawait /").unwrap_or_default();
        let other = path.strip_prefix("usr/").map_or(format!("usr/{path}"), str::to_owned);
        if !path.ends_with("/libcuda.so.1") {
            offences.push(format!("{line}: it waits, or names no library"));
        } else if !lines.contains(&format!("interest-noawait /{other}").as_str()) {
            offences.push(format!("{line}: /{other} is not named"));
        }
    }
    check("triggers fire by text", "name the file in both spellings, noawait", offences);
}

#[test]
fn a_mode_that_everybody_may_write_by_is_recognised() {
    for open in ["0666", "0777", "1777", "0602"] {
        assert!(is_open(open), "{open}");
    }
    for shut in ["0660", "0644", "0755", "2026", "0x66", "666"] {
        assert!(!is_open(shut), "{shut}");
    }
}
