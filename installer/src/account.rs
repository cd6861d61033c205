//! The numbers of users and groups, from the account files.

use std::path::Path;

use crate::discover::text;
use crate::discover::units::is_yes;
use crate::error::Result;
use crate::facts::{Manager, Unit};
use crate::host::{Host, User};

/// The user that systemd gives the rights of nobody (systemd.exec(5), `DynamicUser=` aside): on
/// every distribution the highest number of 16 bits but one.
pub const NOBODY: u32 = 65534;

/// Finds a user's number.
///
/// # Errors
/// [`crate::Error::Io`] if the account file cannot be read.
pub fn uid(host: &dyn Host, name: &str) -> Result<Option<u32>> {
    let accounts = text(host, Path::new("/etc/passwd"))?;
    Ok(rows(&accounts).find(|row| row[0] == name).and_then(|row| number(&row, 2)))
}

/// Finds a group's number.
///
/// # Errors
/// [`crate::Error::Io`] if the account file cannot be read.
pub fn gid(host: &dyn Host, name: &str) -> Result<Option<u32>> {
    let groups = text(host, Path::new("/etc/group"))?;
    Ok(rows(&groups).find(|row| row[0] == name).and_then(|row| number(&row, 2)))
}

/// Finds the numbers of the user and groups that a unit's processes have, with `further` groups;
/// none if it runs as root.
///
/// A dynamic user has no number before its unit starts: nobody stands in for it, with the unit's
/// groups. `Err(name)` inside is a user or group that the account files do not name.
///
/// # Errors
/// [`crate::Error::Io`] if the account files cannot be read.
pub fn of(
    host: &dyn Host,
    unit: &Unit,
    further: &[String],
) -> Result<Result<Option<User>, String>> {
    let named = match &unit.manager {
        Manager::User(name) => Some(name.as_str()),
        Manager::System => unit.user.as_deref(),
    };
    let mut settings = unit.settings.iter().filter(|setting| setting.name == "DynamicUser");
    let is_dynamic = settings.any(|setting| is_yes(&setting.value));
    let name = match named.filter(|name| *name != "root" && *name != "0") {
        Some(name) => name,
        None if is_dynamic => "",
        None => return Ok(Ok(None)),
    };
    let accounts = text(host, Path::new("/etc/passwd"))?;
    let groups = text(host, Path::new("/etc/group"))?;
    let account = rows(&accounts).find(|row| row[0] == name || row.get(2) == Some(&name));
    let numbers = account.and_then(|row| Some((number(&row, 2)?, number(&row, 3)?)));
    let numbers = numbers.or(is_dynamic.then_some((NOBODY, NOBODY)));
    let Some((uid, own_gid)) = numbers else { return Ok(Err(name.to_owned())) };
    let gid_of =
        |wanted: &str| rows(&groups).find(|row| row[0] == wanted).and_then(|row| number(&row, 2));
    let gid = match unit.group.as_deref() {
        None => own_gid,
        Some(group) => match group.parse().ok().or_else(|| gid_of(group)) {
            Some(gid) => gid,
            None => return Ok(Err(group.to_owned())),
        },
    };
    let is_member = |row: &Vec<&str>| {
        row.get(3).is_some_and(|members| members.split(',').any(|member| member == name))
    };
    let mut all: Vec<u32> =
        rows(&groups).filter(is_member).filter_map(|row| number(&row, 2)).collect();
    let given = unit.supplementary_groups.iter().chain(further);
    all.extend(given.filter_map(|group| group.parse().ok().or_else(|| gid_of(group))));
    Ok(Ok(Some(User { uid, gid, groups: all })))
}

fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

fn number(row: &[&str], index: usize) -> Option<u32> {
    row.get(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Variable;
    use crate::host::memory::Memory;

    fn machine() -> Memory {
        Memory::described(
            "file /etc/passwd root:x:0:0::/root:/bin/sh\\nollama:x:997:996::/x:/bin/false
             file /etc/group render:x:105:other,ollama\\nvideo:x:44:ollama\\nvgpu:x:900:",
        )
    }

    fn unit(user: &str, group: Option<&str>, further: &[&str]) -> Unit {
        Unit {
            user: Some(user.into()),
            group: group.map(Into::into),
            supplementary_groups: further.iter().map(ToString::to_string).collect(),
            ..Unit::default()
        }
    }

    #[test]
    fn a_services_user_has_the_groups_of_its_account_and_of_its_unit() {
        let found = of(&machine(), &unit("ollama", None, &["vgpu"]), &[]).unwrap().unwrap();
        let groups = vec![105, 44, 900];
        assert_eq!(found, Some(User { uid: 997, gid: 996, groups: groups.clone() }));
        let found =
            of(&machine(), &unit("ollama", Some("video"), &["vgpu"]), &[]).unwrap().unwrap();
        assert_eq!(found, Some(User { uid: 997, gid: 44, groups }));
    }

    #[test]
    fn root_needs_no_change_and_an_unknown_name_is_given_back() {
        assert_eq!(of(&machine(), &Unit::default(), &[]).unwrap(), Ok(None));
        assert_eq!(of(&machine(), &unit("root", None, &[]), &[]).unwrap(), Ok(None));
        assert_eq!(
            of(&machine(), &unit("dynamic", None, &[]), &[]).unwrap(),
            Err("dynamic".into())
        );
        let group = of(&machine(), &unit("ollama", Some("gone"), &[]), &[]).unwrap();
        assert_eq!(group, Err("gone".into()));
    }

    #[test]
    fn a_dynamic_user_is_stood_in_for_and_a_users_unit_runs_as_that_user() {
        let yes = Variable { name: "DynamicUser".into(), value: "yes".into(), set_by: "/x".into() };
        let dynamic = Unit { settings: vec![yes], ..unit("ollama-dyn", None, &["video"]) };
        let found = of(&machine(), &dynamic, &["vgpu".into()]).unwrap().unwrap();
        let groups = vec![44, 900];
        assert_eq!(found, Some(User { uid: NOBODY, gid: NOBODY, groups }));
        let nameless = Unit { user: None, ..dynamic };
        let found = of(&machine(), &nameless, &[]).unwrap().unwrap();
        assert_eq!(found.map(|user| user.uid), Some(NOBODY));
        let users = Unit { manager: Manager::User("ollama".into()), ..Unit::default() };
        let found = of(&machine(), &users, &[]).unwrap().unwrap();
        assert_eq!(found.map(|user| user.uid), Some(997));
    }
}
