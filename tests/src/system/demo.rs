use std::{
    error::Error as _,
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
    time::Instant,
};

use super::{Files, Layout, Plot, Result, Setting, Story, story};
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
    let mut tell =
        |step: &str| print(&format!("{:6.1} s  {step}\n", began.elapsed().as_secs_f64()));
    tell("look for the container's root (made on the first run, 20 s)");
    let setting = Setting::of_this_checkout()?;
    tell("start vgpud --device sim on this machine, outside the container");
    let host = Vgpud::start_with(&setting.stage, &["--mode", "0666"])?;
    let plot = Plot {
        layout: Layout { prefix: "/usr/local", environment: &["OLLAMA_DEBUG=2"], settings: &[] },
        files: Files::Deb,
        scope: "service",
    };
    let told = story(&setting, plot, host.socket().parent(), &mut tell)?;
    tell("stop everything");
    drop(host);
    let faults = told.faults();
    print(&(screen(&told) + &verdict(&faults, setting.release.suite())));
    Ok(faults.is_empty())
}

/// Shows a text; whether somebody still reads it changes nothing.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// The last screen: what was seen.
fn screen(story: &Story) -> String {
    let Story { before, installed, after, .. } = story;
    let found = [
        ("ollama.service:", &story.with),
        ("before:", &story.without),
        ("after rollback:", &story.afterwards),
    ];
    let found = found.map(|(when, found)| format!("{when:<15} {}", brief(&found.compute)));
    let numbers = [("before", before), ("installed", installed), ("rolled back and purged", after)];
    let numbers =
        numbers.map(|(when, tree)| format!("{when:<22} {}  {} paths", tree.digest(), tree.paths()));
    let speeches = story.speeches.iter().flat_map(|both| {
        [("on the CPU:", &both.cpu), ("on the GPU:", &both.gpu)].map(|(on, speech)| {
            format!("{on:<15} {:?}, {} launches", speech.tokens, speech.launches)
        })
    });
    let libraries = story.with.mapped().into_iter().filter(|path| path.contains("/libcu"));
    [
        section("What vgpu-install said while apt installed the deb", &story.installer),
        section(
            "What Ollama's CUDA backends found, in their own words",
            story.with.backend_lines(),
        ),
        section("What the service made of it", found),
        section("What a small random Llama said, 8 tokens by greedy choice", speeches),
        section("Which CUDA libraries it had loaded", libraries),
        section("What was changed on the disk", before.changes(installed)),
        section(
            "The disk as one number: content, modes, owners, times, links, attributes",
            numbers,
        ),
        "  Aside: logs, apt's and dpkg's records, times of directories that dpkg unpacks into.\n"
            .to_owned(),
    ]
    .concat()
}

fn verdict(faults: &[String], suite: &str) -> String {
    let good = "The GPU was found through our libraries, a model said the same on it as on the\n  \
                CPU, and not one byte of ours is left.";
    let verdict = if faults.is_empty() {
        section("All as it has to be", [good])
    } else {
        section("Not as it has to be", faults)
    };
    format!(
        "{verdict}\n  Real: Debian {suite} with systemd, the deb, the published CUDA backends with \
         NVIDIA's\n  cudart beside them, node-llama-cpp. Not real: the GPU (simulated), `ollama` \
         and `llama-server`\n  (stand-ins that start the backend as Ollama does), the bundled \
         cuBLAS (empty).\n"
    )
}

fn section(heading: &str, lines: impl IntoIterator<Item = impl Display>) -> String {
    let lines = lines.into_iter().map(|line| format!("  {}\n", line.to_string().trim()));
    format!("\n{heading}\n{}", lines.collect::<String>())
}

/// Shortens Ollama's line to what it found, without the fields that it left empty.
fn brief(line: &str) -> String {
    let found = line.find("library=").map_or(line, |at| &line[at..]);
    found.split(' ').filter(|word| !word.ends_with("=\"\"")).collect::<Vec<_>>().join(" ")
}
