use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{Machine, Result, error::at, run};

/// Names the files of this machine that make up an Ollama.
#[derive(Debug)]
pub struct Parts {
    /// The stand-in for `ollama`.
    pub ollama: PathBuf,
    /// The stand-in for `llama-server`.
    pub llama_server: PathBuf,
    /// The directory of npm's `@node-llama-cpp/linux-x64-cuda` with ggml and its CUDA 13 backend.
    pub ggml: PathBuf,
    /// `index.node` of npm's `@fugood/node-llama-linux-x64-cuda`: a whole ggml with CUDA 12.
    pub ggml_12: PathBuf,
    /// NVIDIA's libcudart.so.13, from PyPI.
    pub cudart_13: PathBuf,
    /// NVIDIA's libcudart.so.12, from PyPI.
    pub cudart_12: PathBuf,
}

/// Is an Ollama as its `install.sh` lays it out below one prefix.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// `/usr/local`, or `/usr` for the manual tarball and packages.
    pub prefix: &'static str,
    /// More `Environment=` lines that an administrator put into the unit.
    pub environment: &'static [&'static str],
    /// More lines for its `[Service]` section.
    pub settings: &'static [&'static str],
}

/// The libraries of ggml and llama.cpp as they are published, and their names in Ollama's library
/// directory.
pub const GGML: [(&str, &str); 4] = [
    ("libggml-base.so", "libggml-base.so"),
    ("libggml.cuda.v0.5.0.so", "libggml.so"),
    ("libllama.cuda.v0.5.0.so", "libllama.so"),
    ("libggml-cpu-x64.so", "libggml-cpu-x64.so"),
];

/// What ggml's loader calls first in a backend, `ggml_backend_reg_t ggml_backend_init(void)`.
const ENTRY: &str = "void *ggml_backend_cuda_reg(void);
void *ggml_backend_init(void) { return ggml_backend_cuda_reg(); }
";

impl Layout {
    /// Lays the files below `root`, which is not running yet.
    ///
    /// NVIDIA's cuBLAS is 444 MB and never loaded here, so a small library with its name takes its
    /// place; it exports one symbol that nobody wants. The CUDA 12 backend is published as a Node
    /// addon with all of ggml in it: a second small library gives it the name and the one entry
    /// that ggml's loader looks for, a third answers the names of NCCL and Node, which are never
    /// called.
    ///
    /// # Errors
    /// If a part is missing, or gcc fails.
    pub fn lay(&self, root: &Path, parts: &Parts) -> Result<()> {
        let prefix = root.join(self.prefix.trim_start_matches('/'));
        let library = prefix.join("lib/ollama");
        for directory in ["cuda_v12", "cuda_v13"] {
            let path = library.join(directory);
            fs::create_dir_all(&path).map_err(at("creating", path))?;
        }
        copy(&parts.ollama, &prefix.join("bin/ollama"), 0o755)?;
        copy(&parts.llama_server, &library.join("llama-server"), 0o755)?;
        for (name, there) in GGML {
            copy(&parts.ggml.join(name), &library.join(there), 0o644)?;
        }
        let v13 = library.join("cuda_v13");
        copy(&parts.ggml.join("libggml-cuda.so"), &v13.join("libggml-cuda.so"), 0o644)?;
        versioned(&parts.cudart_13, &v13, "libcudart.so.13", "libcudart.so.13.5.37")?;
        stand_in(&v13, "libcublas.so.13")?;
        let v12 = library.join("cuda_v12");
        copy(&parts.ggml_12, &v12.join("index.node"), 0o644)?;
        compile(&v12, "libggml-cuda.so", ENTRY, &["-Wl,-rpath,$ORIGIN", "index.node"])?;
        versioned(&parts.cudart_12, &v12, "libcudart.so.12", "libcudart.so.12.9.79")?;
        stand_in(&v12, "libcublas.so.12")?;
        let missing = missing_names(&parts.ggml_12)?;
        compile(&v12, "libnccl.so.2", &missing, &["-Wl,-soname,libnccl.so.2"])?;
        let unit = root.join("etc/systemd/system/ollama.service");
        fs::write(&unit, self.unit()).map_err(at("writing", unit))
    }

    /// Does what `install.sh` does as soon as the files are there: user, groups, service.
    ///
    /// # Errors
    /// If a step fails inside.
    pub fn settle(&self, machine: &impl Machine) -> Result<()> {
        machine.sh("useradd -r -s /bin/false -U -m -d /usr/share/ollama ollama
             for group in render video; do
                 if getent group $group >/dev/null; then usermod -a -G $group ollama; fi
             done
             systemctl daemon-reload
             systemctl enable --quiet ollama
             systemctl restart ollama")?;
        Ok(())
    }

    fn unit(&self) -> String {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let more: String =
            self.environment.iter().map(|line| format!("Environment=\"{line}\"\n")).collect();
        let settings: String = self.settings.iter().map(|line| format!("{line}\n")).collect();
        format!(
            "[Unit]\nDescription=Ollama Service\nAfter=network-online.target\n\n\
             [Service]\nExecStart={}/bin/ollama serve\nUser=ollama\nGroup=ollama\n\
             Restart=always\nRestartSec=3\nEnvironment=\"PATH={path}\"\n{more}{settings}\n\
             [Install]\nWantedBy=default.target\n",
            self.prefix
        )
    }
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    fs::copy(from, to).map_err(at("copying", from))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).map_err(at("changing", to))
}

/// Copies a library under its full version and links its SONAME to it, as Ollama ships them.
fn versioned(from: &Path, directory: &Path, soname: &str, file: &str) -> Result<()> {
    copy(from, &directory.join(file), 0o644)?;
    let link = directory.join(soname);
    symlink(file, &link).map_err(at("linking", link))
}

/// Makes a small library with the given SONAME and, under it as version node, one function.
fn stand_in(directory: &Path, soname: &str) -> Result<()> {
    let script = directory.join("versions.map");
    fs::write(&script, format!("{soname} {{ *; }};\n")).map_err(at("writing", &script))?;
    let options = [&format!("-Wl,-soname,{soname}"), "-Wl,--version-script=versions.map"];
    compile(directory, soname, "void nobodyWants(void) {}", &options)?;
    fs::remove_file(&script).map_err(at("removing", script))
}

/// Compiles a small library in the directory that it is for.
fn compile(directory: &Path, name: &str, source: &str, options: &[&str]) -> Result<()> {
    let code = directory.join("source.c");
    fs::write(&code, source).map_err(at("writing", &code))?;
    let mut gcc = Command::new("gcc");
    gcc.current_dir(directory).args(["-shared", "-fPIC", "-w", "-o", name, "source.c"]);
    // What the addon needs itself is found at run time.
    gcc.arg("-Wl,--unresolved-symbols=ignore-all").args(options);
    run(&mut gcc, Duration::from_secs(60))?.success()?;
    fs::remove_file(&code).map_err(at("removing", code))
}

/// Writes a function for each name that the CUDA 12 backend takes from NCCL or from Node.
fn missing_names(library: &Path) -> Result<String> {
    let mut nm = Command::new("nm");
    nm.args(["--dynamic", "--undefined-only", "--format=posix"]).arg(library);
    let listed = run(&mut nm, Duration::from_secs(60))?.success()?;
    let names = listed.lines().filter_map(|line| line.split(' ').next());
    let wanted = names.filter(|name| name.starts_with("nccl") || name.starts_with("napi_"));
    Ok(wanted.map(|name| format!("int {name}(void) {{ return 1; }}\n")).collect())
}
