//! Entry points by name, and the private tables that we do not have (CUDA Driver API, Driver
//! Entry Point Access).

use std::ffi::{CStr, c_void};
use std::ptr;

use vgpu_abi::cuda::{
    CUdriverProcAddress_flags as Flags, CUdriverProcAddressQueryResult as Status, CUuuid, Error,
};
use vgpu_guest::log;

use crate::entry_points::ENTRY_POINTS;

/// One form of a function: what its name means from a version of CUDA on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    /// First version of CUDA that means this form, as 1000 × major + 10 × minor.
    pub since: i32,
    /// The function.
    pub plain: *const c_void,
    /// Its variant for the per-thread default stream; NULL if it has none.
    pub per_thread: *const c_void,
}

/// Finds the function that `symbol` names in a version of CUDA; one that does not exist, or not
/// yet in that version, is NOT_FOUND, and the status says which of the two.
pub(crate) fn get_proc_address_v2(
    symbol: &CStr,
    place: &mut *mut c_void,
    version: i32,
    flags: u64,
    status: Option<&mut Status>,
) -> Result<(), Error> {
    *place = ptr::null_mut();
    let found = find(symbol, version, flags)?;
    if let Some(status) = status {
        *status = found.err().unwrap_or(Status::SUCCESS);
    }
    *place = found.map_err(|_| Error::NOT_FOUND)?;
    Ok(())
}

/// As [`get_proc_address_v2`], without a status.
pub(crate) fn get_proc_address(
    symbol: &CStr,
    place: &mut *mut c_void,
    version: i32,
    flags: u64,
) -> Result<(), Error> {
    get_proc_address_v2(symbol, place, version, flags, None)
}

/// Reads flags as the `_ptsz` name of `cuGetProcAddress` does: without a wish, the variants for
/// the per-thread default stream are meant.
pub(crate) fn per_thread(flags: u64) -> u64 {
    if flags == 0 { u64::from(Flags::PER_THREAD_DEFAULT_STREAM.0) } else { flags }
}

/// Finds the newest form of a function that `version` has, for the kind of default stream that
/// `flags` asks for. The outer error is for flags that there are none of.
fn find(symbol: &CStr, version: i32, flags: u64) -> Result<Result<*mut c_void, Status>, Error> {
    let both = Flags::LEGACY_STREAM.0 | Flags::PER_THREAD_DEFAULT_STREAM.0;
    let per_thread = flags == u64::from(Flags::PER_THREAD_DEFAULT_STREAM.0);
    if flags >= u64::from(both) {
        return Err(Error::INVALID_VALUE);
    }
    let name = symbol.to_str().unwrap_or_default();
    let Ok(at) = ENTRY_POINTS.binary_search_by_key(&name, |(name, _)| name) else {
        return Ok(Err(Status::SYMBOL_NOT_FOUND));
    };
    let newest = ENTRY_POINTS[at].1.iter().rfind(|form| form.since <= version);
    let Some(form) = newest else { return Ok(Err(Status::VERSION_NOT_SUFFICIENT)) };
    let chosen =
        if per_thread && !form.per_thread.is_null() { form.per_thread } else { form.plain };
    Ok(Ok(chosen.cast_mut()))
}

/// Hands libcublas our own table; refuses a private table of NVIDIA's driver, and says once which
/// one was asked for.
///
/// NVIDIA's own libcudart and libcublas ask, and end with an error of their own when refused; its
/// compilers ask too, and do without. The pointer is NULL, because the first follow it without
/// looking at the code.
pub(crate) fn get_export_table(table: &mut *const c_void, uuid: CUuuid) -> Result<(), Error> {
    static SAID: log::Once = log::Once::new();
    if uuid.bytes == vgpu_guest::relay::UUID {
        *table = crate::relay::table();
        return Ok(());
    }
    *table = ptr::null();
    SAID.warn(format_args!(
        "a library of NVIDIA's in this process asked for the private table {}, which this driver \
         has not: a genuine libcudart or libcublas cannot run over it (vgpu-install verify shows \
         which are found), a compiler such as libnvrtc or libnvJitLink can",
        &vgpu_guest::identity::uuid_text(&uuid.bytes)["GPU-".len()..]
    ));
    Err(Error::NOT_SUPPORTED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exports::*;

    #[track_caller]
    fn check(name: &CStr, version: i32, flags: u64, expected: Result<*const c_void, Status>) {
        let mut place = ptr::dangling_mut();
        let mut status = Status(77);
        let result = get_proc_address_v2(name, &mut place, version, flags, Some(&mut status));
        match expected {
            Ok(symbol) => {
                assert_eq!((result, status), (Ok(()), Status::SUCCESS));
                assert_eq!(place.cast_const(), symbol, "{name:?}");
            }
            Err(expected) => {
                assert_eq!((result, status), (Err(Error::NOT_FOUND), expected));
                assert!(place.is_null());
            }
        }
    }

    #[test]
    fn a_function_is_found_by_name_version_and_kind_of_stream() {
        check(c"cuMemAlloc", 2000, 0, Ok(cuMemAlloc as _));
        check(c"cuMemAlloc", 3010, 0, Ok(cuMemAlloc as _));
        check(c"cuMemAlloc", 3020, 0, Ok(cuMemAlloc_v2 as _));
        check(c"cuMemAlloc", 13000, 2, Ok(cuMemAlloc_v2 as _));
        check(c"cuMemcpyHtoD", 13000, 1, Ok(cuMemcpyHtoD_v2 as _));
        check(c"cuMemcpyHtoD", 13000, 2, Ok(cuMemcpyHtoD_v2_ptds as _));
        check(c"cuStreamSynchronize", 12000, 2, Ok(cuStreamSynchronize_ptsz as _));
        check(c"cuCtxCreate", 11040, 0, Ok(cuCtxCreate_v3 as _));
    }

    #[test]
    fn what_is_not_there_says_why() {
        check(c"cuNoSuchFunction", 13000, 0, Err(Status::SYMBOL_NOT_FOUND));
        check(c"", 0, 0, Err(Status::SYMBOL_NOT_FOUND));
        check(c"cuMemAlloc_v2", 13000, 0, Err(Status::SYMBOL_NOT_FOUND));
        check(c"cuMemAlloc", 1000, 0, Err(Status::VERSION_NOT_SUFFICIENT));
        let mut place = ptr::null_mut();
        let refused = get_proc_address(c"cuInit", &mut place, 13000, 3);
        assert_eq!(refused, Err(Error::INVALID_VALUE));
    }

    #[test]
    fn libcublas_gets_our_table() {
        let mut table = ptr::null();
        let uuid = CUuuid { bytes: vgpu_guest::relay::UUID };
        assert_eq!(get_export_table(&mut table, uuid), Ok(()));
        assert_eq!(table, crate::relay::table());
    }

    #[test]
    fn a_private_table_is_refused_with_a_null_pointer() {
        let mut table = ptr::dangling();
        let uuid = CUuuid { bytes: [7; 16] };
        assert_eq!(get_export_table(&mut table, uuid), Err(Error::NOT_SUPPORTED));
        assert!(table.is_null());
    }
}
