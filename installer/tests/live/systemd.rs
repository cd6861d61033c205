//! The same units read by us and by the real systemd: they must agree.
//!
//! `systemd --test` loads units and writes what it makes of them, without starting anything. It
//! refuses to run as root, so it runs as nobody.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use vgpu_install::discover;
use vgpu_install::discover::units::environment_file;
use vgpu_install::facts::Unit;
use vgpu_install::host::real::Real;

/// The account that owns nothing, on every Linux.
const NOBODY: u32 = 65534;
/// The directories of the test's root, in the load path's order.
const DIRS: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
];

fn systemd() -> &'static Path {
    let paths = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"].map(Path::new);
    let found = paths.into_iter().find(|path| path.exists());
    found.expect("this test compares with systemd: install the package systemd")
}

/// A root of its own, as lines of `path content` or `path -> target`. A `\n` in a content is the
/// end of a line; `ROOT` is the root's own path.
struct Root(tempfile::TempDir);

impl Root {
    fn described(text: &str) -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        let own = root.0.path().to_str().unwrap().to_owned();
        fs::set_permissions(root.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for dir in DIRS {
            fs::create_dir_all(root.0.path().join(dir)).unwrap();
        }
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (path, content) = line.split_once(' ').unwrap_or((line, ""));
            let path = root.0.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content.strip_prefix("-> ") {
                Some(target) => symlink(target, path).unwrap(),
                None => {
                    let text = content.replace("\\n", "\n").replace("ROOT", &own);
                    fs::write(path, text).unwrap();
                }
            }
        }
        root
    }

    /// What systemd says of a unit: its lines of `name: value`.
    fn systemd(&self, unit: &str) -> BTreeMap<String, Vec<String>> {
        let dirs: Vec<_> = DIRS.iter().map(|dir| self.0.path().join(dir)).collect();
        let mut path = std::env::join_paths(dirs).unwrap();
        // An empty last entry stands for systemd's own directories: it needs rescue.target.
        path.push(":");
        let mut command = Command::new(systemd());
        command.args(["--test", "--system", &format!("--unit={unit}")]);
        command.env("SYSTEMD_UNIT_PATH", path).env("HOME", "/nonexistent");
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut is_ours = false;
        for line in text.split('\n').map(|line| line.trim_matches([' ', '\t'])) {
            if let Some(name) = line.strip_prefix("-> Unit ") {
                is_ours = name.trim_end_matches(':') == unit;
            } else if let Some((name, value)) = line.split_once(": ").filter(|_| is_ours) {
                found.entry(name.into()).or_default().push(value.into());
            }
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!found.is_empty(), "systemd said nothing of {unit}:\n{errors}");
        found
    }

    fn ours(&self) -> Vec<Unit> {
        discover::facts(&Real::open(self.0.path()).unwrap()).unwrap().units
    }

    /// Compares everything that both say of the unit `name`.
    #[track_caller]
    fn compare(&self, name: &str) -> Unit {
        let theirs = self.systemd(name);
        let ours = self.ours().into_iter().find(|unit| unit.name == name);
        let ours = ours.unwrap_or_else(|| panic!("{name} was not found: {:?}", self.ours()));
        let get = |key: &str| theirs.get(key).cloned().unwrap_or_default();
        let below = |path: &Path| self.0.path().join(path.strip_prefix("/").unwrap());
        let shown = |path: PathBuf| path.to_str().unwrap().to_owned();
        assert_eq!(get("Fragment Path"), [shown(below(&ours.fragment))]);
        let drop_ins: Vec<_> = ours.drop_ins.iter().map(|path| shown(below(path))).collect();
        assert_eq!(get("DropIn Path"), drop_ins);
        let mut environment = get("Environment");
        environment.sort();
        let own: Vec<_> = ours
            .environment
            .iter()
            .map(|v| format!("{}={}", v.name, v.value.replace("%n", name).replace("%%", "%")))
            .collect();
        assert_eq!(own, environment);
        let files: Vec<_> = ours
            .environment_files
            .iter()
            .map(|file| format!("{}{}", if file.optional { "-" } else { "" }, file.path))
            .collect();
        assert_eq!(get("EnvironmentFile"), files);
        assert_eq!(get("User"), ours.user.clone().into_iter().collect::<Vec<_>>());
        assert_eq!(get("SupplementaryGroups").join(" "), ours.supplementary_groups.join(" "));
        for key in ["PrivateDevices", "ProtectHome", "ProtectSystem", "MemoryDenyWriteExecute"] {
            let own = ours.settings.iter().find(|setting| setting.name == key);
            assert_eq!(get(key), [own.map_or("no", |setting| &setting.value)], "{key}");
        }
        ours
    }
}

