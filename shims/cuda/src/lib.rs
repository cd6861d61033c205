//! `libcuda.so.1`: the CUDA driver API, answered in the guest or by the host.
//!
//! `generated/exports.rs` holds every exported name; `api` holds the bodies of those that need
//! more than a message. A body does not know that it is called from C. What the guest itself
//! keeps stands beside `api`: devices, contexts, handles, captures, code, ranges of device memory,
//! pinned memory, what streams have to do.

mod api;
mod arrays;
mod borrowed;
mod callback;
mod captures;
mod code;
mod contexts;
mod devices;
#[path = "generated/entry_points.rs"]
mod entry_points;
#[path = "generated/exports.rs"]
mod exports;
mod graphs;
mod handles;
mod physical;
mod pinned;
mod ranges;
mod relay;
mod remote;
mod spans;
mod volume;
mod work;
