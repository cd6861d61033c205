//! What the command line and the file say, together and against each other.

use clap::Parser;

use super::*;

fn load(arguments: &[&str], file: &str) -> Result<Config, DaemonError> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("host.toml");
    std::fs::write(&path, file).expect("written");
    let path = path.to_str().expect("UTF-8");
    let all = [&["vgpud", "--config", path], arguments].concat();
    Config::load(&Arguments::try_parse_from(all).expect("right usage"))
}

#[test]
fn the_command_line_wins_over_the_file() {
    let file = "device = \"nvidia\"\nlisten = [\"unix:/a\"]\nmode = \"600\"\nsim_gpus = 3\n";
    let config = load(&["--device", "sim", "--listen", "unix:/b"], file).expect("right");
    assert_eq!(config.listen, [Uri::Unix("/b".into())]);
    assert_eq!(config.access, Access { mode: 0o600, group: None });
    let older = load(&["--sim-driver", "12.8"], "device = \"sim\"").expect("right").device;
    assert_eq!(older, Source::Sim { gpus: 1, driver: Some(12080) });
    assert_eq!((config.device, config.clients_max), (Source::Sim { gpus: 3, driver: None }, 64));
}

#[test]
fn wrong_settings_are_refused_with_a_hint() {
    for (arguments, file) in [
        (&["--device", "nvidia", "--driver-dir", "/nonexistent"][..], ""),
        (&["--device", "nvidia"], "driver_dir = \"/nonexistent\""),
        (&["--device", "voodoo"], ""),
        (&["--driver-dir", "/nonexistent"], ""),
        (&["--device", "sim", "--listen", "udp:1"], ""),
        (&["--device", "sim", "--mode", "rw"], ""),
        (&["--device", "sim", "--mode", "1777"], ""),
        (&["--device", "sim", "--sim-gpus", "0"], ""),
        (&["--device", "sim", "--sim-gpus", "65"], ""),
        (&["--device", "sim", "--clients-max", "0"], ""),
        (&["--device", "sim", "--drain-seconds", "3601"], ""),
        (&["--device", "sim", "--metrics", "9475"], ""),
        (&["--device", "sim"], "metrics = \"localhost:9475\""),
        (&["--device", "sim", "--sim-driver", "12"], ""),
        (&["--device", "sim", "--sim-driver", "12.8.1"], ""),
        (&["--device", "sim"], "sim_driver = \"0.8\""),
        (&["--device", "sim", "--images-mib", "0"], ""),
        (&["--device", "sim"], "images_mib = 2000000"),
        (&["--device", "sim", "--pinned-mib", "262145"], ""),
        (&["--device", "sim", "--group", "no-such-group"], ""),
        (&["--device", "sim"], "listens = []"),
        (&["--device", "sim"], "mode = 660"),
        (&["--device", "sim"], "[tls]\nca = \"/a\""),
        (&["--config", "/nonexistent/host.toml"], ""),
    ] {
        let error = match arguments {
            ["--config", _] => {
                let all = [&["vgpud"], arguments].concat();
                Config::load(&Arguments::try_parse_from(all).expect("right usage"))
            }
            _ => load(arguments, file),
        }
        .expect_err(&format!("{arguments:?} {file}"));
        assert!(error.hint().is_some(), "{error}");
    }
}

#[test]
fn images_are_kept_where_the_command_line_or_the_file_says() {
    let named = load(&["--device", "sim", "--images", "/b"], "images = \"/a\"").expect("right");
    assert_eq!(named.images, Place { directory: Some("/b".into()), bytes_max: 4 << 30 });
    let small = load(&["--device", "sim"], "images = \"/a\"\nimages_mib = 2").expect("right");
    assert_eq!(small.images, Place { directory: Some("/a".into()), bytes_max: 2 << 20 });
}

#[test]
fn pinned_memory_has_room_for_what_the_command_line_or_the_file_says() {
    let bytes = |arguments: &[&str], file| {
        load(&[&["--device", "sim"], arguments].concat(), file).expect("right").pinned_bytes
    };
    assert_eq!(bytes(&[], ""), 16 << 30);
    assert_eq!(bytes(&[], "pinned_mib = 3"), 3 << 20);
    assert_eq!(bytes(&["--pinned-mib", "0"], "pinned_mib = 3"), 0);
}

#[test]
fn the_files_of_tls_are_those_that_the_file_names_or_the_usual_ones() {
    let tls = load(&["--device", "sim"], "[tls]\nclients_ca = \"/a\"").expect("right").tls;
    let usual = Path::new("/etc/vgpu/tls");
    let (certificate, key) = (usual.join("host.pem"), usual.join("host.key"));
    assert_eq!(tls, Files { ca: "/a".into(), certificate, key });
}

#[test]
fn a_group_is_found_by_name_and_by_number() {
    assert_eq!(find_group("root").expect("every system has it"), 0);
    assert_eq!(find_group("4711").expect("a number"), 4711);
}

/// Found by the fuzzer: the message named the address, and neither the file nor the key.
#[test]
fn an_address_that_is_none_is_named_with_its_key_and_file() {
    let error = load(&["--device", "sim"], "listen = [\"unix:/a\", \"nix:/a\"]");
    let error = error.expect_err("there is no link of that name");
    let source = std::error::Error::source(&error).expect("the address").to_string();
    let said = error.to_string();
    assert!(said.contains("listen") && said.contains("host.toml"), "{said}");
    assert!(source.contains("nix:/a") && error.hint().is_some(), "{source}");
}

/// What the operator's chapter writes for virtual machines, which no test's host listens at.
#[test]
fn the_operators_chapter_names_addresses_that_are_right() {
    let chapter = include_str!("../../../docs/operate.md");
    let line = chapter.lines().find(|line| line.contains("\"vsock:")).expect("it has one");
    let config = load(&["--device", "sim"], line.trim()).expect("right");
    let any = Uri::Vsock { cid: u32::MAX, port: 6475 };
    assert_eq!(config.listen, [Config::default_address(), any]);
}
