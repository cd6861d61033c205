//! Which kind of failure an error of a link is.

use std::path::PathBuf;

use super::*;

#[test]
fn what_is_wrong_with_tls_is_told_from_a_host_that_speaks_something_else() {
    let at = || "tls:gpu-host:6475".to_owned();
    let key = || PathBuf::from("/etc/vgpu/tls/guest.key");
    let denied = || io::ErrorKind::PermissionDenied.into();
    let (problem, remedy) = ("it has expired", "Issue a new one.");
    for (error, expected, seen) in [
        (
            LinkError::File { what: "key", path: key(), source: denied() },
            Trouble::Credential,
            Some("/etc/vgpu/tls/guest.key"),
        ),
        (
            LinkError::Credential { what: "key", path: key(), problem, remedy },
            Trouble::Credential,
            Some("/etc/vgpu/tls/guest.key"),
        ),
        (LinkError::Distrust { peer: at(), problem, remedy }, Trouble::Distrust, None),
        (
            LinkError::Connect { uri: at(), source: io::Error::other("no such name") },
            Trouble::Unreachable,
            None,
        ),
        (LinkError::Connect { uri: at(), source: denied() }, Trouble::Denied, None),
        (LinkError::Closed, Trouble::Broken, None),
    ] {
        assert_eq!(trouble(&error), expected, "{error}");
        assert_eq!(file(&error), seen.map(Path::new), "{error}");
    }
}
