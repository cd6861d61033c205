//! The system test's own room: a Debian container with systemd as PID 1, Ollama's layout in it,
//! and the story that the test and `cargo xtask demo` both tell.
//!
//! Nothing here knows what the shims do; it installs them as a user would and looks from outside.

mod asking;
mod bounded;
mod container;
mod demo;
mod driver;
mod error;
mod group;
mod guest;
mod layout;
mod machine;
mod root;
mod rpm;
mod setting;
mod speech;
mod story;
mod tree;

pub use asking::{Asked, MODELS};
pub use bounded::{Finished, run};
pub(crate) use bounded::{appeared, wait};
pub use container::{Bind, Container};
pub use demo::demo;
pub use driver::{Driver, repack};
pub(crate) use error::at;
pub use error::{Error, Result};
pub use guest::{ALWAYS, APT, Discovery, Files, Guest};
pub use layout::{GGML, Layout, Parts};
pub use machine::Machine;
pub use root::{ROOT_PACKAGES, Release, tarball};
pub use rpm::{Rpm, verified};
pub use setting::Setting;
pub use speech::{Speaker, Speech, Speeches};
pub use story::{Plot, Story, story};
pub use tree::{Change, Except, Tree};
