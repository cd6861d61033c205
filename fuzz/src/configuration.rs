//! What people write: host.toml, guest.toml, VGPU_LINK.

use std::error::Error;

use vgpu_link::Uri;
use vgpu_link::config::ConfigError;

/// Joins an error and its causes, as a person reads them.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

/// Says whether a place is named. Where keys are nested 80 deep the parser names none.
fn is_placed(told: &str) -> bool {
    told.contains("line ") || told.contains("recursion limit")
}

/// The first line is `VGPU_LINK`, the rest guest.toml. Whatever is wrong is named by its place.
pub fn guest(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (variable, file) = text.split_once('\n').unwrap_or((text, ""));
    match vgpu_link::config::fuzzing(variable, file) {
        Ok(choice) => {
            assert!(!choice.links.is_empty() && !choice.origin.is_empty());
            for link in &choice.links {
                uri(link);
            }
        }
        Err(error @ ConfigError::Parse { .. }) => {
            let told = told(&error);
            assert!(told.contains("guest.toml") && is_placed(&told), "{told}");
        }
        Err(other) => panic!("{other}"),
    }
}

/// What is read as an address is written as one that means the same; what is not is shown.
fn uri(text: &str) {
    match text.parse::<Uri>() {
        Ok(uri) => assert_eq!(uri.to_string().parse::<Uri>().expect("what we write"), uri),
        Err(error) => {
            assert!(error.to_string().contains(text) && error.hint().is_some(), "{error}");
        }
    }
}

/// All of it is host.toml. Whatever is wrong is named by the file and a line or a key.
pub fn host(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Err((error, hint)) = vgpud::fuzzing::configuration(text) else { return };
    let told = told(&*error);
    assert!(!hint.is_empty(), "{told}");
    const KEYS: [&str; 13] = [
        "tenant",
        "machine",
        "pinned_mib",
        "listen",
        "mode",
        "group",
        "clients_max",
        "drain_seconds",
        "metrics",
        "sim_gpus",
        "sim_driver",
        "images_mib",
        "device",
    ];
    assert!(is_placed(&told) || KEYS.iter().any(|key| told.contains(key)), "{told}");
}
