//! The linker, its logs, and a module of what came of it.

use std::ffi::c_void;
use std::ptr;

use cudarc::driver::sys::{self, CUjit_option as Jit, CUjitInputType as Input, CUresult};
use serde_json::{Value, json};

use crate::{Failed, PTX, check, give};

/// Adds a text to a link; returns the code.
fn add(state: sys::CUlinkState, text: &[u8]) -> CUresult {
    let (none, text) = (ptr::null_mut(), text.as_ptr().cast_mut().cast::<c_void>());
    let (kind, name) = (Input::CU_JIT_INPUT_PTX, c"a text".as_ptr());
    // SAFETY: a text with its end mark, which the linker reads only, and no options.
    unsafe {
        let bytes = std::ffi::CStr::from_ptr(text.cast()).count_bytes() + 1;
        sys::cuLinkAddData_v2(state, kind, text, bytes, name, 0, none, ptr::null_mut())
    }
}

/// Links, loads what came of it, and reads the log of a link that fails.
pub fn link() -> Result<Value, Failed> {
    let mut log = vec![b'x'; 200];
    let mut options = [Jit::CU_JIT_ERROR_LOG_BUFFER, Jit::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [log.as_mut_ptr().cast::<c_void>(), log.len() as *mut c_void];
    let mut state = ptr::null_mut();
    // SAFETY: two options, a buffer that outlives the link, and a place for the result.
    let code =
        unsafe { sys::cuLinkCreate_v2(2, options.as_mut_ptr(), values.as_mut_ptr(), &mut state) };
    check("cuLinkCreate", code)?;
    let broken = add(state, b".version 8.0\n.target sm_80\n.entry half(\0");
    let said = values[1].addr();
    let first_line = String::from_utf8_lossy(&log[..said]).into_owned();
    assert_eq!(log[said], 0, "the log ends with its mark");
    check("cuLinkAddData", add(state, PTX.to_bytes_with_nul()))?;
    let second = add(state, PTX.to_bytes_with_nul());
    let (mut result, mut size) = (ptr::null_mut(), 0);
    // SAFETY: two places for results.
    check("cuLinkComplete", unsafe { sys::cuLinkComplete(state, &mut result, &mut size) })?;
    let module = give!(cuModuleLoadData(result.cast_const()))?;
    let found = give!(cuModuleGetFunction(module, c"keep".as_ptr())).is_ok();
    // SAFETY: a link of ours, which ends here once and is asked to end again.
    let ends = unsafe { [sys::cuLinkDestroy(state), sys::cuLinkDestroy(state)] };
    Ok(json!({
        "broken": broken as u32,
        "log": first_line,
        "second": second as u32,
        "bytes": size == PTX.to_bytes_with_nul().len(),
        "found": found,
        "ends": ends.map(|code| code as u32),
    }))
}
