//! The specifiers of systemd.unit(5) that the unit's name and its manager decide.

use super::manager::Account;

/// Replaces a text's specifiers. None if one of them is decided by the running machine.
pub(super) fn resolved(text: &str, unit: &str, account: Option<&Account>) -> Option<String> {
    let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    let last = |text: &str| text.rsplit('-').next().unwrap_or_default().to_owned();
    let home = |below: &str| account.map(|account| account.home.join(below).display().to_string());
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let Some(letter) = letters.next() else {
            out.push('%');
            break;
        };
        out.push_str(&match letter {
            '%' => "%".to_owned(),
            'n' => unit.to_owned(),
            'N' => stem.to_owned(),
            'p' => prefix.to_owned(),
            'i' => instance.to_owned(),
            'j' => last(prefix),
            'E' => home(".config").unwrap_or_else(|| "/etc".into()),
            'S' => home(".local/state").unwrap_or_else(|| "/var/lib".into()),
            'C' => home(".cache").unwrap_or_else(|| "/var/cache".into()),
            't' => account.map_or("/run".into(), |account| format!("/run/user/{}", account.uid)),
            'h' => home("").map_or("/root".into(), |home| home.trim_end_matches('/').to_owned()),
            'u' => account.map_or("root".into(), |account| account.name.clone()),
            'U' => account.map_or("0".into(), |account| account.uid.to_string()),
            _ => return None,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_directories_are_filled_in() {
        let system = |text| resolved(text, "a-b@x.service", None);
        assert_eq!(system("%E/%p/%i-%n%%").as_deref(), Some("/etc/a-b/x-a-b@x.service%"));
        assert_eq!(system("%h %t %u %j").as_deref(), Some("/root /run root b"));
        assert_eq!(system("/etc/%H"), None);
        let account = Account { name: "ann".into(), uid: 1000, home: "/srv/ann".into() };
        let user = resolved("%h/.x %E %t", "o.service", Some(&account));
        assert_eq!(user.as_deref(), Some("/srv/ann/.x /srv/ann/.config /run/user/1000"));
    }
}
