//! What programs and libraries open while they run: ld.so tells the order in which libraries are
//! initialized, which is when they open others, and the model follows it.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use vgpu_loader::Process;

use crate::case::{Case, Content};
use crate::root::{PROGRAM, Root};

/// How many libraries were opened in all cases, and could be.
pub(crate) static OPENED: AtomicUsize = AtomicUsize::new(0);

/// Opens in the model what is opened in truth, and lists the files that answered.
pub(crate) fn follow(
    process: &mut Process<'_, Root>,
    root: &Root,
    said: &str,
    case: &Case,
) -> Result<Vec<String>, String> {
    let mut opened = Vec::new();
    if !case.opens() || process.failure().is_some() {
        return Ok(opened);
    }
    let mut program = case.program.opens.as_ref();
    for line in said.lines() {
        let Some((_, path)) = line.split_once("calling init: ") else { continue };
        let path = Path::new(case.working_dir).join(path.trim());
        if find(process, &path).is_none() {
            // Nobody but the program has opened it.
            if let Some(name) = program.take() {
                opened.extend(open(process, name, 0));
            }
        }
        let Some(index) = find(process, &path) else {
            return Err(format!("{} was initialized, and the model has none", path.display()));
        };
        if let Some(name) = named(case, root, &path) {
            opened.extend(open(process, &name, index));
        }
    }
    if let Some(name) = program {
        opened.extend(open(process, name, 0));
    }
    opened.sort();
    OPENED.fetch_add(opened.len(), Ordering::Relaxed);
    Ok(opened)
}

fn find(process: &Process<'_, Root>, path: &Path) -> Option<usize> {
    let is_it = |object: &vgpu_loader::Object| object.is_loaded() && object.path == path;
    process.objects().iter().position(is_it)
}

fn open(process: &mut Process<'_, Root>, name: &str, by: usize) -> Option<String> {
    let answer = process.open(name.as_ref(), by);
    let object = &process.objects()[answer.object?];
    object.is_loaded().then(|| String::from_utf8_lossy(object.path.as_os_str().as_bytes()).into())
}

/// What the library of an object opens, known by all of its bytes.
fn named(case: &Case, root: &Root, path: &Path) -> Option<String> {
    let bytes = std::fs::read(root.below(path)?).ok()?;
    let mut libraries = case.files.iter().filter_map(|file| match &file.content {
        Content::Library(elf) => Some(elf),
        _ => None,
    });
    libraries.find(|elf| elf.bytes(None) == bytes)?.opens.clone()
}

/// The files that ld.so says it opened; it says so after all that was opened on the way.
pub(crate) fn told(said: &str, case: &Case) -> Vec<String> {
    let lines = said.lines().filter_map(|line| {
        let path = line.split_once("opening file=")?.1.split_once(" [0]; direct_opencount=")?.0;
        let path = if path.is_empty() { PROGRAM } else { path };
        Some(Path::new(case.working_dir).join(path).to_string_lossy().into_owned())
    });
    let mut files: Vec<String> = lines.collect();
    files.sort();
    files
}
