//! What clients of the network are shown, and which clients those are.

use std::time::{Duration, Instant, SystemTime};

use vgpu_link::Peer;
use vgpu_link::tls::{Credentials, Files};

use crate::desk::Way;
use crate::error::DaemonError;
use crate::log;

/// How long before its end a certificate is told of: 30 days.
const NOTICE: Duration = Duration::from_secs(30 * DAY.as_secs());

/// How often it is told of.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Credentials for clients of the network; none where nobody listens for such.
#[derive(Debug, Default)]
pub(super) struct Network(Option<Shown>);

/// What is shown.
#[derive(Debug)]
struct Shown {
    credentials: Box<Credentials>,
    /// Until when the certificate is valid, in seconds since 1970, if it ends.
    until: Option<u64>,
    /// When its date is looked at next.
    due: Instant,
}

impl Network {
    /// Reads and checks the files of `[tls]`. A certificate that is out of date is taken all the
    /// same: the other links need none, and a guest that is shown it says what is wrong.
    ///
    /// # Errors
    /// [`DaemonError::Link`] that names the file and what is wrong with it.
    pub fn open(files: &Files) -> Result<Self, DaemonError> {
        let credentials = Credentials::read(files)?;
        credentials.check_host()?;
        let (until, due) = (credentials.not_after(), Instant::now());
        Ok(Self(Some(Shown { credentials: Box::new(credentials), until, due })))
    }

    /// Says how a client is to be spoken with.
    pub fn way(&self, peer: &Peer) -> Way {
        match (peer, &self.0) {
            (Peer::Address(_), Some(shown)) => Way::Tls(shown.credentials.clone()),
            // Without credentials nobody listens for clients of the network.
            _ => Way::Plain,
        }
    }

    /// Says until when the certificate is valid, in seconds since 1970.
    pub fn until(&self) -> Option<u64> {
        self.0.as_ref()?.until
    }

    /// When the date of the certificate is looked at next.
    pub fn due(&self) -> Option<Instant> {
        self.0.as_ref().map(|shown| shown.due)
    }

    /// Tells, once a day, of a certificate that is out of date or soon will be.
    pub fn look(&mut self) {
        let Some(shown) = self.0.as_mut().filter(|shown| shown.due <= Instant::now()) else {
            return;
        };
        shown.due = Instant::now() + DAY;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let left = shown.until.map(|until| until.saturating_sub(now.as_secs()));
        if let Err(error) = shown.credentials.check_date() {
            let (because, hint) = (log::chain(&error), error.hint().unwrap_or_default());
            log::event("certificate-not-valid", &[("because", &because), ("try", &hint)]);
        } else if let Some(left) = left.filter(|left| *left < NOTICE.as_secs()) {
            let path = shown.credentials.certificate.path.display();
            let (days, hint) = (left / DAY.as_secs(), "vgpud ca issue --host, and a reload");
            let fields: [(&str, &dyn std::fmt::Display); 3] =
                [("certificate", &path), ("days", &days), ("try", &hint)];
            log::event("certificate-ends", &fields);
        }
    }
}
