//! The shipped libraries as the loader sees them: names, versions, flags, needs and the oldest
//! glibc. Read from the release stage, because only that build is shipped.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use goblin::elf::Elf;
use goblin::elf::dynamic::{DF_1_NODELETE, DF_1_NOW, DF_BIND_NOW};
use goblin::elf::note::NT_GNU_BUILD_ID;
use goblin::elf::program_header::PT_GNU_STACK;
use goblin::elf::section_header::SHN_UNDEF;
use vgpu_tests::{Stage, stage};

/// What each library must be: its SONAME is its file name; `names` is its list of exports below
/// shims/api/names; `versioned` libraries carry one version node with the SONAME as its name.
struct Shape {
    soname: &'static str,
    names: &'static str,
    versioned: bool,
}

const SHAPES: [Shape; 6] = [
    shape("libcuda.so.1", "libcuda-names-union.txt", false),
    shape("libnvidia-ml.so.1", "libnvml-names-union.txt", false),
    shape("libcudart.so.12", "libcudart-12.9.79-exports.txt", true),
    shape("libcudart.so.13", "libcudart-13.5.37-exports.txt", true),
    shape("libcublas.so.12", "libcublas-12.9.3.13-exports.txt", true),
    shape("libcublas.so.13", "libcublas-13.10.0.20-exports.txt", true),
];

const fn shape(soname: &'static str, names: &'static str, versioned: bool) -> Shape {
    Shape { soname, names, versioned }
}

/// glibc of Ubuntu 20.04's and Debian 10's time, and what Ollama's own build needs.
const GLIBC_FLOOR: (u32, u32) = (2, 28);

/// Runs one check over all shipped libraries and fails with every offence.
#[track_caller]
fn over_all(check: impl Fn(&Shape, &Elf) -> Vec<String>) {
    over_each(&Stage::release(), check);
}

