//! What the tests of the whole share.

pub mod stand_in;
pub mod system;
