//! The model against glibc's ld.so: what it says with `LD_DEBUG=libs,files` is compared word by
//! word with the model's attempts, and its list of objects with the model's.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use vgpu_loader::{Asked, Cache, Environment, Outcome, Platform, Process, Reason, Resolution};

use crate::caches;
use crate::case::Case;
use crate::opens;
use crate::root::{PROGRAM, Root};

/// What one name cost: as either side tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Search {
    name: String,
    by: String,
    /// The files that were tried.
    tried: Vec<String>,
    /// The rule under which the last one was tried.
    rule: String,
}

/// Runs a case through both and says where they differ; else how many rules were compared.
pub(crate) fn check(root: &Root, case: &Case, machine: &Platform) -> Result<usize, String> {
    root.fill(case);
    let trace = [("LD_DEBUG", "libs,files"), ("LD_TRACE_LOADED_OBJECTS", "1")];
    // A program that is only traced runs nothing.
    let is_run = case.secure || case.opens();
    let more = if is_run { &trace[..1] } else { &trace[..] };
    let output = root.run(PROGRAM, &[], case, more);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code().is_none() {
        return Err(format!("a signal ended it: {output:?}"));
    }
    let cache = std::fs::read(root.path().join("etc/ld.so.cache")).ok();
    // ld.so takes a cache that is a header alone for none.
    let cache = cache.filter(|bytes| bytes.len() > 48).map(|bytes| Cache::parse(&bytes));
    let cache = cache.transpose();
    let cache = cache.map_err(|error| format!("ldconfig's own cache is refused: {error}"))?;
    let is_new = case.cache.as_ref().is_some_and(|made| made.format == "new");
    if let (true, Some(cache)) = (is_new, &cache) {
        caches::compare_with_ldconfig(&root.path(), cache)?;
    }
    let platform = Platform {
        cache,
        preload_file: case.preload_file.clone().unwrap_or_default().into_bytes(),
        ..machine.clone()
    };
    let environment = Environment {
        library_path: case.library_path.clone().unwrap_or_default().into(),
        preload: case.preload.clone().unwrap_or_default().into(),
        secure: case.secure,
        working_dir: case.working_dir.into(),
        ..Environment::default()
    };
    let mut process = Process::start(Path::new(PROGRAM), root, &platform, environment)
        .map_err(|error| format!("the model does not start it: {error}"))?;
    let opened = opens::follow(&mut process, root, &said, case)?;
    let ours = our_searches(&process, root, is_run);
    let theirs = their_searches(&said, root, case);
    let compared = compare(&process, &ours, &theirs, case)
        .map_err(|what| format!("{what}\nld.so said:\n{}", in_short(&said)))?;
    if opened != opens::told(&said, case) {
        let what = format!("opened: the model {opened:#?}\nld.so said:\n{}", in_short(&said));
        return Err(what);
    }
    if !is_run && !process.resolutions().iter().any(ended_it) {
        let theirs = their_objects(&String::from_utf8_lossy(&output.stdout), case);
        let ours = our_objects(&process);
        // A program without needs is called static, whatever was preloaded.
        if !case.program.needed.is_empty() && theirs != ours {
            return Err(format!("objects: ld.so has {theirs:#?}\nthe model {ours:#?}"));
        }
    }
    Ok(compared)
}

/// What ld.so said without its long lists.
fn in_short(said: &str) -> String {
    let short = |line: &&str| !line.contains("search path=") && !line.trim().is_empty();
    said.lines().filter(short).collect::<Vec<_>>().join("\n")
}

fn compare(
    process: &Process<'_, Root>,
    ours: &[Search],
    theirs: &[Search],
    case: &Case,
) -> Result<usize, String> {
    let claims = claims(process, case);
    let mut compared = 0;
    for (index, their) in theirs.iter().enumerate() {
        let Some(our) = ours.get(index) else {
            return Err(format!("search {index}: ld.so {their:?}, the model none"));
        };
        if (&our.name, &our.by, &our.tried) != (&their.name, &their.by, &their.tried) {
            return Err(format!("search {index}: ld.so {their:#?}\nthe model {our:#?}"));
        }
        // ld.so prints a directory's first owner, even where a later list names it too, and the
        // file of the first directory of a list for all of it.
        let once = |file: &String| claims.get(&plain_dir(file)).is_none_or(|r| r.len() < 2);
        let is_claimed_once = !our.tried.is_empty() && our.tried.iter().all(once);
        if is_claimed_once && our.rule != their.rule {
            return Err(format!("search {index}: ld.so {their:#?}\nthe model {our:#?}"));
        }
        compared += usize::from(is_claimed_once);
    }
    if theirs.len() != ours.len() {
        return Err(format!("ld.so searched {} times, the model {ours:#?}", theirs.len()));
    }
    Ok(compared)
}

