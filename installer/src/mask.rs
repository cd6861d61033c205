//! Takes secrets, addresses and names of people out of a document that somebody will publish.
//!
//! What is replaced gets a number, the same for the same text, so that a reader can still see what
//! equals what. Kept are paths, versions, build ids, UUIDs of GPUs, loopback addresses, and the
//! values of the variables that decide about CUDA ([`FAMILIES`]); of any other variable the name
//! alone is told, for nobody can know what its value means.

mod shapes;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use regex_lite::Regex;
use serde_json::Value;

use shapes::{Place, Shapes};

/// Beginnings of the names of variables whose values are shown, unless the name says secret.
const FAMILIES: [&str; 16] = [
    "LD_", "CUDA_", "OLLAMA_", "GGML_", "VGPU_", "NVIDIA_", "LLAMA_", "GODEBUG", "PATH", "HOME",
    "LANG", "LC_", "TZ", "ROCR_", "HIP_", "GPU_",
];
/// Names that machines and accounts have by default: hiding them hides the report itself.
const PLAIN: [&str; 19] = [
    "localhost",
    "ollama",
    "vgpu",
    "vgpud",
    "root",
    "debian",
    "ubuntu",
    "fedora",
    "arch",
    "alpine",
    "host",
    "guest",
    "linux",
    "server",
    "user",
    "default",
    "secret",
    "value",
    "address",
];
/// Hosts on the network that everybody's Ollama speaks to.
const PUBLIC: [&str; 5] =
    ["ollama.com", "registry.ollama.ai", "ollama.ai", "github.com", "huggingface.co"];
/// Suffixes of systemd's units, which look like addresses of mail: `ollama@gpu.service`.
const UNITS: [&str; 9] =
    ["service", "socket", "timer", "target", "mount", "path", "slice", "scope", "device"];
/// Shortest name of a machine or account that is looked for: a shorter one is in every word.
const NAME_CHARS_MIN: usize = 3;