#[track_caller]
fn over_each(stage: &Stage, check: impl Fn(&Shape, &Elf) -> Vec<String>) {
    let mut offences = Vec::new();
    for shape in &SHAPES {
        let bytes = std::fs::read(stage.library(shape.soname)).expect("a staged file");
        let elf = Elf::parse(&bytes).expect("a shipped library is an ELF file");
        offences
            .extend(check(shape, &elf).into_iter().map(|one| format!("{}: {one}", shape.soname)));
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

/// The defined dynamic symbols that others can bind to, with the name of their version node.
fn exports(elf: &Elf) -> Vec<(String, Option<String>)> {
    let node_of = |index: u16| {
        let nodes = elf.verdef.as_ref()?;
        let node = nodes.iter().find(|node| node.vd_ndx == index & 0x7fff)?;
        elf.dynstrtab.get_at(node.iter().next()?.vda_name).map(str::to_owned)
    };
    let exported = |symbol: &goblin::elf::Sym| {
        symbol.st_shndx != SHN_UNDEF as usize && symbol.st_bind() != 0 && symbol.st_name != 0
    };
    elf.dynsyms
        .iter()
        .enumerate()
        .filter(|(_, symbol)| exported(symbol))
        .map(|(at, symbol)| {
            let version = elf.versym.as_ref().and_then(|table| table.get_at(at));
            // 0 is local and 1 is global without a node.
            let node =
                version.filter(|one| one.vs_val & 0x7fff > 1).and_then(|one| node_of(one.vs_val));
            (elf.dynstrtab.get_at(symbol.st_name).unwrap_or_default().to_owned(), node)
        })
        .collect()
}

#[test]
fn every_library_is_called_as_applications_ask_for_it() {
    over_all(|shape, elf| match elf.soname {
        Some(soname) if soname == shape.soname => vec![],
        other => vec![format!("its SONAME is {other:?}")],
    });
}

#[test]
fn every_library_is_marked_as_ours() {
    for stage in [Stage::dev(), Stage::release()] {
        for shape in &SHAPES {
            let file = std::fs::File::open(stage.library(shape.soname)).expect("a staged file");
            assert!(vgpud::mark::is_ours(&file).expect("a readable file"), "{}", shape.soname);
        }
    }
    let own = std::env::current_exe().and_then(std::fs::File::open).expect("this test");
    assert!(!vgpud::mark::is_ours(&own).expect("a readable file"), "a program without a mark");
}

#[test]
fn every_library_has_a_build_id_of_its_own() {
    let mut ids = BTreeSet::new();
    for shape in &SHAPES {
        let bytes = std::fs::read(Stage::release().library(shape.soname)).expect("a staged file");
        let elf = Elf::parse(&bytes).expect("a shipped library is an ELF file");
        let notes = elf.iter_note_headers(&bytes).expect("a library with notes");
        let id = notes.flatten().find(|note| note.n_type == NT_GNU_BUILD_ID && note.name == "GNU");
        ids.insert(id.unwrap_or_else(|| panic!("{} has none", shape.soname)).desc.to_vec());
    }
    assert_eq!(ids.len(), SHAPES.len());
}

#[test]
fn every_library_exports_exactly_the_names_of_its_list() {
    over_all(|shape, elf| {
        let list = stage::repository().join("shims/api/names").join(shape.names);
        let text = std::fs::read_to_string(list).expect("a tracked list");
        // A versioned name stands there as the loader spells it, NAME@@NODE.
        let names = text.lines().filter_map(|line| line.split('@').next());
        let listed: BTreeSet<&str> =
            names.filter(|name| !name.is_empty() && !name.starts_with('#')).collect();
        assert!(listed.len() > 300, "{} holds the whole list", shape.names);
        let exported = exports(elf);
        // A version node is itself a symbol in some linkers' output; it is no function.
        let exported: BTreeSet<&str> = exported
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| *name != shape.soname)
            .collect();
        let missing = listed.difference(&exported).map(|name| format!("lacks {name}"));
        // Anything else, such as a symbol of Rust's library, would take part in other libraries'
        // look-ups.
        let extra = exported.difference(&listed).map(|name| format!("also exports {name}"));
        missing.chain(extra).collect()
    });
}

#[test]
fn exported_names_carry_the_version_node_that_real_clients_ask_for() {
    over_all(|shape, elf| {
        let expected = shape.versioned.then_some(shape.soname);
        exports(elf)
            .into_iter()
            .filter(|(name, node)| name != shape.soname && node.as_deref() != expected)
            .map(|(name, node)| format!("{name} is at {node:?}, not {expected:?}"))
            .collect()
    });
}

#[test]
fn no_library_asks_others_for_what_it_exports_itself() {
    // cuGetProcAddress once handed out the functions of whichever libcuda was loaded first: the
    // table of our own functions was filled through the process-wide look-up.
    over_all(|_, elf| {
        let through_lookup = elf.dynrelas.iter().chain(elf.pltrelocs.iter());
        through_lookup
            .filter_map(|relocation| elf.dynsyms.get(relocation.r_sym))
            .filter(|symbol| symbol.st_name != 0 && symbol.st_shndx != SHN_UNDEF as usize)
            .map(|symbol| {
                let name = elf.dynstrtab.get_at(symbol.st_name).unwrap_or_default();
                format!("looks up its own {name}")
            })
            .collect()
    });
}

#[test]
fn every_library_is_bound_at_once_and_stays_loaded() {
    over_all(|_, elf| {
        let Some(dynamic) = &elf.dynamic else { return vec!["has no dynamic section".into()] };
        let (flags, flags_1) = (dynamic.info.flags, dynamic.info.flags_1);
        let mut offences = Vec::new();
        if flags & DF_BIND_NOW == 0 && flags_1 & DF_1_NOW == 0 {
            offences.push("was linked without -z now".into());
        }
        if flags_1 & DF_1_NODELETE == 0 {
            offences.push("was linked without -z nodelete".into());
        }
        offences
    });
}

#[test]
fn no_library_needs_a_glibc_newer_than_2_28() {
    over_all(|_, elf| {
        let needs = elf.verneed.iter().flat_map(|needs| needs.iter());
        let versions =
            needs.flat_map(|need| need.iter().map(|one| one.vna_name).collect::<Vec<_>>());
        let names: BTreeSet<&str> = versions.filter_map(|at| elf.dynstrtab.get_at(at)).collect();
        assert!(
            names.iter().any(|name| name.starts_with("GLIBC_")),
            "the needs were read: {names:?}"
        );
        names
            .into_iter()
            .filter(|name| newer_than_the_floor(name))
            .map(|name| format!("needs {name}"))
            .collect()
    });
}

fn newer_than_the_floor(version: &str) -> bool {
    let Some(numbers) = version.strip_prefix("GLIBC_") else { return false };
    let mut parts = numbers.split('.').map(|part| part.parse::<u32>().unwrap_or(u32::MAX));
    (parts.next().unwrap_or(u32::MAX), parts.next().unwrap_or(0)) > GLIBC_FLOOR
}

/// The addresses that the loader calls when it has mapped a library.
fn initialisers(elf: &Elf) -> Vec<u64> {
    let sections = elf.section_headers.iter().filter(|section| {
        matches!(elf.shdr_strtab.get_at(section.sh_name), Some(".init_array" | ".ctors"))
    });
    let ranges: Vec<_> =
        sections.map(|section| section.sh_addr..section.sh_addr + section.sh_size).collect();
    let within = |at: u64| ranges.iter().any(|range| range.contains(&at));
    let relocations = elf.dynrelas.iter().filter(|one| within(one.r_offset));
    relocations.filter_map(|one| one.r_addend).map(i64::unsigned_abs).collect()
}

#[test]
fn a_shipped_library_runs_one_function_at_load_time() {
    // The standard library's, which remembers argc and argv. That it is that one is seen in the
    // unoptimised build below, which keeps its symbols.
    over_all(|_, elf| match initialisers(elf).len() {
        1 => vec![],
        other => vec![format!("runs {other} functions")],
    });
}

#[test]
fn only_the_standard_library_and_the_compilers_start_files_run_code_at_load_time() {
    let known = ["ARGV_INIT_ARRAY", "frame_dummy"];
    over_each(&Stage::dev(), |_, elf| {
        let addresses = initialisers(elf);
        assert!(!addresses.is_empty(), "the functions are found");
        let name_of = |address: u64| {
            let is_there = |symbol: &goblin::elf::Sym| symbol.st_value == address;
            let symbol = elf.syms.iter().find(|symbol| is_there(symbol) && symbol.is_function());
            symbol.and_then(|symbol| elf.strtab.get_at(symbol.st_name)).unwrap_or("?")
        };
        let names = addresses.into_iter().map(name_of);
        let strange = names.filter(|name| !known.iter().any(|known| name.contains(known)));
        strange.map(|name| format!("runs {name}")).collect()
    });
}

#[test]
fn no_library_asks_for_an_executable_stack_or_for_more_than_libc() {
    let allowed = ["libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "libgcc_s.so.1"];
    over_all(|_, elf| {
        let foreign = elf
            .libraries
            .iter()
            .filter(|name| !allowed.contains(name) && !name.starts_with("ld-linux"));
        let mut offences: Vec<String> = foreign.map(|name| format!("needs {name}")).collect();
        let stack = elf.program_headers.iter().find(|header| header.p_type == PT_GNU_STACK);
        if stack.is_none_or(|header| header.is_executable()) {
            offences.push("asks for an executable stack".into());
        }
        offences
    });
}
