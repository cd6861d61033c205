//! Loads code through whatever libcuda the loader finds, and prints one JSON object with what it
//! saw. `images FILE...` loads every image of some backends and looks at every kernel; `launch`
//! launches a kernel of its own in every way; `link` links; `refused` does what CUDA refuses.

mod link;

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_void};
use std::path::Path;
use std::process::ExitCode;
use std::ptr;
use std::time::{Duration, Instant};

use cudarc::driver::sys::{self, CUfunction, CUkernel, CUlibrary, CUmodule, CUresult};
use serde_json::{Value, json};

type Failed = (&'static str, CUresult);

/// A kernel with parameters that are apart, one after another of another size.
const PTX: &CStr = c"
.version 8.0
.target sm_80
.address_size 64
.visible .global .align 4 .u32 last = 5;
.visible .entry keep(.param .u64 to, .param .u8 small, .param .align 8 .b8 triple[24],
                     .param .u32 n)
{
    .reg .u64 %rd<4>;
    .reg .u32 %r<4>;
    .reg .b16 %rs<2>;
    .reg .pred %p<2>;
    ld.param.u64 %rd1, [to];
    ld.param.u8 %rs1, [small];
    ld.param.u64 %rd2, [triple+16];
    ld.param.u32 %r1, [n];
    mov.u32 %r2, %tid.x;
    setp.ge.u32 %p1, %r2, %r1;
    @%p1 bra $end;
    mul.wide.u32 %rd3, %r2, 8;
    add.u64 %rd3, %rd3, %rd1;
    cvt.u32.u16 %r3, %rs1;
    add.u32 %r2, %r2, %r3;
    cvt.u64.u32 %rd1, %r2;
    add.u64 %rd2, %rd2, %rd1;
    st.global.u64 [%rd3], %rd2;
$end:
    ret;
}";

/// Makes an error of a code other than success.
fn check(what: &'static str, code: CUresult) -> Result<(), Failed> {
    if code == CUresult::CUDA_SUCCESS { Ok(()) } else { Err((what, code)) }
}

/// Calls a function that gives one result, and checks the code.
macro_rules! give {
    ($name:ident($($argument:expr),*)) => {{
        let mut place = std::mem::MaybeUninit::uninit();
        // SAFETY: the place is written on success; the other arguments are as CUDA documents.
        let code = unsafe { sys::$name(place.as_mut_ptr() $(, $argument)*) };
        // SAFETY: success was checked.
        check(stringify!($name), code).map(|()| unsafe { place.assume_init() })
    }};
}
use give;

fn context() -> Result<(), Failed> {
    // SAFETY: no pointers.
    check("cuInit", unsafe { sys::cuInit(0) })?;
    let context = give!(cuDevicePrimaryCtxRetain(0))?;
    // SAFETY: a context that was just given.
    check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(context) })
}

/// Finds the fat binaries of a library: they lie one behind the other in its section.
fn images(file: &[u8]) -> Vec<&[u8]> {
    let elf = goblin::elf::Elf::parse(file).expect("a library");
    let named = |section: &goblin::elf::SectionHeader| {
        elf.shdr_strtab.get_at(section.sh_name) == Some(".nv_fatbin")
    };
    let section = elf.section_headers.iter().find(|section| named(section)).expect("images");
    let mut rest = &file[section.file_range().expect("contents")];
    let mut found = Vec::new();
    while rest.len() >= 16 {
        if rest[..4] != 0xba55_ed50_u32.to_le_bytes() {
            rest = &rest[8..];
            continue;
        }
        let header = u16::from_le_bytes([rest[6], rest[7]]) as usize;
        let body = u64::from_le_bytes(rest[8..16].try_into().expect("eight bytes")) as usize;
        let (image, behind) = rest.split_at(header + body);
        found.push(image);
        rest = behind;
    }
    found
}

fn load(image: *const c_void) -> Result<CUlibrary, Failed> {
    let none = ptr::null_mut();
    give!(cuLibraryLoadData(image, none, none.cast(), 0, none.cast(), none.cast(), 0))
}

