//! Stand-ins for `ollama` and its `llama-server`, for a machine that has no Ollama.
//!
//! Ollama's release cannot be had here, its CUDA backend can. So the backend in these tests is the
//! published one, loaded by its own loader, and what is imitated is only how Ollama (0.30 and
//! later; [`runner`]: 0.12.4 to 0.24) starts it: which child with which environment, what it reads
//! from it, and how it reports the device. Nothing of this knows of our libraries.

pub mod discover;
pub mod driver;
pub mod ggml;
pub mod runner;
pub mod serve;
