//! Conversion of raw arguments by itself.

use std::ptr;

use super::*;
use crate::testing::TestError;

const INVALID: TestError = TestError::INVALID_VALUE;

#[test]
fn miri_null_is_refused_where_a_place_is_needed() {
    // SAFETY: NULL keeps every promise.
    unsafe {
        assert_eq!(output::<u32, TestError>(ptr::null_mut()).err(), Some(INVALID));
        assert_eq!(exchanged::<u32, TestError>(ptr::null_mut()).err(), Some(INVALID));
        assert_eq!(input::<u32, TestError>(ptr::null()).err(), Some(INVALID));
        assert_eq!(text::<TestError>(ptr::null()).err(), Some(INVALID));
        assert_eq!(slice::<u8, TestError>(ptr::null(), 1).err(), Some(INVALID));
        assert_eq!(slice_mut::<u8, TestError>(ptr::null_mut(), 1).err(), Some(INVALID));
        assert_eq!(TextBuffer::new::<TestError>(ptr::null_mut(), 4).err(), Some(INVALID));
        assert_eq!(Memory::new(ptr::null()).bytes::<TestError>(1), Err(INVALID));
        assert!(optional_output::<u32>(ptr::null_mut()).is_none());
        assert_eq!(slice::<u8, TestError>(ptr::null(), 0), Ok(&[][..]));
    }
}

#[test]
fn miri_a_result_is_stored_even_where_c_left_it_misaligned() {
    let mut bytes = [0u8; 9];
    // SAFETY: eight writable bytes from offset 1.
    let mut out = unsafe { output::<u64, TestError>(bytes[1..].as_mut_ptr().cast()) }.unwrap();
    out.set(u64::MAX);
    assert_eq!(bytes, [0, 255, 255, 255, 255, 255, 255, 255, 255]);
}

#[test]
fn miri_memory_is_copied_to_where_it_overlaps_itself() {
    let mut bytes = *b"abcdef";
    let first = bytes.as_mut_ptr();
    // SAFETY: six writable bytes; NULL keeps every promise.
    let (source, target, nowhere) = unsafe {
        let target = first.wrapping_add(1);
        (Memory::new(first.cast()), Memory::new(target.cast()), Memory::new(ptr::null()))
    };
    assert_eq!(source.copy_to::<TestError>(target, 5), Ok(()));
    // SAFETY: NULL keeps every promise.
    let nothing = unsafe { Memory::new(ptr::null()) };
    assert_eq!(nowhere.copy_to::<TestError>(nothing, 1), Err(INVALID));
    assert_eq!(bytes, *b"aabcde");
}

#[test]
fn miri_a_length_beyond_the_address_space_is_refused() {
    let byte = 0u8;
    // SAFETY: the lengths are refused before anything is read.
    unsafe {
        assert_eq!(slice::<u8, TestError>(&byte, usize::MAX).err(), Some(INVALID));
        assert_eq!(slice::<u64, TestError>(ptr::dangling(), usize::MAX / 4), Err(INVALID));
    }
}

#[test]
fn miri_a_text_that_does_not_fit_is_shortened_or_refused_as_asked() {
    let mut space = [0x55 as c_char; 6];
    // SAFETY: four of the six bytes are given.
    let mut buffer = unsafe { TextBuffer::new::<TestError>(space.as_mut_ptr(), 4) }.unwrap();
    assert_eq!(buffer.store::<TestError>("full"), Err(TestError::INSUFFICIENT_SIZE));
    buffer.store_shortened("full");
    assert_eq!(space.map(|byte| byte as u8), *b"ful\0UU");
    // SAFETY: as above.
    let mut buffer = unsafe { TextBuffer::new::<TestError>(space.as_mut_ptr(), 4) }.unwrap();
    assert_eq!(buffer.store::<TestError>("abc"), Ok(()));
    assert_eq!(space.map(|byte| byte as u8), *b"abc\0UU");
}

#[test]
fn miri_a_buffer_without_room_for_the_end_mark_is_refused() {
    let mut space = [0 as c_char; 1];
    for capacity in [0, -1, i64::MIN] {
        // SAFETY: refused before anything is written.
        let buffer = unsafe { TextBuffer::new::<TestError>(space.as_mut_ptr(), capacity) };
        assert_eq!(buffer.err(), Some(INVALID), "{capacity}");
    }
}
