//! Copies from and to pinned memory that the host sees, too: nothing of it travels, a message says
//! where it lies (`SpanCopy`). The device reads it when its stream comes to the copy, and a graph
//! at each launch.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::{CUmemorytype, CUstream, Error};
use vgpu_guest::shared::SharedPages;
use vgpu_guest::wire::cuda::{
    CtxSynchronize, NodeCopy, NodeCopyEnd, SpanCopy, SpanCopyAsync, SpanPin, SpanUnpin,
};
use vgpu_guest::{Failure, current, session};

use crate::volume::{Layout, Shape};
use crate::{captures, contexts, pinned, remote};

/// Pages that were freed while something was captured, with the contexts that may still use them:
/// a context is not waited for then.
static FREED: Mutex<Vec<(SharedPages, BTreeSet<u64>)>> = Mutex::new(Vec::new());

fn freed() -> MutexGuard<'static, Vec<(SharedPages, BTreeSet<u64>)>> {
    // Entries go in and out whole, so a panic elsewhere leaves no half of one.
    FREED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes pages that the host sees, too, for pinned memory; `None` where there are none, or the
/// host has no use for them: then it is memory of this process alone.
///
/// # Errors
/// Those of a lost connection.
pub(crate) fn take(bytes: usize) -> Result<Option<SharedPages>, Error> {
    give_freed()?;
    let Some(shared) = session::shared()? else { return Ok(None) };
    let Some(pages) = shared.take(bytes as u64) else { return Ok(None) };
    match session::call(&SpanPin { offset: pages.offset(), bytes: pages.bytes() }) {
        Ok(()) => Ok(Some(pages)),
        Err(Failure::Refused { .. }) => Ok(None),
        Err(lost) => Err(lost.into()),
    }
}

/// Gives pages back when nothing of `users`, contexts, reads or writes them any more.
///
/// # Errors
/// Those of earlier work of these contexts, of which this may be the first to hear; the pages are
/// given back all the same, unless their context is broken.
pub(crate) fn give(pages: SharedPages, users: BTreeSet<u64>) -> Result<(), Error> {
    if captures::any() {
        freed().push((pages, users));
        return Ok(());
    }
    let earlier = users.into_iter().map(wait_for).fold(Ok(()), Result::and);
    match session::call(&SpanUnpin { offset: pages.offset(), bytes: pages.bytes() }) {
        Ok(()) => pages.discard(),
        Err(failure) => {
            // The device may keep what is there: nobody else gets it.
            std::mem::forget(pages);
            return earlier.and(Err(failure.into()));
        }
    }
    earlier
}

fn give_freed() -> Result<(), Error> {
    if captures::any() {
        return Ok(());
    }
    let all = std::mem::take(&mut *freed());
    all.into_iter().map(|(pages, users)| give(pages, users)).fold(Ok(()), Result::and)
}

/// Waits for what a context does; one that has ended does nothing.
fn wait_for(context: u64) -> Result<(), Error> {
    if contexts::find(context).is_err() {
        return Ok(());
    }
    if !current::push(context) {
        return Err(Error::OUT_OF_MEMORY);
    }
    let waited = session::call_and_collect(&CtxSynchronize {});
    current::pop();
    Ok(waited?)
}

/// Which way a copy goes.
pub(crate) use crate::borrowed::Way;

/// A copy between some bytes of the program and a device, if the host sees them, too; work of the
/// current context is about to do it.
pub(crate) fn line(
    way: Way,
    address: u64,
    device: u64,
    bytes: usize,
) -> Result<Option<NodeCopy>, Error> {
    let (context, _) = contexts::current()?;
    let bytes = bytes as u64;
    if bytes == 0 {
        return Ok(None);
    }
    let Some(offset) = pinned::lend(address, bytes, context) else { return Ok(None) };
    let line = Layout { x: 0, y: 0, z: 0, pitch: 0, height: 0 };
    let span = line.end(CUmemorytype::HOST, offset);
    let (from, to) = way.order(span, line.end(CUmemorytype::DEVICE, device));
    Ok(Some(NodeCopy { from, to, width_bytes: bytes, height: 1, depth: 1 }))
}

/// One end of a copy in rows: memory of the program that begins at `base`, if the host sees all of
/// it, too; work of the current context is about to use it.
pub(crate) fn end(base: u64, layout: &Layout, shape: &Shape) -> Result<Option<NodeCopyEnd>, Error> {
    let (context, _) = contexts::current()?;
    let before = layout.place([0; 3])? as u64;
    let Some(first) = base.checked_add(before) else { return Ok(None) };
    let Some(offset) = pinned::lend(first, layout.extent(shape)? as u64, context) else {
        return Ok(None);
    };
    // A layout may begin before the area does.
    let Some(address) = offset.checked_sub(before) else { return Ok(None) };
    Ok(Some(layout.end(CUmemorytype::HOST, address)))
}

/// Does a copy: at once, or behind what a stream does already.
pub(crate) fn copy(copy: NodeCopy, stream: Option<CUstream>) -> Result<(), Error> {
    match stream {
        Some(stream) => remote::post_to(stream, &SpanCopyAsync { copy, stream: stream.0 }),
        None => remote::call(&SpanCopy { copy }),
    }
}

/// The program's address of an end that lies in memory which the host sees, too.
pub(crate) fn address(end: &NodeCopyEnd) -> Option<usize> {
    if CUmemorytype(end.kind) != CUmemorytype::HOST {
        return None;
    }
    let shared = session::shared().ok().flatten()?;
    Some(shared.address(end.address)?.expose_provenance())
}
