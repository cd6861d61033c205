//! Memory that guest and host share (the bulk area of docs/ring.md): it is handed out here, in
//! whole pages, and lies where it is as long as anybody holds some of it, whatever becomes of the
//! connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vgpu_link::{Area, Span, Spans};

/// The shared memory of one connection.
#[derive(Debug)]
pub struct Shared {
    area: Area,
    spans: Mutex<Spans>,
}

/// Some pages of it; they go back when this is dropped.
#[derive(Debug)]
pub struct SharedPages {
    shared: Arc<Shared>,
    span: Span,
}

impl Shared {
    /// Begins with all of an area.
    pub(crate) fn new(area: Area) -> Self {
        let spans = Mutex::new(Spans::new(area.bytes()));
        Self { area, spans }
    }

    fn lock(&self) -> MutexGuard<'_, Spans> {
        // A list of spans is replaced in one step, so a panic elsewhere leaves no half of one.
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes pages for `bytes` bytes; `None` if there are not as many in one piece.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Option<SharedPages> {
        let span = self.lock().take(bytes)?;
        Some(SharedPages { shared: Arc::clone(self), span })
    }

    /// The address of a place in it; `None` outside.
    pub fn address(&self, offset: u64) -> Option<*mut u8> {
        self.area.address(offset, 0).ok()
    }
}

impl SharedPages {
    /// Where they begin, as the host names it.
    pub fn offset(&self) -> u64 {
        self.span.offset
    }

    /// Their length: whole pages.
    pub fn bytes(&self) -> u64 {
        self.span.bytes
    }

    /// Where they begin in this process.
    pub fn first(&self) -> *mut u8 {
        let address = self.shared.area.address(self.span.offset, self.span.bytes);
        address.expect("spans are handed out of the area only")
    }

    /// Gives the memory behind them back to the system, before the pages themselves go: they must
    /// not be registered with a device any more, which would go on with what was there.
    pub fn discard(&self) {
        // Where the system cannot, they keep their memory, for whoever takes them next.
        let _ = self.shared.area.discard(self.span.offset, self.span.bytes);
    }
}

impl Drop for SharedPages {
    fn drop(&mut self) {
        let given = self.shared.lock().give(self.span);
        debug_assert!(given.is_ok(), "they were taken once");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn miri_pages_come_out_of_the_area_and_go_back_when_they_are_dropped() {
        let shared = Arc::new(Shared::new(Area::heap(4 << 12)));
        let first = shared.take(5000).expect("there is room");
        let second = shared.take(8192).expect("there is room");
        assert_eq!((first.bytes(), second.offset()), (8192, 8192));
        assert_eq!(second.first().addr() - first.first().addr(), 8192);
        assert_eq!(shared.address(8192), Some(second.first()));
        assert!(shared.take(1).is_none());
        drop(first);
        let again = shared.take(1).expect("it is back");
        assert_eq!(again.offset(), 0);
        drop(shared);
        drop(second);
        assert!(again.first().is_aligned(), "the area stays for who holds some of it");
    }
}
