//! Stand-ins for `ollama` and its `llama-server`, for a machine that has no Ollama.
//!
//! Ollama's release cannot be had here, its CUDA backend can. So the backend in these tests is the
//! published one, loaded by its own loader, and so is the llama.cpp that computes a model. What is
//! imitated is only how Ollama (0.30 and later; [`runner`]: 0.12.4 to 0.24) starts them: which
//! child with which environment, what it reads from it, how it reports the device, and what it does
//! when a child with a model ends ([`schedule`]). Nothing of this knows of our libraries.

pub mod discover;
pub mod driver;
pub mod ggml;
pub mod http;
pub mod llama;
pub mod model;
pub mod runner;
pub mod schedule;
pub mod serve;
pub mod talk;
