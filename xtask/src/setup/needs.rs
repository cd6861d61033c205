//! The list of needs as a type.

use serde::Deserialize;

use crate::error::Error;

/// A part of the tests that wants something from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Group {
    /// The public CUDA headers and a C compiler: regeneration, compiled layout tests.
    Headers,
    /// The public CUDA compiler, for test programs with kernels.
    Compiler,
    /// The unmodified clients.
    Clients,
    /// The release build for the glibc floor.
    Release,
    /// The container of the system test.
    System,
    /// The virtual machine.
    Vm,
    /// What checks manual pages.
    Pages,
    /// Loaders that the model of them is compared with.
    Loaders,
    /// The fuzzer.
    Fuzz,
}

impl Group {
    /// All groups.
    pub(crate) const ALL: &[Self] = &[
        Self::Headers,
        Self::Compiler,
        Self::Clients,
        Self::Release,
        Self::System,
        Self::Vm,
        Self::Pages,
        Self::Loaders,
        Self::Fuzz,
    ];
}

/// Everything in `xtask/needs.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Needs {
    /// Debian packages.
    pub(crate) apt: Vec<Apt>,
    /// PyPI packages.
    pub(crate) pypi: Vec<Pypi>,
    /// npm packages, as in tests/clients/node/package.json.
    pub(crate) npm: Vec<Npm>,
    /// Programs that cargo compiles once.
    pub(crate) cargo: Vec<Program>,
}

/// A Debian package, wanted when its check fails.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Apt {
    /// Package name.
    pub(crate) package: String,
    /// A command that succeeds where the package's purpose is met already.
    pub(crate) check: Vec<String>,
    /// Who wants it.
    pub(crate) groups: Vec<Group>,
    /// What for, for the reader of the installation's output.
    pub(crate) why: String,
}

/// A PyPI package in one pinned version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pypi {
    /// Package name.
    pub(crate) name: String,
    /// Exact version.
    pub(crate) version: String,
    /// Directory below target/cache.
    pub(crate) into: String,
    /// Who wants it.
    pub(crate) groups: Vec<Group>,
    /// What for.
    pub(crate) why: String,
    /// The files that pip may take for it.
    pub(crate) sha256: Vec<String>,
}

/// An npm package in one pinned version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Npm {
    /// Package name.
    pub(crate) name: String,
    /// Exact version.
    pub(crate) version: String,
    /// Who wants it.
    pub(crate) groups: Vec<Group>,
    /// What for.
    pub(crate) why: String,
}

/// A program from cargo's registry in one pinned version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Program {
    /// Package name.
    pub(crate) name: String,
    /// Exact version.
    pub(crate) version: String,
    /// Directory below target/cache; the program lies in its `bin`.
    pub(crate) into: String,
    /// Who wants it.
    pub(crate) groups: Vec<Group>,
    /// What for.
    pub(crate) why: String,
}

/// Says whether one of `wanted` is among an entry's `groups`.
pub(crate) fn wants(groups: &[Group], wanted: &[Group]) -> bool {
    groups.iter().any(|group| wanted.contains(group))
}

/// Reads the list that this program was compiled with.
pub(crate) fn read() -> Result<Needs, Error> {
    toml::from_str(include_str!("../../needs.toml"))
        .map_err(|source| Error::Description { file: "xtask/needs.toml", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_need_is_pinned_and_explained() {
        let needs = read().expect("a valid list");
        for entry in &needs.apt {
            assert!(!entry.check.is_empty() && !entry.why.is_empty(), "{entry:?}");
        }
        for entry in &needs.pypi {
            let is_sum =
                |sum: &String| sum.len() == 64 && sum.chars().all(|c| c.is_ascii_hexdigit());
            assert!(!entry.sha256.is_empty() && entry.sha256.iter().all(is_sum), "{entry:?}");
            assert!(!entry.groups.is_empty() && !entry.why.is_empty(), "{entry:?}");
        }
        for entry in &needs.npm {
            assert!(!entry.groups.is_empty() && !entry.why.is_empty(), "{entry:?}");
        }
    }

    #[test]
    fn a_directory_is_wanted_as_a_whole_by_each_group_that_wants_a_part_of_it() {
        let needs = read().expect("a valid list");
        for one in &needs.pypi {
            let beside = needs.pypi.iter().filter(|other| other.into == one.into);
            for other in beside {
                assert_eq!(one.groups, other.groups, "{} and {}", one.name, other.name);
            }
        }
    }
}
