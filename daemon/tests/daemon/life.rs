//! How the daemon starts, ends, and loses workers.
