//! Who may take a virtual machine's place at its socket.

use std::collections::HashSet;
use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::process::geteuid;

use crate::{Access, LinkError, unix, vouched};

/// The socket is open to every user. A service may give it neither to another user nor to a group
/// that it is no member of, so its bits could not let the right one in alone: the gate does.
const ACCESS: Access = Access { mode: 0o666, group: None };

/// Most users that are told of; of further ones nothing is said.
const TOLD_MAX: usize = 64;

/// Lets root and one user connect, by what the system says of who connected (SO_PEERCRED of
/// unix(7)). The user of this process is that one only where no other is named: other processes of
/// it serve clients, who may have taken them over.
pub struct Gate {
    user: Option<u32>,
    told: HashSet<u32>,
    refused: Box<dyn FnMut(u32) + Send>,
}

impl Gate {
    /// Lets `user` in besides root. `refused` hears of each other user once.
    pub fn new(user: Option<u32>, refused: impl FnMut(u32) + Send + 'static) -> Self {
        Self { user, told: HashSet::new(), refused: Box::new(refused) }
    }

    /// Says whether who connected may stay. One whom the system does not name may not.
    pub fn admits(&mut self, connection: impl AsFd) -> bool {
        let Ok(vouched::Process { uid, .. }) = vouched::process(connection) else { return false };
        if uid == 0 || uid == self.user.unwrap_or_else(|| geteuid().as_raw()) {
            return true;
        }
        if self.told.len() < TOLD_MAX && self.told.insert(uid) {
            (self.refused)(uid);
        }
        false
    }

    /// Listens at a path that has this gate.
    pub(crate) fn bind(path: &Path) -> Result<(UnixListener, unix::Made), LinkError> {
        unix::bind(path, ACCESS)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("user", &self.user).finish_non_exhaustive()
    }
}
