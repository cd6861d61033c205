use std::{error::Error as _, process::ExitCode, time::Instant};

use super::{Files, Layout, Plot, Result, Setting, Story, Tree, story};
use crate::Vgpud;

/// Tells the story on the screen; the exit code says whether it went as it has to.
pub fn demo() -> ExitCode {
    match show() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(inner) = cause {
                eprintln!("  because: {inner}");
                cause = inner.source();
            }
            if let Some(hint) = error.hint() {
                eprintln!("  try:     {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn show() -> Result<bool> {
    let began = Instant::now();
    let mut tell = |step: &str| println!("{:6.1} s  {step}", began.elapsed().as_secs_f64());
    tell("look for the container's root (made on the first run, 20 s)");
    let setting = Setting::of_this_checkout()?;
    tell("start vgpud --device sim on this machine, outside the container");
    let host = Vgpud::start_with(&setting.stage, &["--mode", "0666"])?;
    let plot = Plot {
        layout: Layout { prefix: "/usr/local", environment: &["OLLAMA_DEBUG=2"] },
        files: Files::Deb,
        scope: "service",
    };
    let told = story(&setting, plot, host.socket().parent(), &mut tell)?;
    tell("stop everything");
    drop(host);
    Ok(screen(&told, &setting.suite))
}

/// Prints the last screen; answers whether the story has no fault.
fn screen(story: &Story, suite: &str) -> bool {
    let Story { before, installed, after, .. } = story;
    heading("What Ollama's CUDA backend found (its own words)");
    for line in story.with.backend_lines() {
        println!("  {line}");
    }
    println!("\n  ollama.service: {}", brief(&story.with.compute));
    println!("  before:         {}", brief(&story.without.compute));
    println!("  after rollback: {}", brief(&story.afterwards.compute));
    heading("Which CUDA libraries it had loaded");
    for path in story.with.mapped().iter().filter(|path| path.contains("/libcu")) {
        println!("  {path}");
    }
    heading("What was changed on the disk, dpkg's records aside");
    for change in before.changes(installed) {
        println!("  {change}");
    }
    heading("The disk, as one number");
    for (when, tree) in [("before", before), ("installed", installed), ("rolled back", after)] {
        println!("  {when:<12} {}", line(tree));
    }
    let faults = story.faults();
    heading(if faults.is_empty() { "All as it has to be" } else { "Not as it has to be" });
    faults.iter().for_each(|fault| println!("  {fault}"));
    if faults.is_empty() {
        println!("  The GPU was found through our libraries, and not one byte is left of them.");
    }
    println!(
        "\n  Real: Debian {suite} with systemd, the deb, the published CUDA backends, NVIDIA's\n  \
         cudart beside them. Not real: the GPU (simulated), `ollama` and `llama-server`\n  \
         (stand-ins that start the backend as Ollama does), the bundled cuBLAS (empty)."
    );
    faults.is_empty()
}

fn heading(text: &str) {
    println!("\n{text}");
}

fn line(tree: &Tree) -> String {
    format!("{}  {} paths", tree.digest(), tree.paths())
}

/// Shortens Ollama's line to what it found.
fn brief(line: &str) -> &str {
    line.find("library=").map_or(line, |at| &line[at..])
}