/// What is known of one kernel: how many parameters, and where they end.
fn layout(kernel: CUkernel) -> Result<(String, u64, u64), Failed> {
    let name = give!(cuKernelGetName(kernel))?;
    // SAFETY: a text that stays until the library is unloaded.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    let (mut count, mut end) = (0, 0);
    loop {
        let (mut offset, mut size) = (0, 0);
        // SAFETY: two places for results.
        let code = unsafe { sys::cuKernelGetParamInfo(kernel, count, &mut offset, &mut size) };
        if code == CUresult::CUDA_ERROR_INVALID_VALUE {
            return Ok((name, count as u64, end));
        }
        check("cuKernelGetParamInfo", code)?;
        end = (offset + size) as u64;
        count += 1;
    }
}

fn look_at(file: &Path) -> Result<Value, Failed> {
    let contents = std::fs::read(file).expect("the backend is there");
    let (mut kernels, mut parameters, mut loading) = (0, 0, Duration::ZERO);
    let mut ends = BTreeMap::new();
    let all = images(&contents);
    for image in &all {
        let began = Instant::now();
        let library = load(image.as_ptr().cast())?;
        loading += began.elapsed();
        let count = give!(cuLibraryGetKernelCount(library))?;
        let mut handles: Vec<CUkernel> = vec![ptr::null_mut(); count as usize];
        // SAFETY: room for as many handles.
        let code = unsafe { sys::cuLibraryEnumerateKernels(handles.as_mut_ptr(), count, library) };
        check("cuLibraryEnumerateKernels", code)?;
        for kernel in handles {
            let (name, count, end) = layout(kernel)?;
            let c_name = CString::new(name.clone()).expect("a name without zeros");
            let again = give!(cuLibraryGetKernel(library, c_name.as_ptr()))?;
            assert_eq!(again, kernel, "one handle for one kernel");
            let threads = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK;
            let threads = give!(cuKernelGetAttribute(threads, kernel, 0))?;
            assert!((1..=1024).contains(&threads), "{name}: {threads} threads");
            ends.entry(name).or_insert((count, end));
            kernels += 1;
            parameters += count;
        }
        // SAFETY: a library of ours.
        check("cuLibraryUnload", unsafe { sys::cuLibraryUnload(library) })?;
    }
    Ok(json!({
        "images": all.len(),
        "kernels": kernels,
        "parameters": parameters,
        "loading_ms": loading.as_millis() as u64,
        "layouts": ends,
    }))
}

/// The arguments of `keep`.
struct Arguments {
    to: u64,
    small: u8,
    triple: [u64; 3],
    n: u32,
}

impl Arguments {
    fn list(&mut self) -> [*mut c_void; 4] {
        [
            (&raw mut self.to).cast(),
            (&raw mut self.small).cast(),
            (&raw mut self.triple).cast(),
            (&raw mut self.n).cast(),
        ]
    }

    /// As the kernel reads them.
    fn packed(&self) -> Vec<u8> {
        let mut packed = vec![0; 44];
        packed[..8].copy_from_slice(&self.to.to_le_bytes());
        packed[8] = self.small;
        for (at, word) in self.triple.iter().enumerate() {
            packed[16 + 8 * at..24 + 8 * at].copy_from_slice(&word.to_le_bytes());
        }
        packed[40..].copy_from_slice(&self.n.to_le_bytes());
        packed
    }
}

fn module() -> Result<(CUmodule, CUfunction), Failed> {
    let module = give!(cuModuleLoadData(PTX.as_ptr().cast()))?;
    Ok((module, give!(cuModuleGetFunction(module, c"keep".as_ptr()))?))
}

fn code_of(
    f: CUfunction,
    grid: u32,
    threads: u32,
    shared: u32,
    list: *mut *mut c_void,
) -> CUresult {
    // SAFETY: the list is NULL or that of the kernel's arguments.
    unsafe {
        let none: *mut *mut c_void = ptr::null_mut();
        sys::cuLaunchKernel(f, grid, 1, 1, threads, 1, 1, shared, none.cast(), list, none)
    }
}

