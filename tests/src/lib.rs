//! What the tests of the whole share: where the built files are, a host daemon for one test,
//! environments for clients, bounded runs of programs, the container of the system test, and a
//! virtual machine.

pub mod bench;
pub mod cable;
pub mod chapter;
pub mod client;
pub mod cu;
pub mod gpu;
pub mod host;
pub mod isolation;
pub mod model;
pub mod profile;
pub mod schema;
pub mod stage;
pub mod stand_in;
pub mod system;
pub mod toolkit;
pub mod vm;

pub use host::Vgpud;
pub use stage::Stage;
pub use system::{Finished, run};
pub use toolkit::Major;