/// What is replaced, and what it was replaced by so far.
pub struct Mask {
    shapes: Rc<Shapes>,
    names: Vec<(Regex, &'static str)>,
    known: BTreeMap<(&'static str, String), usize>,
    count: usize,
}

impl Mask {
    /// A mask that hides these names of machines and accounts wherever they stand.
    #[must_use]
    pub fn new(machines: &[String], accounts: &[String]) -> Self {
        let mut names = Vec::new();
        for (kind, list) in [("host", machines), ("user", accounts)] {
            // The longest first: a short name is a part of the full one.
            let mut list: Vec<&String> = list.iter().filter(|name| is_telling(name)).collect();
            list.sort_by_key(|name| std::cmp::Reverse(name.len()));
            list.dedup();
            for name in list {
                let pattern = format!(r"(?i)\b{}\b", regex_lite::escape(name));
                names.extend(Regex::new(&pattern).map(|found| (found, kind)));
            }
        }
        Self { shapes: Rc::new(Shapes::new()), names, known: BTreeMap::new(), count: 0 }
    }

    /// How many places were replaced so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Masks every text of a document: values, names of members, and paths in hexadecimal.
    pub fn document(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.document(item)),
            Value::Object(members) => {
                if let Some(masked) = self.path_in_hex(members) {
                    *value = Value::String(masked);
                    return;
                }
                self.variable(members);
                let taken = std::mem::take(members);
                for (name, mut item) in taken {
                    let secret = self.is_secret(&name);
                    if let (true, Value::String(text)) = (secret, &item) {
                        item = Value::String(self.replacement("secret", text));
                    }
                    self.document(&mut item);
                    members.insert(self.text(&name), item);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// A path that is no text is written in hexadecimal, where no shape would be seen.
    fn path_in_hex(&mut self, members: &serde_json::Map<String, Value>) -> Option<String> {
        let hex = members.get("hex").filter(|_| members.len() == 1)?.as_str()?;
        let bytes = crate::location::unhex(hex)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let masked = self.text(&text);
        (masked != text).then_some(masked)
    }

    /// A variable of the facts: its value is shown if its family is known and no secret.
    fn variable(&mut self, members: &mut serde_json::Map<String, Value>) {
        let Some(Value::String(name)) = members.get("name") else { return };
        let name = name.clone();
        if !members.contains_key("set_by") {
            return;
        }
        if let Some(Value::String(value)) = members.get("value") {
            let shown = self.value(&name, value);
            members.insert("value".into(), Value::String(shown));
        }
    }

    fn is_secret(&self, name: &str) -> bool {
        // Whether `name=x` would be replaced in a text is what decides here, too.
        self.shapes.said.is_match(&format!("{name}=x"))
    }

    /// The value of a variable as it may be shown.
    fn value(&mut self, name: &str, value: &str) -> String {
        if value.is_empty() {
            String::new()
        } else if self.is_secret(name) {
            self.replacement("secret", value)
        } else if is_setting(name) || FAMILIES.iter().any(|family| name.starts_with(family)) {
            value.to_owned()
        } else {
            self.replacement("value", value)
        }
    }

    /// The placeholder of a text, the same for the same one.
    fn replacement(&mut self, kind: &'static str, text: &str) -> String {
        if text.starts_with('<') && text.ends_with('>') {
            return text.to_owned();
        }
        self.count += 1;
        let next = self.known.keys().filter(|(known, _)| *known == kind).count() + 1;
        let number = self.known.entry((kind, text.to_owned())).or_insert(next);
        format!("<{kind}-{number}>")
    }

    /// Masks one text.
    pub fn text(&mut self, text: &str) -> String {
        let shapes = Rc::clone(&self.shapes);
        let mut text = text.to_owned();
        let mut take = |shape: &Regex, with: &dyn Fn(&mut Self, &Place<'_, '_>) -> String| {
            text = self.replaced(shape, &text, with);
        };
        take(&shapes.pem, &|mask, place| mask.replacement("secret", place.whole()));
        take(&shapes.login, &|mask, place| {
            format!("{}{}@", place.part(1), mask.replacement("secret", place.whole()))
        });
        take(&shapes.double_quoted, &|mask, place| {
            format!("\"{}={}\"", place.part(1), mask.value(place.part(1), place.part(2)))
        });
        take(&shapes.single_quoted, &|mask, place| {
            format!("'{}={}'", place.part(1), mask.value(place.part(1), place.part(2)))
        });
        take(&shapes.assigned, &|mask, place| {
            format!("{}={}", place.part(1), mask.value(place.part(1), place.part(2)))
        });
        take(&shapes.said, &|mask, place| mask.said(place));
        take(&shapes.bearer, &|mask, place| {
            format!("{} {}", place.part(1), mask.replacement("secret", place.part(2)))
        });
        for shape in [&shapes.issued, &shapes.key] {
            take(shape, &|mask, place| mask.replacement("secret", place.whole()));
        }
        take(&shapes.mail, &|mask, place| mask.mail(place.whole()));
        take(&shapes.hardware, &|mask, place| mask.replacement("address", place.whole()));
        take(&shapes.four, &|mask, place| mask.four(place));
        take(&shapes.six, &|mask, place| mask.six(place));
        take(&shapes.url, &|mask, place| {
            format!("{}{}", place.part(1), mask.machine(place.part(2)))
        });
        take(&shapes.home, &|mask, place| {
            format!("{}/{}", place.part(1), mask.account(place.part(2)))
        });
        self.named(text)
    }

    fn named(&mut self, mut text: String) -> String {
        for (shape, kind) in std::mem::take(&mut self.names) {
            text = self.replaced(&shape, &text, &|mask, place| {
                mask.replacement(kind, &place.whole().to_lowercase())
            });
            self.names.push((shape, kind));
        }
        text
    }

    fn replaced(
        &mut self,
        shape: &Regex,
        text: &str,
        with: &dyn Fn(&mut Self, &Place<'_, '_>) -> String,
    ) -> String {
        let (mut masked, mut end) = (String::new(), 0);
        for captures in shape.captures_iter(text) {
            let Some(found) = captures.get(0) else { continue };
            let place = Place { captures, text };
            masked.push_str(&text[end..found.start()]);
            masked.push_str(&with(self, &place));
            end = found.end();
        }
        masked.push_str(&text[end..]);
        masked
    }

    /// `name: value` of anything that is called a secret. Counts of tokens are none.
    fn said(&mut self, place: &Place<'_, '_>) -> String {
        let (name, between, value) = (place.part(1), place.part(2), place.part(3));
        let is_count = name.to_ascii_lowercase().contains("token")
            && value.chars().all(|digit| digit.is_ascii_digit() || ".-/".contains(digit));
        if is_count {
            return place.whole().to_owned();
        }
        format!("{name}{between}{}", self.replacement("secret", value))
    }

    fn mail(&mut self, text: &str) -> String {
        let suffix = text.rsplit('.').next().unwrap_or_default();
        if UNITS.contains(&suffix) { text.to_owned() } else { self.replacement("address", text) }
    }

    fn four(&mut self, place: &Place<'_, '_>) -> String {
        // The version in a library's file name has four numbers, too.
        let is_version = place.before().ends_with(".so.");
        match place.whole().parse::<Ipv4Addr>() {
            Ok(address) if !is_version => self.address(address.into(), place.whole()),
            _ => place.whole().to_owned(),
        }
    }

    fn six(&mut self, place: &Place<'_, '_>) -> String {
        let whole = place.whole();
        let in_word = |character: Option<char>| {
            character.is_some_and(|one| one.is_ascii_alphanumeric() || one == '_')
        };
        if in_word(place.before().chars().next_back()) || in_word(place.after().chars().next()) {
            return whole.to_owned();
        }
        let bare = if whole.ends_with("::") { whole } else { whole.trim_end_matches(['.', ':']) };
        match bare.parse::<Ipv6Addr>() {
            Ok(address) => {
                format!("{}{}", self.address(address.into(), bare), &whole[bare.len()..])
            }
            Err(_) => whole.to_owned(),
        }
    }

    fn address(&mut self, address: IpAddr, text: &str) -> String {
        if address.is_loopback() || address.is_unspecified() {
            return text.to_owned();
        }
        self.replacement("address", text)
    }

    fn machine(&mut self, name: &str) -> String {
        if PUBLIC.contains(&name) || PLAIN.contains(&name) {
            return name.to_owned();
        }
        self.replacement("host", &name.to_lowercase())
    }

    fn account(&mut self, name: &str) -> String {
        if PLAIN.contains(&name) {
            name.to_owned()
        } else {
            self.replacement("user", &name.to_lowercase())
        }
    }
}

/// True if hiding the name tells less than it hides.
fn is_telling(name: &str) -> bool {
    name.chars().count() >= NAME_CHARS_MIN && !PLAIN.contains(&name.to_lowercase().as_str())
}

/// True if this is a setting of systemd's units, such as `PrivateDevices`, and no variable.
fn is_setting(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_uppercase())
        && characters.next().is_some_and(|second| second.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        Mask::new(&["gpu-box.example.net".into(), "gpu-box".into()], &["alice".into()]).text(text)
    }

    #[test]
    fn what_is_secret_goes_and_its_place_stays() {
        for (text, shown) in [
            ("HF_TOKEN=x9y", "HF_TOKEN=<secret-1>"),
            (
                "\"API_KEY=a b c\" \"LD_PRELOAD=/x.so\"",
                "\"API_KEY=<secret-1>\" \"LD_PRELOAD=/x.so\"",
            ),
            (
                "Environment=DB='p q' OLLAMA_HOST=0.0.0.0",
                "Environment=DB=<value-1> OLLAMA_HOST=0.0.0.0",
            ),
            ("password: hunter2, then", "password: <secret-1>, then"),
            ("Authorization: Bearer abc.def", "Authorization: <secret-1>"),
            ("got bearer 0123456789", "got bearer <secret-1>"),
            ("see https://bob:pw@mirror.example/x", "see https://<secret-1>@<host-1>/x"),
            ("key ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI", "key ssh-ed25519 <secret-1>"),
            (
                "-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\nrest",
                "<secret-1>\nrest",
            ),
        ] {
            assert_eq!(masked(text), shown);
        }
    }

    #[test]
    fn addresses_and_names_go() {
        for (text, shown) in [
            ("from 192.168.7.9:80 and 192.168.7.9", "from <address-1>:80 and <address-1>"),
            ("[fd00::12]:6475 52:54:00:12:34:56", "[<address-2>]:6475 <address-1>"),
            ("at fe80::1: gone", "at <address-1>: gone"),
            ("tls:gpu-host:6475", "tls:<host-1>:6475"),
            ("mail bob@example.org", "mail <address-1>"),
            ("GPU-BOX.example.net and gpu-box", "<host-1> and <host-2>"),
            ("Alice in /var/home\u{2f}Alice/x", "<user-1> in /var/home\u{2f}<user-1>/x"),
        ] {
            assert_eq!(masked(text), shown);
        }
    }

    #[test]
    fn what_explains_a_fault_stays() {
        for text in [
            "libcublas.so.12.8.4.1 580.95.05 0000:01:00.0 00000000:01:00.0",
            "GPU-76677075-2d73-8d69-9d2d-683130300000 sha256=9f86d081884c7d65",
            "listening on 127.0.0.1:11434 and [::1]:11434, 12:34:56",
            "n_tokens = 512, max token length: 48, ollama@gpu.service",
            "LD_LIBRARY_PATH=/usr/lib/x CUDA_VISIBLE_DEVICES=0 library=CUDA std::fs",
            "https://registry.ollama.ai/v2 PrivateDevices=yes",
        ] {
            assert_eq!(masked(text), text);
        }
    }

    #[test]
    fn a_path_in_hex_hides_no_name() {
        let hex = crate::location::hex(b"/home\x2falice/\xff");
        let mut value = serde_json::json!({ "path": { "hex": hex }, "kept": { "hex": "2fff" } });
        Mask::new(&[], &["alice".into()]).document(&mut value);
        assert_eq!(value["path"], "/home\u{2f}<user-1>/\u{fffd}");
        assert_eq!(value["kept"]["hex"], "2fff");
    }

    fn variable(name: &str, value: &str) -> Value {
        serde_json::json!({ "name": name, "value": value, "set_by": "/etc/x" })
    }

    #[test]
    fn a_variable_of_the_facts_shows_its_value_only_if_it_decides_about_cuda() {
        let mut facts = serde_json::json!([
            variable("LD_LIBRARY_PATH", "/a"),
            variable("COLOUR_999", "blue"),
            variable("OLLAMA_API_KEY", "k"),
            variable("PrivateDevices", "yes"),
        ]);
        Mask::new(&[], &[]).document(&mut facts);
        let values: Vec<_> = facts.as_array().unwrap().iter().map(|one| &one["value"]).collect();
        assert_eq!(values, ["/a", "<value-1>", "<secret-1>", "yes"]);
    }
}