const EXEC: &str = "[Service]\\nExecStart=/bin/sleep 1\\n";

#[test]
fn lines_words_and_escapes_are_read_as_systemd_reads_them() {
    let bodies = [
        "Environment=A=1 \"B=x y\" 'C=z w' D=a\"b\"c\nEnvironment=A=2 E= F=",
        "Environment=A=1 \\\n\nEnvironment=B=1 \\\n# between\n; these\n  C=2",
        "Environment=A=1 \\\\\nEnvironment=B=1\rEnvironment=C=1\0Environment=D=1",
        r#"Environment=A=\x41\101\u00fc\U0001f600\s\t. "B=\"" 'C=\''"#,
        "Environment=A=1 \"B=2\nEnvironment=C=1 D=\\q E=1\nEnvironment=F=\\x00 G=1",
        "Environment=A=1 B=2\nEnvironment=\nEnvironment=C=3\n  Environment  =  D=4  ",
        "Environment=1A=1 B-C=1 _D=1 E PATH=/a:/b F=%n G=100%%",
        "[Unit]\nEnvironment=A=1\n[Service]\nEnvironment=B=1\n[X-Own]\nEnvironment=C=1",
        "\u{feff}Environment=A=1\nEnvironment=B=\u{a0}\n\u{b}Environment=C=1",
        "User=one\nUser=two\nSupplementaryGroups=a b\nSupplementaryGroups=c",
        "User=one\nUser=\nSupplementaryGroups=a b\nSupplementaryGroups=\nSupplementaryGroups=d",
        "EnvironmentFile=/a\nEnvironmentFile=\nEnvironmentFile=-/b\nEnvironmentFile=/c d",
        "PrivateDevices=yes\nPrivateDevices=\nProtectSystem=full\nProtectSystem=wrong",
        "ProtectHome=read-only\nMemoryDenyWriteExecute=yes\nMemoryDenyWriteExecute=no",
        "Environment=A=\u{1}x\tB=1",
    ];
    for body in bodies {
        let root = Root::described("etc/keep x");
        let path = root.0.path().join("etc/systemd/system/ollama.service");
        fs::write(path, format!("[Service]\nExecStart=/bin/sleep 1\n{body}\n")).unwrap();
        root.compare("ollama.service");
    }
}

#[test]
fn bytes_that_are_no_text_or_an_open_section_end_a_file() {
    for end in [&b"Environment=C=\xff"[..], b"[Service"] {
        let root = Root::described(&format!("usr/lib/systemd/system/ollama.service {EXEC}"));
        let dir = root.0.path().join("usr/lib/systemd/system/ollama.service.d");
        fs::create_dir_all(&dir).unwrap();
        let text = [&b"[Service]\nEnvironment=A=1\n"[..], end, b"\n[Service]\nEnvironment=B=1\n"];
        fs::write(dir.join("10.conf"), text.concat()).unwrap();
        fs::write(dir.join("20.conf"), "[Service]\nEnvironment=D=1\n").unwrap();
        assert_eq!(root.compare("ollama.service").environment.len(), 2);
    }
}

#[test]
fn drop_ins_come_in_systemds_order_and_hide_each_other_by_name() {
    let root = Root::described(&format!(
        "etc/systemd/system/ollama-gpu.service {EXEC}Environment=A=0
         usr/lib/systemd/system/ollama-gpu.service {EXEC}Environment=WRONG=1
         usr/lib/systemd/system/ollama-gpu.service.d/20-a.conf [Service]\\nEnvironment=A=usr
         run/systemd/system/ollama-gpu.service.d/20-a.conf [Service]\\nEnvironment=A=run
         usr/lib/systemd/system/ollama-gpu.service.d/30-b.conf [Service]\\nEnvironment=B=usr
         etc/systemd/system/ollama-gpu.service.d/30-b.conf -> /dev/null
         etc/systemd/system/ollama-.service.d/20-a.conf [Service]\\nEnvironment=A=prefix
         etc/systemd/system/ollama-.service.d/40-c.conf [Service]\\nEnvironment=C=prefix
         run/systemd/system/ollama-gpu.service.d/40-c.conf [Service]\\nEnvironment=C=run
         usr/lib/systemd/system/ollama-gpu.service.d/.50.conf [Service]\\nEnvironment=D=1
         usr/lib/systemd/system/ollama-gpu.service.d/50.txt [Service]\\nEnvironment=E=1"
    ));
    // A unit named so starts Ollama for us only if its command says so.
    let path = root.0.path().join("etc/systemd/system/ollama-gpu.service");
    let text = fs::read_to_string(&path).unwrap().replace("/bin/sleep 1", "/bin/env ollama serve");
    fs::write(path, text).unwrap();
    let unit = root.compare("ollama-gpu.service");
    let values: Vec<_> = unit.environment.iter().map(|v| v.value.as_str()).collect();
    assert_eq!(values, ["prefix", "prefix"]);
}

