//! Writes the manual pages and shell completions of our programs into a directory, from the same
//! descriptions that read their command lines.
//!
//! `vgpu-pages DIRECTORY` makes `<program>.<section>`, `<program>.bash`, `_<program>` (zsh) and
//! `<program>.fish`. It is run by `cargo xtask stage` and shipped to nobody.
#![forbid(unsafe_code)]

mod page;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::page::{Page, Paragraph};

const INSTALL: Page = Page {
    section: "8",
    more: &[
        Paragraph {
            title: "FILES",
            lines: &[
                ("/var/lib/vgpu", "the generations, and the journal while one is made"),
                ("/etc/vgpu/guest.toml", "the way to the host, where it is not found by itself"),
                ("/etc/systemd/system/ollama.service.d/50-vgpu.conf", "what scope service makes"),
                ("/etc/ld.so.conf.d/00-vgpu.conf", "what scope system makes beside it"),
                (
                    "/usr/local/bin/nvidia-smi",
                    "a link to vgpu-smi, where there was no such program",
                ),
            ],
        },
        Paragraph {
            title: "EXIT STATUS",
            lines: &[
                ("0", "fine, changed or not"),
                ("1", "failed, and undone; doctor: a check or a fix failed"),
                ("2", "something was, or would be, changed (with --detailed-exitcode)"),
                ("3", "something that others changed was left as it is"),
                ("4", "an interrupted run is to be recovered first: vgpu-install recover"),
                ("5", "another vgpu-install is at work"),
                ("6", "this kind of machine is not served"),
                ("64", "the command line is wrong, or an option would be ignored"),
            ],
        },
    ],
    see_also: "vgpu-smi(1), vgpud(8), systemd.unit(5), ld.so(8)",
};

const DAEMON: Page = Page {
    section: "8",
    more: &[
        Paragraph {
            title: "FILES",
            lines: &[
                ("/etc/vgpu/host.toml", "the configuration; options outrank it"),
                ("/run/vgpu/vgpud.sock", "where guests of this machine connect"),
                ("/run/vgpud/status.sock", "where vgpud smi asks; for root, or the service's user"),
            ],
        },
        Paragraph {
            title: "EXIT STATUS",
            lines: &[("0", "ended as asked"), ("1", "failed"), ("64", "the command line is wrong")],
        },
    ],
    see_also: "vgpu-install(8), vgpu-smi(1)",
};

const SMI: Page = Page {
    section: "1",
    more: &[Paragraph {
        title: "EXIT STATUS",
        lines: &[
            ("0", "fine"),
            ("2", "a wrong argument, or top without a terminal"),
            ("4", "not permitted"),
            ("6", "no such GPU"),
            ("9", "no GPU of a host is within reach"),
            ("12", "no NVML library"),
            ("255", "anything else"),
        ],
    }],
    see_also: "vgpu-install(8)",
};

fn programs() -> [(Command, Page); 3] {
    [
        (vgpu_install::cli::Line::command(), INSTALL),
        (vgpud::command_line(), DAEMON),
        (vgpu_smi::cli::Line::command(), SMI),
    ]
}

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("vgpu-pages: a directory is needed");
        return ExitCode::from(64);
    };
    match write(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vgpu-pages: writing into {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for (command, page) in programs() {
        let mut command = visible(&command);
        let name = command.get_name().to_owned();
        command.build();
        let text = page.render(&command)?;
        std::fs::write(directory.join(format!("{name}.{}", page.section)), text)?;
        for (shell, file) in [
            (Shell::Bash, format!("{name}.bash")),
            (Shell::Zsh, format!("_{name}")),
            (Shell::Fish, format!("{name}.fish")),
        ] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, &name, &mut script);
            std::fs::write(directory.join(file), mended(&name, &script))?;
        }
    }
    Ok(())
}

/// A command without what is hidden: shells would offer it.
fn visible(command: &Command) -> Command {
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    let about = command.get_about().cloned().unwrap_or_default();
    let version = command.get_version().unwrap_or_default().to_owned();
    Command::new(command.get_name().to_owned())
        .about(about)
        .version(version)
        .args(command.get_arguments().cloned())
        .subcommands(shown.cloned().collect::<Vec<_>>())
}

/// Mends a script of bash's: `clap_complete` 4.6.11 takes the hyphen of a program's name for the
/// border of a command where it lists the options, so that none would be offered after a command.
fn mended(name: &str, script: &[u8]) -> String {
    let text = String::from_utf8_lossy(script);
    text.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"))
}