/// Launches a kernel of 64 threads whose arguments come in one buffer.
fn code_of_buffer(function: sys::CUfunction, packed: &mut [u8]) -> sys::CUresult {
    // CU_LAUNCH_PARAM_BUFFER_POINTER, CU_LAUNCH_PARAM_BUFFER_SIZE, CU_LAUNCH_PARAM_END.
    let mut size = packed.len();
    let mut extra = [
        ptr::without_provenance_mut::<c_void>(1),
        packed.as_mut_ptr().cast(),
        ptr::without_provenance_mut(2),
        (&raw mut size).cast(),
        ptr::null_mut(),
    ];
    let none: *mut *mut c_void = ptr::null_mut();
    // SAFETY: `extra` names a buffer of that size.
    unsafe {
        sys::cuLaunchKernel(function, 1, 1, 1, 64, 1, 1, 0, none.cast(), none, extra.as_mut_ptr())
    }
}

/// Launches the kernel in every way and reads what it wrote.
fn launch() -> Result<Value, Failed> {
    let (module, function) = module()?;
    let memory = give!(cuMemAlloc_v2(64 * 8))?;
    let mut arguments = Arguments { to: memory, small: 3, triple: [1, 2, 100], n: 40 };
    let wrote = |what: &'static str| -> Result<(&'static str, [u64; 41]), Failed> {
        let mut words = [0_u64; 41];
        // SAFETY: as many bytes as there is room for, and as were allocated; then set again.
        unsafe {
            check(what, sys::cuMemcpyDtoH_v2(words.as_mut_ptr().cast(), memory, 41 * 8))?;
            check("cuMemsetD8", sys::cuMemsetD8_v2(memory, 0, 64 * 8))?;
        }
        Ok((what, words))
    };
    let mut seen = Vec::new();
    wrote("at first")?;
    check("by list", code_of(function, 1, 64, 0, arguments.list().as_mut_ptr()))?;
    seen.push(wrote("by list")?);
    let none: *mut *mut c_void = ptr::null_mut();
    check("by buffer", code_of_buffer(function, &mut arguments.packed()))?;
    seen.push(wrote("by buffer")?);
    let library = load(PTX.as_ptr().cast())?;
    let kernel = give!(cuLibraryGetKernel(library, c"keep".as_ptr()))?;
    check("as kernel", code_of(kernel.cast(), 1, 64, 0, arguments.list().as_mut_ptr()))?;
    seen.push(wrote("as kernel")?);
    let of_kernel = give!(cuKernelGetFunction(kernel))?;
    check("of kernel", code_of(of_kernel, 1, 64, 0, arguments.list().as_mut_ptr()))?;
    seen.push(wrote("of kernel")?);
    let config = sys::CUlaunchConfig {
        gridDimX: 1,
        gridDimY: 1,
        gridDimZ: 1,
        blockDimX: 64,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: 0,
        hStream: ptr::null_mut(),
        attrs: ptr::null_mut(),
        numAttrs: 0,
    };
    // SAFETY: a configuration without attributes, and the kernel's arguments.
    let code =
        unsafe { sys::cuLaunchKernelEx(&config, function, arguments.list().as_mut_ptr(), none) };
    check("configured", code)?;
    seen.push(wrote("configured")?);
    let (mut address, mut bytes) = (0, 0);
    // SAFETY: two places for results.
    let code =
        unsafe { sys::cuModuleGetGlobal_v2(&mut address, &mut bytes, module, c"last".as_ptr()) };
    check("cuModuleGetGlobal", code)?;
    let mut last = 0_u32;
    // SAFETY: four bytes of the variable.
    check("variable", unsafe { sys::cuMemcpyDtoH_v2((&raw mut last).cast(), address, 4) })?;
    let held = give!(cuOccupancyMaxActiveBlocksPerMultiprocessor(function, 256, 0))?;
    let (mut grid, mut block) = (0, 0);
    // SAFETY: two places for results, and no function of ours.
    let code = unsafe {
        sys::cuOccupancyMaxPotentialBlockSize(&mut grid, &mut block, function, None, 0, 0)
    };
    check("cuOccupancyMaxPotentialBlockSize", code)?;
    let expected: Vec<u64> = (0..40).map(|at| 103 + at).chain([0]).collect();
    let right: Vec<_> = seen.iter().map(|(how, words)| (how, words[..] == expected[..])).collect();
    Ok(json!({
        "right": right.iter().map(|(how, right)| json!([how, right])).collect::<Vec<_>>(),
        "variable": [last, bytes],
        "held": held,
        "potential": [grid, block],
    }))
}

