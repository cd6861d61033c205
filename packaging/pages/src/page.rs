//! One manual page for a program and all its commands, in the order of man-pages(7).

use std::io;

use clap::{Arg, Command};
use clap_mangen::Man;
use roff::{Inline, Roff, bold, italic, roman};

/// What a page says beyond the command line's own description.
pub struct Page {
    /// The section of the manual.
    pub section: &'static str,
    /// Further parts, in order.
    pub more: &'static [Paragraph],
    /// Other pages.
    pub see_also: &'static str,
}

/// A titled list of things with what they mean.
pub struct Paragraph {
    /// The title, in capitals.
    pub title: &'static str,
    /// Each thing and its meaning.
    pub lines: &'static [(&'static str, &'static str)],
}

impl Page {
    /// Writes the page of a command that was built.
    ///
    /// # Errors
    /// None that a memory buffer has.
    pub fn render(&self, command: &Command) -> io::Result<Vec<u8>> {
        let manual = "vgpu-ollama";
        let man = Man::new(command.clone()).section(self.section).manual(manual).date("");
        let mut out = Vec::new();
        man.render_title(&mut out)?;
        man.render_name_section(&mut out)?;
        man.render_synopsis_section(&mut out)?;
        man.render_description_section(&mut out)?;
        man.render_options_section(&mut out)?;
        commands(command).to_writer(&mut out)?;
        let mut roff = Roff::new();
        if let Some(text) = command.get_after_help().filter(|_| self.more.is_empty()) {
            roff.control("SH", ["NOTES"]).text([roman(text.to_string())]);
        }
        for paragraph in self.more {
            roff.control("SH", [paragraph.title]);
            for (thing, meaning) in paragraph.lines {
                roff.control("TP", []).text([bold(*thing)]).text([roman(*meaning)]);
            }
        }
        roff.control("SH", ["SEE ALSO"]).text([roman(self.see_also)]);
        roff.to_writer(&mut out)?;
        Ok(out)
    }
}

/// The commands of a program, each with its own arguments; options of all are said once, above.
fn commands(program: &Command) -> Roff {
    let mut roff = Roff::new();
    let shown: Vec<&Command> = program
        .get_subcommands()
        .filter(|command| !command.is_hide_set() && command.get_name() != "help")
        .collect();
    if shown.is_empty() {
        return roff;
    }
    roff.control("SH", ["COMMANDS"]);
    for command in shown {
        let own = || {
            let is_own =
                |arg: &&Arg| !arg.is_global_set() && !arg.is_hide_set() && arg.get_id() != "help";
            command.get_arguments().filter(is_own)
        };
        let mut head = vec![bold(command.get_name())];
        for arg in own().filter(|arg| arg.is_positional()) {
            head.extend([roman(" "), italic(arg.to_string())]);
        }
        roff.control("TP", []).text(head);
        let about = command.get_long_about().or_else(|| command.get_about());
        roff.text([roman(about.map(ToString::to_string).unwrap_or_default())]);
        let options: Vec<&Arg> = own().collect();
        if options.is_empty() {
            continue;
        }
        roff.control("RS", []);
        for arg in options {
            let help = arg.get_long_help().or_else(|| arg.get_help());
            let help = help.map(ToString::to_string).unwrap_or_default();
            roff.control("TP", []).text([named(arg)]).text([roman(help)]);
        }
        roff.control("RE", []);
    }
    roff
}

fn named(arg: &Arg) -> Inline {
    if arg.is_positional() { italic(arg.to_string()) } else { bold(arg.to_string()) }
}
