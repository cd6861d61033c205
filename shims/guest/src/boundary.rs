//! The one way from C into our code.
//!
//! It does not know what a call means, and a body does not know that it is called from C.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::count::{self, Counter};
use crate::{fork, log};

/// Names the result codes that the shared code answers with, in one library's own numbers.
pub trait Fault: Copy + 'static {
    /// Answers a panic in a body: the library's "unknown" code.
    const UNKNOWN: Self;
    /// Answers an argument that cannot be right: NULL where a place is needed, a negative length.
    const INVALID_VALUE: Self;
    /// Answers a function, or a use of one, that is not implemented.
    const NOT_SUPPORTED: Self;
    /// Answers a text or list that does not fit into the caller's buffer.
    const INSUFFICIENT_SIZE: Self;
    /// Answers every call in a child process that was forked after the connection was made.
    const NOT_INITIALIZED: Self;
    /// Answers the first call when no host can be reached.
    const NO_HOST: Self;
    /// Answers every call after the connection to the host ended.
    const LOST: Self;

    /// Makes the error of a code that the host sent; a code that is none becomes
    /// [`Fault::UNKNOWN`].
    fn from_code(code: u32) -> Self;
}

/// Runs the body of an exported function and answers what C may see of it.
///
/// A panic becomes [`Fault::UNKNOWN`]. A child that was forked after the library connected is
/// answered [`Fault::NOT_INITIALIZED`], as CUDA does: the connection belongs to its parent.
/// Success takes no lock and allocates nothing, the first call of a function aside.
pub fn boundary<E: Fault>(
    counter: &'static Counter,
    body: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    guarded(counter, || if fork::is_forked_child() { Err(E::NOT_INITIALIZED) } else { body() })
        .unwrap_or(Err(E::UNKNOWN))
}

/// Runs the body of an exported function that needs neither host nor initialisation, such as the
/// text of an error: it answers in a forked child too.
pub fn boundary_uninitialised<E: Fault>(
    counter: &'static Counter,
    body: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    guarded(counter, body).unwrap_or(Err(E::UNKNOWN))
}

/// Runs the body of an exported function that answers no result code, such as an error's text.
///
/// `otherwise` is answered when the body panics.
pub fn boundary_value<T>(counter: &'static Counter, otherwise: T, body: impl FnOnce() -> T) -> T {
    guarded(counter, body).unwrap_or(otherwise)
}

/// Answers an exported function that is not implemented: counts it, and names it in the log once.
pub fn unimplemented<E: Fault>(counter: &'static Counter) -> Result<(), E> {
    guarded(counter, || counter.note_unimplemented());
    Err(E::NOT_SUPPORTED)
}

fn guarded<T>(counter: &'static Counter, body: impl FnOnce() -> T) -> Option<T> {
    // Unwind safety: a body that panics may leave a lock poisoned, and every lock of this crate
    // treats that as a lost session; nothing half-written is read as if it were whole.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let _scope = count::enter(counter);
        body()
    }));
    match outcome {
        Ok(value) => Some(value),
        Err(payload) => {
            // Dropping a payload may panic again, outside of any guard.
            std::mem::forget(payload);
            let _ = catch_unwind(|| {
                log::error(format_args!("{} failed inside the shim (a bug)", counter.name()));
            });
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestError;

    #[test]
    fn a_body_that_succeeds_is_answered_with_success() {
        static CALLS: Counter = Counter::new("a_body_that_succeeds");
        assert_eq!(boundary::<TestError>(&CALLS, || Ok(())), Ok(()));
        assert_eq!(CALLS.calls(), 1);
    }

    #[test]
    fn the_error_of_a_body_is_answered_unchanged() {
        static CALLS: Counter = Counter::new("the_error_of_a_body");
        assert_eq!(boundary(&CALLS, || Err(TestError(7))), Err(TestError(7)));
    }

    #[test]
    fn a_panic_becomes_unknown() {
        static CALLS: Counter = Counter::new("a_panic_becomes_unknown");
        let answer = boundary::<TestError>(&CALLS, || panic!("on purpose, by the test"));
        assert_eq!(answer, Err(TestError::UNKNOWN));
        let answer = boundary_uninitialised::<TestError>(&CALLS, || panic!("on purpose"));
        assert_eq!(answer, Err(TestError::UNKNOWN));
        assert_eq!(boundary_value(&CALLS, 5, || panic!("on purpose, by the test")), 5);
    }

    #[test]
    fn an_unimplemented_function_is_refused_and_counted() {
        static CALLS: Counter = Counter::new("an_unimplemented_function");
        assert_eq!(unimplemented::<TestError>(&CALLS), Err(TestError::NOT_SUPPORTED));
        assert_eq!(unimplemented::<TestError>(&CALLS), Err(TestError::NOT_SUPPORTED));
        assert_eq!(CALLS.calls(), 2);
        assert!(count::unimplemented_calls().contains(&("an_unimplemented_function", 2)));
    }
}