/// Times launches and loads.
fn bench() -> Result<Value, Failed> {
    const LAUNCHES: u32 = 1000;
    let (_, function) = module()?;
    let memory = give!(cuMemAlloc_v2(64 * 8))?;
    let mut arguments = Arguments { to: memory, small: 3, triple: [1, 2, 100], n: 0 };
    let mut list = arguments.list();
    let mut posted = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        for _ in 0..LAUNCHES {
            check("cuLaunchKernel", code_of(function, 1, 1, 0, list.as_mut_ptr()))?;
        }
        posted.push(began.elapsed().as_nanos() as u64 / u64::from(LAUNCHES));
        // SAFETY: no pointers.
        check("cuCtxSynchronize", unsafe { sys::cuCtxSynchronize() })?;
    }
    posted.sort_unstable();
    Ok(json!({ "launch_ns": posted[posted.len() / 2] }))
}

/// Does what CUDA refuses, and lists what it was answered.
fn refused() -> Result<Value, Failed> {
    let (module, function) = module()?;
    let memory = give!(cuMemAlloc_v2(64 * 8))?;
    let mut arguments = Arguments { to: memory, small: 3, triple: [1, 2, 100], n: 0 };
    let mut list = arguments.list();
    let list = list.as_mut_ptr();
    let none = ptr::null_mut();
    let image = |bytes: &[u8]| give!(cuModuleLoadData(bytes.as_ptr().cast())).map(drop);
    let code = |result: Result<(), Failed>| result.err().map_or(0, |(_, code)| code as u32);
    let dead = {
        let (other, dead) = self::module()?;
        // SAFETY: a module of ours.
        check("cuModuleUnload", unsafe { sys::cuModuleUnload(other) })?;
        (other, dead)
    };
    let (mut address, mut bytes) = (0, 0);
    // SAFETY: two places for results.
    let global =
        unsafe { sys::cuModuleGetGlobal_v2(&mut address, &mut bytes, module, c"last".as_ptr()) };
    check("cuModuleGetGlobal", global)?;
    // SAFETY: an address that is no allocation of ours.
    let freed = unsafe { sys::cuMemFree_v2(address) };
    // SAFETY: NULL, for which an error is documented.
    let nothing = give!(cuModuleLoadData(ptr::null())).map(drop);
    Ok(json!({
        "null_image": code(nothing),
        "no_image": code(image(b"\x01\x02\x03\x04\x05\x06\x07\x08")),
        "broken_ptx": code(image(b".version 8.0\n.target sm_80\n.entry half(\0")),
        "later_device": code(image(b".version 8.8\n.target sm_120\n.entry late() { ret; }\0")),
        "unknown_file": code(give!(cuModuleLoad(c"/nonexistent/image.ptx".as_ptr())).map(drop)),
        "unknown_function": code(give!(cuModuleGetFunction(module, c"none".as_ptr())).map(drop)),
        "dead_module": code(give!(cuModuleGetFunction(dead.0, c"keep".as_ptr())).map(drop)),
        "dead_function": code_of(dead.1, 1, 1, 0, list) as u32,
        "module_as_function": code_of(module.cast(), 1, 1, 0, list) as u32,
        "no_blocks": code_of(function, 0, 1, 0, list) as u32,
        "no_threads": code_of(function, 1, 0, 0, list) as u32,
        "too_many_threads": code_of(function, 1, 1025, 0, list) as u32,
        "too_much_shared": code_of(function, 1, 1, 49 << 10, list) as u32,
        "no_arguments": code_of(function, 1, 1, 0, none) as u32,
        "free_a_variable": freed as u32,
        "still_good": code_of(function, 1, 1, 0, list) as u32,
        // SAFETY: no pointers.
        "after_all": unsafe { sys::cuCtxSynchronize() } as u32,
    }))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = context().and_then(|()| match words[..] {
        ["launch"] => launch(),
        ["link"] => link::link(),
        ["bench"] => bench(),
        ["refused"] => refused(),
        ["images", file] => look_at(Path::new(file)),
        _ => panic!("what to do: images FILE, launch, link, bench or refused"),
    });
    match done {
        Ok(seen) => {
            println!("{seen}");
            ExitCode::SUCCESS
        }
        Err((what, code)) => {
            eprintln!("{what}: {code:?}");
            ExitCode::FAILURE
        }
    }
}
