//! The two programs: what `ollama` and `llama-server` do when they are started.

use std::{
    env, fmt::Display, fs, io, io::Write as _, net::TcpListener, path::Path, process::ExitCode,
};

use super::{
    discover::{Gpu, backend_directories, library_directory, probe},
    driver,
    ggml::Ggml,
    model, runner,
    schedule::Scheduler,
    talk,
};

/// Is the program `ollama`: `serve`, `run`, the hidden `gpu-discover` and `runner`, and
/// `--version`.
pub fn ollama() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("serve") => match serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(error),
        },
        Some("run") => match talk::run(&words[1..]) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(error),
        },
        Some("gpu-discover") => match serde_json::to_string(&driver::discover()) {
            Ok(json) => say(&json),
            Err(error) => fail(error),
        },
        Some("runner") => match words.iter().rev().find_map(|word| word.parse().ok()) {
            Some(port) => match runner::serve(port) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(error),
            },
            None => fail("usage: ollama runner --ollama-engine --port N"),
        },
        Some("--version" | "-v") => say("ollama version is 0.30.0-stand-in"),
        _ => fail("usage: ollama serve | run | gpu-discover | runner | --version"),
    }
}

/// Is the program `llama-server`: with a model its runner, with `--list-devices` it lists what the
/// backends found and, on standard error, which shared libraries that took.
pub fn llama_server() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if let [a, file, b, port, ..] = &words[..]
        && (a.as_str(), b.as_str()) == ("--model", "--port")
    {
        let served = port.parse().map(|port| model::serve(Path::new(file), port));
        return match served {
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(error)) => fail(error),
            Err(error) => fail(error),
        };
    }
    if !words.iter().any(|word| word == "--list-devices") {
        return fail("usage: llama-server --list-devices | --model FILE --port N");
    }
    let program = env::current_exe().unwrap_or_default();
    let directory = program.parent().unwrap_or(Path::new("/"));
    let listed = Ggml::open(directory).and_then(|ggml| {
        ggml.load_all()?;
        ggml.devices()
    });
    let devices = match listed {
        Ok(devices) => devices,
        Err(error) => return fail(error),
    };
    let mut text = String::from("Available devices:");
    for device in devices.iter().filter(|device| !device.is_cpu) {
        let (total, free) = (device.total >> 20, device.free >> 20);
        let (name, description) = (&device.name, &device.description);
        text += &format!("\n  {name}: {description} ({total} MiB, {free} MiB free)");
    }
    for path in mapped_libraries() {
        eprintln!("mapped {path}");
    }
    say(&text)
}

fn serve() -> io::Result<()> {
    let listener = TcpListener::bind(talk::address()?)?;
    let address = listener.local_addr()?;
    log("INFO", &format!("msg=\"Listening on {address} (version 0.30.0-stand-in)\""));
    log("INFO", "msg=\"discovering available GPUs...\"");
    let library = library_directory()?;
    let verbose = env::var_os("OLLAMA_DEBUG").is_some();
    let mut gpus: Vec<Gpu> = Vec::new();
    for directory in backend_directories(&library)? {
        let mut forward = |line: &str| {
            if verbose {
                log("DEBUG", &format!("msg={line:?} libdir={}", directory.display()));
            }
        };
        match probe(&library, &directory, &mut forward) {
            // A device that a newer directory has already found is kept there.
            Ok(found) => {
                for gpu in found {
                    if gpus.iter().all(|known| known.id != gpu.id) {
                        gpus.push(gpu);
                    }
                }
            }
            Err(error) => {
                log("WARN", &format!("msg=\"failure during GPU discovery\" error={error:?}"))
            }
        }
    }
    gpus.iter().for_each(report);
    if gpus.is_empty() {
        log(
            "INFO",
            "msg=\"inference compute\" id=cpu library=cpu compute=\"\" name=cpu description=cpu \
             libdirs=ollama driver=\"\" pci_id=\"\" type=\"\"",
        );
    }
    // Discovery runs once; from here on Ollama serves requests.
    let directory = gpus.first().map(|gpu| gpu.directory.clone());
    talk::serve(&listener, Scheduler::new(library, directory))
}

fn report(gpu: &Gpu) {
    let libraries = gpu.directory.file_name().unwrap_or_default().to_string_lossy();
    let ordinal = gpu.id.parse::<usize>().unwrap_or_default();
    let device = gpu.driver.devices.get(ordinal);
    let compute = device.map_or("", |device| &device.compute);
    let pci = device.map_or("", |device| &device.pci_id);
    let kind = if device.is_some_and(|device| device.integrated) { "iGPU" } else { "discrete" };
    let gib = |mib: u64| format!("{}.{} GiB", mib / 1024, mib % 1024 * 10 / 1024);
    log(
        "INFO",
        &format!(
            "msg=\"inference compute\" id={} filter_id=\"\" library=CUDA compute={compute} name={} \
             description={:?} libdirs=ollama,{libraries} driver={} pci_id={pci} type={kind} \
             total={:?} available={:?}",
            gpu.id,
            gpu.name,
            gpu.description,
            gpu.driver.driver,
            gib(gpu.total_mib),
            gib(gpu.free_mib),
        ),
    );
}

/// Lists the CUDA and ggml libraries in this process, each once, in the order of their addresses.
fn mapped_libraries() -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut paths: Vec<String> = Vec::new();
    for path in maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..])) {
        let name = path.rsplit('/').next().unwrap_or(path);
        let wanted = ["libcuda", "libcublas", "libnvidia", "libggml"];
        if wanted.iter().any(|start| name.starts_with(start)) && !paths.iter().any(|p| p == path) {
            paths.push(path.to_owned());
        }
    }
    paths
}

fn log(level: &str, text: &str) {
    // systemd adds the time.
    eprintln!("level={level} source=stand-in {text}");
}

fn say(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

fn fail(error: impl Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}