/// True if this answer ended the program even while it was only traced.
fn ended_it(answer: &Resolution) -> bool {
    answer.asked == Asked::Need && answer.gave_up()
}

/// The directory of a file without hardware directories.
fn plain_dir(file: &str) -> String {
    let dir = file.rsplit_once('/').map_or("", |(dir, _)| dir);
    let dir = dir.split("/glibc-hwcaps").next().unwrap_or(dir);
    let below = ["/tls/x86_64/x86_64", "/tls/x86_64", "/tls", "/x86_64/x86_64", "/x86_64"];
    below.iter().find_map(|sub| dir.strip_suffix(sub)).unwrap_or(dir).to_owned()
}

/// Which rules name each directory: what was tried, and all that objects list.
fn claims(process: &Process<'_, Root>, case: &Case) -> BTreeMap<String, BTreeSet<String>> {
    let mut claims: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for attempt in process.resolutions().iter().flat_map(|answer| &answer.attempts) {
        let file = text(&attempt.path);
        let dir = match attempt.outcome {
            Outcome::NoDirectory => plain_dir(&format!("{file}/x")),
            _ => plain_dir(&file),
        };
        claims.entry(dir).or_default().insert(rule(process, attempt.reason, attempt.of));
    }
    let mut claim = |list: &str, separators: &[char], origin: &Path, rule: String| {
        for dir in list.split(separators) {
            let dir = dir.replace("${ORIGIN}", &text(origin)).replace("$ORIGIN", &text(origin));
            let dir = dir.replace("${LIB}", "lib/x86_64-linux-gnu");
            let dir = dir.replace("$LIB", "lib/x86_64-linux-gnu");
            let dir = text(&Path::new(case.working_dir).join(dir));
            let dir = dir.trim_end_matches('/').to_owned();
            claims.entry(dir).or_default().insert(rule.clone());
        }
    };
    // The built-in directories and LD_LIBRARY_PATH have their owner before any search.
    for dir in ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"] {
        claim(dir, &[':'], Path::new(""), rule(process, Reason::DefaultDirs, None));
    }
    let list = case.library_path.as_deref().unwrap_or_default();
    claim(list, &[':', ';'], Path::new("/app"), rule(process, Reason::LibraryPath, None));
    for (index, object) in process.objects().iter().enumerate() {
        let binary = &object.binary;
        for (list, reason) in [(&binary.rpath, Reason::Rpath), (&binary.runpath, Reason::Runpath)] {
            let list = String::from_utf8_lossy(list.as_deref().unwrap_or_default()).into_owned();
            let origin = object.path.parent().unwrap_or(Path::new(""));
            claim(&list, &[':'], origin, rule(process, reason, Some(index)));
        }
    }
    claims
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned()
}

fn rule(process: &Process<'_, Root>, reason: Reason, of: Option<usize>) -> String {
    let file = of.map(|index| text(&process.objects()[index].path)).unwrap_or_default();
    match reason {
        Reason::Rpath => format!("RPATH from file {file}"),
        Reason::Runpath => format!("RUNPATH from file {file}"),
        Reason::LibraryPath => "LD_LIBRARY_PATH".into(),
        Reason::Cache => "cache".into(),
        Reason::DefaultDirs => "system search path".into(),
        _ => String::new(),
    }
}