#[test]
fn aliases_templates_and_links_lead_to_the_same_file() {
    let root = Root::described(&format!(
        "usr/lib/systemd/system/ollama.service {EXEC}Environment=A=1
         etc/systemd/system/ai-ollama.service -> ROOT
         etc/systemd/system/ai-ollama.service.d/10.conf [Service]\\nEnvironment=B=alias
         usr/lib/systemd/system/ollama@.service {EXEC}Environment=A=%n
         usr/lib/systemd/system/ollama@.service.d/10.conf [Service]\\nEnvironment=T=template
         run/systemd/system/ollama@one.service.d/10.conf [Service]\\nEnvironment=T=instance"
    ));
    let link = root.0.path().join("etc/systemd/system/ai-ollama.service");
    fs::remove_file(&link).unwrap();
    symlink(root.0.path().join("usr/lib/systemd/system/ollama.service"), &link).unwrap();
    // Below a root, links are taken as inside of it: the same link, as each reader knows it.
    let theirs = root.systemd("ollama.service");
    assert_eq!(theirs["Environment"], ["A=1", "B=alias"]);
    fs::remove_file(&link).unwrap();
    symlink("/usr/lib/systemd/system/ollama.service", &link).unwrap();
    let ours = root.ours();
    let unit = ours.iter().find(|unit| unit.name == "ollama.service").unwrap();
    assert_eq!(unit.aliases, ["ai-ollama.service"]);
    let environment: Vec<_> =
        unit.environment.iter().map(|v| format!("{}={}", v.name, v.value)).collect();
    assert_eq!(environment, ["A=1", "B=alias"]);
    fs::remove_file(&link).unwrap();
    root.compare("ollama@one.service");
}

/// The program by which systemd reads `environment.d`: with the same parser as for
/// `EnvironmentFile=`, apart from `$`, which the test's files have none of.
const READER: &str = "systemd/user-environment-generators/30-systemd-environment-d-generator";

/// A text of random letters that mean something in such files.
fn random_text(random: &mut u64) -> String {
    const LETTERS: [char; 16] =
        ['a', 'b', ' ', ' ', '\t', '\n', '\r', '"', '"', '\'', '\'', '\\', '#', ';', '=', '`'];
    let mut next = || {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*random >> 33) as usize
    };
    (0..next() % 24).map(|_| LETTERS[next() % LETTERS.len()]).collect()
}

/// Undoes the quotes and escapes that the reader writes.
fn unquoted(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut out = String::new();
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        out.push(match letter {
            '\\' => match letters.next().unwrap() {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            },
            other => other,
        });
    }
    out
}

#[test]
fn files_of_variables_are_read_as_systemd_reads_them() {
    let libs = ["/usr/lib", "/lib"].map(|dir| Path::new(dir).join(READER));
    let reader = libs.iter().find(|path| path.exists()).expect("systemd has its generators");
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("environment.d");
    fs::create_dir(&below).unwrap();
    let mut random = 20;
    let texts: Vec<String> = (0..2000)
        .map(|index| format!("{}\nV{index}={}", random_text(&mut random), random_text(&mut random)))
        .collect();
    for (index, text) in texts.iter().enumerate() {
        fs::write(below.join(format!("{index:04}.conf")), text).unwrap();
    }
    let mut command = Command::new(reader);
    command.env_clear().env("XDG_CONFIG_HOME", dir.path()).env("HOME", "/nonexistent");
    let output = command.output().unwrap();
    let theirs: BTreeMap<String, String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), unquoted(value)))
        .collect();
    assert!(theirs.len() > 500, "too few variables to compare: {}", theirs.len());
    for (index, text) in texts.iter().enumerate() {
        let name = format!("V{index}");
        let pairs = environment_file::pairs(text.as_bytes()).unwrap();
        let own = pairs.iter().rfind(|(known, _)| *known == name).map(|(_, value)| value);
        // The reader leaves most variables without a value out.
        let own = own.filter(|value| !value.is_empty());
        let theirs = theirs.get(&name).filter(|value| !value.is_empty());
        assert_eq!(own, theirs, "{text:?}");
    }
}
