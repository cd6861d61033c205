//! cuBLAS over the genuine driver.

use super::Nvidia;
use crate::dispatch::BlasCalls;

impl BlasCalls for Nvidia {}