/// The model's searches up to the one with which ld.so ends: the first need that it cannot meet;
/// while it only traces, the first that it gives up.
fn our_searches(process: &Process<'_, Root>, root: &Root, is_run: bool) -> Vec<Search> {
    let ends = |answer: &Resolution| {
        ended_it(answer) || (is_run && answer.asked == Asked::Need && answer.object.is_none())
    };
    let all = process.resolutions();
    let is_open = |answer: &Resolution| answer.asked == Asked::Open;
    let start = all.iter().position(is_open).unwrap_or(all.len());
    // What is opened may lack needs, and the program goes on.
    let count = all[..start].iter().position(ends).map_or(all.len(), |last| last + 1);
    let is_token =
        |answer: &Resolution| answer.attempts.iter().any(|a| a.outcome == Outcome::Token);
    let searched = all[..count].iter().filter(|answer| {
        !matches!(answer.reason, Some(Reason::Loaded | Reason::Program)) && !is_token(answer)
    });
    let each = searched.map(|answer| {
        let is_path = answer.name.contains(&b'/');
        // A file that only the cache names is told of, even where it is not taken for that.
        let unsaid = [Outcome::NoDirectory, Outcome::NotInCache];
        let said = |attempt: &&vgpu_loader::Attempt| !unsaid.contains(&attempt.outcome);
        let files = answer.attempts.iter().filter(|_| !is_path).filter(said);
        let counts = |attempt: &&vgpu_loader::Attempt| file_counts(root, &text(&attempt.path));
        let files = files.filter(counts);
        let last = files.clone().next_back();
        let by = answer.requester.map(|index| text(&process.objects()[index].path));
        let mut tried: Vec<String> = files.map(|attempt| text(&attempt.path)).collect();
        tried.dedup();
        let rule = last.map(|a| rule(process, a.reason, a.of));
        let name = String::from_utf8_lossy(&answer.name).into_owned();
        let (by, rule) = (by.unwrap_or_default(), rule.unwrap_or_default());
        Search { name, by, tried, rule }
    });
    each.collect()
}

/// True unless the directory of a file that was tried is not there: ld.so finds that out once.
fn file_counts(root: &Root, file: &str) -> bool {
    let dir = Path::new(file).parent().and_then(|dir| root.below(dir));
    dir.is_some_and(|dir| dir.is_dir())
}

fn their_searches(said: &str, root: &Root, case: &Case) -> Vec<Search> {
    let absolute = |path: &str| text(&Path::new(case.working_dir).join(path));
    let mut searches: Vec<Search> = Vec::new();
    let mut header = String::new();
    for line in said.lines().filter_map(|line| line.split_once(":\t").map(|(_, line)| line)) {
        let line = line.trim_start();
        if let Some((name, by)) = line.strip_prefix("file=").and_then(needed_by) {
            let by = if by.starts_with('/') { by.to_owned() } else { absolute(by) };
            searches.push(Search { name: name.into(), by, tried: vec![], rule: String::new() });
        } else if let Some(list) = line.strip_prefix("search path=") {
            let what = list.rsplit("\t\t(").next().unwrap_or_default().trim_end_matches(')');
            header = match what.split_once(" from file ") {
                Some((list, file)) => format!("{list} from file {}", absolute(file)),
                None => what.to_owned(),
            };
        } else if line.starts_with("search cache=") {
            header = "cache".into();
        } else if let Some(file) = line.strip_prefix("trying file=") {
            let file = absolute(file);
            // A directory that is not there is left out on both sides.
            let last = searches.last_mut().filter(|_| file_counts(root, &file));
            if let Some(search) = last {
                header.clone_into(&mut search.rule);
                // glibc before 2.37 has some of its hardware directories twice in a row.
                if search.tried.last() != Some(&file) {
                    search.tried.push(file);
                }
            }
        }
    }
    searches
}

fn needed_by(line: &str) -> Option<(&str, &str)> {
    let needed = || line.split_once(" [0];  needed by ");
    let (name, rest) = line.split_once(" [0];  dynamically loaded by ").or_else(needed)?;
    Some((name, rest.strip_suffix(" [0]")?))
}

fn our_objects(process: &Process<'_, Root>) -> Vec<(String, String)> {
    let mut seen = BTreeSet::new();
    let mut objects = Vec::new();
    for answer in process.resolutions() {
        let name = String::from_utf8_lossy(&answer.name).into_owned();
        match answer.object {
            None if answer.asked == Asked::Need => objects.push((name, "not found".into())),
            Some(index) if index > 0 && seen.insert(index) => {
                objects.push((name, text(&process.objects()[index].path)));
            }
            _ => {}
        }
    }
    objects
}

fn their_objects(list: &str, case: &Case) -> Vec<(String, String)> {
    let absolute = |path: &str| text(&Path::new(case.working_dir).join(path));
    let each = list.lines().filter_map(|line| {
        let line = line.trim();
        let line = line.rsplit_once(" (0x").map_or(line, |(line, _)| line);
        let (name, path) = line.split_once(" => ").unwrap_or((line, line));
        let path = if path == "not found" { path.to_owned() } else { absolute(path) };
        let is_ours = name.contains("999");
        is_ours.then(|| (name.to_owned(), path))
    });
    each.collect()
}
