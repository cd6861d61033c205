//! What the guest keeps of graphs: which executable ones are alive, so that a launch need not
//! wait, and the arguments of kernel nodes that programs asked for and hold pointers to.

use std::collections::{HashMap, HashSet};
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::{CUgraphExec, CUgraphNode, Error};

static EXECS: Mutex<Option<HashSet<u64>>> = Mutex::new(None);
static ARGUMENTS: Mutex<Option<HashMap<u64, Arguments>>> = Mutex::new(None);

/// The arguments of a kernel node, and where each of them lies (`kernelParams`).
#[derive(Debug)]
struct Arguments {
    /// In words, as the arguments' own alignment is at most that of one.
    packed: Box<[u128]>,
    /// Addresses within them.
    places: Box<[usize]>,
}

fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    // Entries go in and out whole, so a panic elsewhere leaves no half of one.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes up an executable graph that the host made.
pub(crate) fn insert_exec(exec: CUgraphExec) {
    lock(&EXECS).get_or_insert_default().insert(exec.0);
}

/// Forgets an executable graph; one that is not alive is INVALID_VALUE.
pub(crate) fn remove_exec(exec: CUgraphExec) -> Result<(), Error> {
    let removed = lock(&EXECS).as_mut().is_some_and(|execs| execs.remove(&exec.0));
    if removed { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

/// Checks that an executable graph is alive.
pub(crate) fn check_exec(exec: CUgraphExec) -> Result<(), Error> {
    let is_alive = lock(&EXECS).as_ref().is_some_and(|execs| execs.contains(&exec.0));
    if is_alive { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

/// Keeps the arguments of a kernel node, and returns the list of their addresses, which is the
/// program's to read until the node is destroyed or changed (CUDA Driver API,
/// `cuGraphKernelNodeGetParams`).
pub(crate) fn keep_arguments(
    node: CUgraphNode,
    arguments: &[u8],
    offsets: impl Iterator<Item = usize>,
) -> *mut *mut c_void {
    let mut packed = vec![0_u128; arguments.len().div_ceil(16)].into_boxed_slice();
    for (word, bytes) in packed.iter_mut().zip(arguments.chunks(16)) {
        let mut whole = [0; 16];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u128::from_ne_bytes(whole);
    }
    let mut kept = lock(&ARGUMENTS);
    let kept = kept.get_or_insert_default();
    // Who asks again must not lose what was answered before.
    if let Some(known) = kept.get_mut(&node.0).filter(|known| known.packed == packed) {
        return known.places.as_mut_ptr().cast();
    }
    let first = packed.as_mut_ptr().expose_provenance();
    let mut places: Box<[usize]> = offsets.map(|offset| first + offset).collect();
    let list = places.as_mut_ptr().cast();
    kept.insert(node.0, Arguments { packed, places });
    list
}

/// Forgets the arguments of a node that is destroyed or changed.
pub(crate) fn forget_arguments(node: CUgraphNode) {
    if let Some(kept) = lock(&ARGUMENTS).as_mut() {
        kept.remove(&node.0);
    }
}

/// Says whether arguments of any node are kept.
pub(crate) fn any_arguments() -> bool {
    lock(&ARGUMENTS).as_ref().is_some_and(|kept| !kept.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_are_asked_for_again_stay_where_they_are() {
        let node = CUgraphNode(77);
        let ask =
            |first: u8| keep_arguments(node, &[first, 2, 3, 4, 5, 6, 7, 8], [0, 4].into_iter());
        let list = ask(1);
        assert_eq!(ask(1), list);
        assert_ne!(ask(9), list, "they are others now");
        assert!(any_arguments());
        forget_arguments(node);
    }
}
