//! Serving a client from a recording.

use vgpu_link::{Bulk, LinkError, Receiver};

use super::replies::Replies;
use crate::error::DaemonError;
use crate::log;
use crate::recording::Player;

/// Answers as was recorded until the client goes, or does what was not recorded.
///
/// # Errors
/// [`DaemonError::Replay`] for the first difference, of which the client is told. The inner result
/// is that of the connection, as of a session.
pub(super) fn serve(
    mut receiver: Box<dyn Receiver>,
    replies: &Replies,
    mut player: Player,
    session: u64,
) -> Result<Result<(), LinkError>, DaemonError> {
    let (mut payload, mut bulk) = (Vec::new(), Vec::new());
    loop {
        let header = match receiver.receive(&mut payload, Bulk::Grow(&mut bulk)) {
            Ok(header) => header,
            Err(error) => {
                let (came, all) = player.progress();
                log::event("played", &[("session", &session), ("came", &came), ("of", &all)]);
                return Ok(Err(error));
            }
        };
        if let Err(source) = player.hear(&header, &payload, &bulk) {
            let expected = "what was recorded: see the log of vgpud --device replay";
            replies.part(&LinkError::Unexpected { opcode: header.opcode, expected });
            return Err(DaemonError::Replay { session, source });
        }
        for answer in player.due() {
            let sent =
                replies.send(&answer.header, answer.header.status, &answer.payload, &answer.bulk);
            if let Err(error) = sent {
                return Ok(Err(error));
            }
        }
    }
}
