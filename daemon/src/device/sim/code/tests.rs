use vgpu_abi::cuda::{CUfunction_attribute as Attribute, Error};
use vgpu_link::wire::cuda::*;

use super::super::tests::Client;
use super::occupancy;
use crate::dispatch::*;
use crate::image::Kernel;
use crate::image::tests::made::cubin;

/// Three kernels and three variables, one of which points to another.
const PTX: &str = "
.version 8.0
.target sm_90
.address_size 64
.visible .global .align 4 .u32 counter = 7;
.visible .const .align 8 .f32 table[4] = {0f3F800000, 0f40000000};
.visible .global .align 8 .u64 place = counter;
.visible .entry scale(.param .u64 to, .param .f32 by, .param .align 8 .b8 more[24])
{ ret; }
.visible .entry bounded(.param .u32 n) .maxntid 64, 1, 1
{ .shared .align 4 .b8 own[1024]; ret; }
.visible .entry unknown() { wgmma.fence.sync.aligned; ret; }
";

fn image(bytes: &[u8]) -> Image {
    Image { hash: *blake3::hash(bytes).as_bytes(), bytes: bytes.len() as u64 }
}

impl Client {
    fn module(&mut self, text: &str) -> Result<ModuleLoadReply, Error> {
        self.module_of(text.as_bytes())
    }

    fn module_of(&mut self, bytes: &[u8]) -> Result<ModuleLoadReply, Error> {
        let image = image(bytes);
        let part = ImagePart { image: image.clone(), offset: 0 };
        self.sim.image_part(&self.call, part, bytes)?;
        self.sim.module_load(&self.call, ModuleLoad { image, options: Vec::new() })
    }

    fn function(&mut self, module: u64, name: &str) -> Result<ModuleGetFunctionReply, Error> {
        self.sim.module_get_function(&self.call, ModuleGetFunction { module, name: name.into() })
    }

    fn library(&mut self) -> u64 {
        self.module(PTX).expect("the image is there");
        let image = image(PTX.as_bytes());
        let request = LibraryLoad { image, options: Vec::new() };
        self.sim.library_load(&self.call, request).expect("a library").library
    }

    fn kernel(&mut self, library: u64, name: &str) -> u64 {
        let request = LibraryGetKernel { library, name: name.into() };
        self.sim.library_get_kernel(&self.call, request).expect("a kernel").kernel
    }

    fn launch(&mut self, launch: KernelLaunch) -> Result<(), Error> {
        self.sim.launch_kernel(&self.call, LaunchKernel { stream: 0, launch })
    }
}

fn value(facts: &FunctionFacts, attribute: Attribute) -> i32 {
    let found = facts.attributes.iter().find(|one| one.attribute == attribute.0);
    found.expect("a known attribute").value
}

fn launch_of(function: u64) -> KernelLaunch {
    KernelLaunch {
        function,
        grid: Dim3 { x: 2, y: 1, z: 1 },
        block: Dim3 { x: 64, y: 1, z: 1 },
        shared_bytes: 0,
        attributes: Vec::new(),
        arguments: vec![0; 40],
    }
}

#[test]
fn an_image_that_the_host_lacks_is_asked_for_and_then_loaded() {
    let mut client = Client::new();
    let request = || ModuleLoad { image: image(PTX.as_bytes()), options: Vec::new() };
    let asked = client.sim.module_load(&client.call, request()).expect("an answer");
    assert_eq!((asked.missing, asked.module), (1, 0));
    let loaded = client.module(PTX).expect("an answer");
    assert_eq!((loaded.missing, loaded.report.result), (0, 0));
    let listed = ModuleListFunctions { module: loaded.module, first: 0 };
    let listed = client.sim.module_list_functions(&client.call, listed).expect("a list");
    assert_eq!((listed.count, listed.functions.len()), (3, 3));
    let scale = client.function(loaded.module, "scale").expect("a function");
    assert_eq!(scale.function, listed.functions[0], "one handle for one function");
    let layout: Vec<_> = scale.facts.parameters.iter().map(|one| (one.offset, one.bytes)).collect();
    assert_eq!(layout, [(0, 8), (8, 4), (16, 24)]);
    assert_eq!(client.function(loaded.module, "none").map(drop), Err(Error::NOT_FOUND));
    assert_eq!(client.function(listed.functions[0], "scale").map(drop), Err(Error::INVALID_HANDLE));
}

#[test]
fn an_image_that_cannot_be_read_says_why_in_the_error_log() {
    let mut client = Client::new();
    for (text, code) in [
        (".version 8.0\n.target sm_90\n.entry broken(", Error::INVALID_PTX),
        (".version 8.0\n.target sm_120\n.entry late() { ret; }", Error::NO_BINARY_FOR_GPU),
        ("no image at all", Error::INVALID_IMAGE),
    ] {
        let reply = client.module(text).expect("an answer");
        assert_eq!((reply.missing, reply.module), (0, 0), "{text}");
        assert_eq!(Error::new(reply.report.result), Some(code), "{text}");
        assert!(!reply.report.error_log.is_empty(), "{text}");
    }
    let huge = Image { hash: [0; 32], bytes: 1 << 40 };
    let request = ModuleLoad { image: huge, options: Vec::new() };
    let refused = client.sim.module_load(&client.call, request);
    assert_eq!(refused.map(drop), Err(Error::OUT_OF_MEMORY));
}

#[test]
fn a_report_that_quotes_the_image_stays_short() {
    let mut client = Client::new();
    let text = format!(".version 8.0\n.target sm_90\n.global .u33{} x;", "é".repeat(100_000));
    let log = client.module(&text).expect("an answer").report.error_log;
    assert!(log.len() < 5000, "{} bytes", log.len());
    let text = format!(".version {}", "9".repeat(300_000));
    let log = client.module(&text).expect("an answer").report.error_log;
    assert!((100..5000).contains(&log.len()), "{} bytes", log.len());
}

/// A line of PTX can ask for many megabytes of first values.
#[test]
fn images_that_grow_do_not_fill_the_memory_of_the_host() {
    let mut client = Client::new();
    client.sim.codes.held_bytes_max = 5 << 20;
    let text = |number: u32| {
        format!(".version 8.0\n.target sm_90\n.global .b8 x{number}[1000000] = {{1}};")
    };
    let first = client.module(&text(0)).expect("the first").module;
    for _ in 0..10 {
        client.module(&text(0)).expect("the same one costs nothing more");
    }
    let loaded = (1..20).filter(|&number| client.module(&text(number)).is_ok()).count();
    assert_eq!(loaded, 4, "with the first they make five");
    client.sim.module_unload(&client.call, ModuleUnload { hmod: first }).expect("unloaded");
    assert_eq!(client.module(&text(30)).map(drop), Err(Error::OUT_OF_MEMORY), "ten are left of it");
}

#[test]
fn links_do_not_fill_the_memory_of_the_host() {
    let mut client = Client::new();
    client.sim.codes.held_bytes_max = 3 * PTX.len() as u64 + 3;
    client.module(PTX).expect("the image is there");
    let begin = |client: &mut Client| {
        let create = LinkCreate { options: Vec::new() };
        let state = client.sim.link_create(&client.call, create).expect("a link").state;
        let (image, name) = (image(PTX.as_bytes()), String::new());
        let add = LinkAdd { state, kind: 1, image, name, options: Vec::new() };
        (state, client.sim.link_add(&client.call, add).map(|reply| reply.report.result))
    };
    let states: Vec<u64> = (0..3)
        .map(|_| begin(&mut client))
        .map(|(state, added)| {
            assert_eq!(added, Ok(0));
            state
        })
        .collect();
    assert_eq!(begin(&mut client).1, Err(Error::OUT_OF_MEMORY));
    client.sim.link_destroy(&client.call, LinkDestroy { state: states[0] }).expect("ended");
    assert_eq!(begin(&mut client).1, Ok(0), "what a link held is free again");
}

#[test]
fn variables_lie_in_device_memory_with_their_first_contents_until_the_module_goes() {
    let mut client = Client::new();
    let before = client.used();
    let module = client.module(PTX).expect("an answer").module;
    let mut global = |name: &str| {
        let request = ModuleGetGlobal { module, name: name.into() };
        client.sim.module_get_global(&client.call, request)
    };
    let (counter, table) = (global("counter").expect("one"), global("table").expect("one"));
    let place = global("place").expect("one");
    assert_eq!(global("none").map(drop), Err(Error::NOT_FOUND));
    assert_eq!((counter.bytes, table.bytes, place.bytes), (4, 16, 8));
    assert_eq!(client.read(counter.address, 4).expect("readable"), 7_u32.to_le_bytes());
    let floats: Vec<u8> = [1_f32, 2.0, 0.0, 0.0].iter().flat_map(|one| one.to_le_bytes()).collect();
    assert_eq!(client.read(table.address, 16).expect("readable"), floats);
    let pointer = client.read(place.address, 8).expect("readable");
    assert_eq!(pointer, counter.address.to_le_bytes());
    assert!(client.used() > before, "it is accounted");
    client.write(counter.address, &[9; 4]).expect("writable");
    client.sim.module_unload(&client.call, ModuleUnload { hmod: module }).expect("unloaded");
    assert_eq!(client.read(counter.address, 4), Err(Error::INVALID_VALUE));
    assert_eq!(client.used(), before);
}

#[test]
fn attributes_are_the_kernels_own_and_can_be_changed_within_the_devices_limits() {
    let mut client = Client::new();
    let module = client.module(PTX).expect("an answer").module;
    let bounded = client.function(module, "bounded").expect("a function");
    assert_eq!(value(&bounded.facts, Attribute::MAX_THREADS_PER_BLOCK), 64);
    assert_eq!(value(&bounded.facts, Attribute::SHARED_SIZE_BYTES), 1024);
    let dynamic = Attribute::MAX_DYNAMIC_SHARED_SIZE_BYTES;
    assert_eq!(value(&bounded.facts, dynamic), (48 << 10) - 1024);
    let mut change = |attribute: Attribute, value| {
        let hfunc = bounded.function;
        let request = FuncSetAttribute { hfunc, attrib: attribute.0, value };
        client.sim.func_set_attribute(&client.call, request)
    };
    let most = (227 << 10) - 1024;
    assert_eq!(change(dynamic, most), Ok(()));
    assert_eq!(change(dynamic, most + 1), Err(Error::INVALID_VALUE));
    assert_eq!(change(dynamic, -1), Err(Error::INVALID_VALUE));
    assert_eq!(change(Attribute::PREFERRED_SHARED_MEMORY_CARVEOUT, 101), Err(Error::INVALID_VALUE));
    assert_eq!(change(Attribute::NUM_REGS, 4), Err(Error::INVALID_VALUE));
    let again = client.function(module, "bounded").expect("a function");
    assert_eq!(value(&again.facts, dynamic), most);
}

#[test]
fn a_launch_beyond_limits_is_refused_with_the_code_that_cuda_documents() {
    let mut client = Client::new();
    let module = client.module(PTX).expect("an answer").module;
    let scale = client.function(module, "scale").expect("a function").function;
    let bounded = client.function(module, "bounded").expect("a function").function;
    let good = launch_of(scale);
    assert_eq!(client.launch(good.clone()), Ok(()));
    assert_eq!(client.launch(launch_of(bounded)), Ok(()));
    let dim = |x, y, z| Dim3 { x, y, z };
    let cases = [
        (KernelLaunch { grid: dim(0, 1, 1), ..good.clone() }, Error::INVALID_VALUE),
        (KernelLaunch { grid: dim(1, 65_536, 1), ..good.clone() }, Error::INVALID_VALUE),
        (KernelLaunch { block: dim(1, 1, 65), ..good.clone() }, Error::INVALID_VALUE),
        (KernelLaunch { block: dim(512, 3, 1), ..good.clone() }, Error::INVALID_VALUE),
        (KernelLaunch { shared_bytes: 50 << 10, ..good.clone() }, Error::INVALID_VALUE),
        (KernelLaunch { arguments: vec![0; 39], ..good.clone() }, Error::INVALID_VALUE),
        (KernelLaunch { function: module, ..good.clone() }, Error::INVALID_HANDLE),
        (
            KernelLaunch { block: dim(65, 1, 1), ..launch_of(bounded) },
            Error::LAUNCH_OUT_OF_RESOURCES,
        ),
    ];
    for (launch, code) in cases {
        assert_eq!(client.launch(launch.clone()), Err(code), "{launch:?}");
    }
    let mut cluster = [0; 64];
    cluster[..12].copy_from_slice(&[3_u32, 1, 1].map(u32::to_le_bytes).concat());
    let attributes = vec![LaunchAttribute { id: 4, value: cluster }];
    let odd = KernelLaunch { attributes, ..good.clone() };
    assert_eq!(client.launch(odd), Err(Error::INVALID_CLUSTER_SIZE));
    let mut cooperative = [0; 64];
    cooperative[0] = 1;
    let attributes = vec![LaunchAttribute { id: 2, value: cooperative }];
    // 32 blocks at most on each of 132 multiprocessors.
    for (blocks, ended) in [(132, Ok(())), (4225, Err(Error::COOPERATIVE_LAUNCH_TOO_LARGE))] {
        let grid = dim(blocks, 1, 1);
        let launch = KernelLaunch { attributes: attributes.clone(), grid, ..good.clone() };
        assert_eq!(client.launch(launch), ended, "{blocks} blocks");
    }
}

/// Such launches were once counted and answered with success: a client took memory that nobody had
/// written for its result.
#[test]
fn a_launch_that_cannot_be_computed_is_refused_however_it_is_asked_for() {
    let mut client = Client::new();
    let module = client.module(PTX).expect("an answer").module;
    let unknown = client.function(module, "unknown").expect("a function").function;
    let machine = client.module_of(&cubin(90, false)).expect("an answer").module;
    let simple = client.function(machine, "simple").expect("its layout is known");
    assert_eq!(value(&simple.facts, Attribute::NUM_REGS), 40, "as are its attributes");
    let block = Dim3 { x: 32, y: 2, z: 1 };
    for (launch, code) in [
        (launch_of(unknown), Error::NOT_SUPPORTED),
        (KernelLaunch { block, ..launch_of(simple.function) }, Error::NO_BINARY_FOR_GPU),
    ] {
        for _ in 0..2 {
            assert_eq!(client.launch(launch.clone()), Err(code));
        }
        let stream = client.stream();
        client.begin(stream).expect("a capture begins");
        let launch = LaunchKernel { stream, launch };
        assert_eq!(client.sim.launch_kernel(&client.call, launch), Err(code), "captured");
    }
}

#[test]
fn a_launch_computes_with_the_modules_variables_and_faults_as_cuda_documents() {
    let mut client = Client::new();
    let text = include_str!("../../../../../tests/kernels/arithmetic.ptx");
    let module = client.module(text).expect("an answer").module;
    let scale = client.function(module, "vgpu_test_scale").expect("a function").function;
    let x: Vec<u8> = (0..256).flat_map(|at| (at as f32).to_le_bytes()).collect();
    let at = client.alloc(1024).expect("room");
    client.write(at, &x).expect("writable");
    let scale = |at: u64, count: u32| KernelLaunch {
        block: Dim3 { x: 128, y: 1, z: 1 },
        grid: Dim3 { x: 2, y: 1, z: 1 },
        arguments: [&at.to_le_bytes()[..], &count.to_le_bytes()].concat(),
        ..launch_of(scale)
    };
    assert_eq!(client.launch(scale(at, 255)), Ok(()));
    let scaled = |at: usize| if at < 255 { 2.0 * at as f32 + (at % 4) as f32 } else { 255.0 };
    let expected: Vec<u8> = (0..256).flat_map(|at| scaled(at).to_le_bytes()).collect();
    assert_eq!(client.read(at, 1024).expect("readable"), expected);
    assert_eq!(client.launch(scale(at + 512, 256)), Err(Error::ILLEGAL_ADDRESS));
    assert_eq!(client.launch(scale(at + 2, 1)), Err(Error::MISALIGNED_ADDRESS));
}

#[test]
fn a_kernel_of_a_library_is_launched_in_whatever_context_is_current() {
    let mut client = Client::new();
    let library = client.library();
    let kernel = client.kernel(library, "scale");
    assert_eq!(client.launch(launch_of(kernel)), Ok(()));
    let function = KernelGetFunction { kernel };
    let function = client.sim.kernel_get_function(&client.call, function).expect("one").function;
    assert_eq!(client.launch(launch_of(function)), Ok(()));
    let set = KernelSetAttribute {
        attrib: Attribute::MAX_DYNAMIC_SHARED_SIZE_BYTES.0,
        val: 100 << 10,
        kernel,
        dev: 0,
    };
    client.sim.kernel_set_attribute(&client.call, set).expect("changed");
    let more = |function| KernelLaunch { shared_bytes: 100 << 10, ..launch_of(function) };
    assert_eq!(client.launch(more(kernel)), Ok(()));
    assert_eq!(client.launch(more(function)), Ok(()), "its function has what the kernel has");
    client.sim.library_unload(&client.call, LibraryUnload { library }).expect("unloaded");
    assert_eq!(client.launch(launch_of(kernel)), Err(Error::INVALID_HANDLE));
    assert_eq!(client.launch(launch_of(function)), Err(Error::INVALID_HANDLE));
}

#[test]
fn code_ends_with_its_context_and_the_account_is_even() {
    let mut client = Client::new();
    let before = client.used();
    let (module, library) = (client.module(PTX).expect("an answer").module, client.library());
    let kernel = client.kernel(library, "scale");
    assert_eq!(client.launch(launch_of(kernel)), Ok(()));
    let reset = DevicePrimaryCtxResetV2 { dev: 0 };
    client.sim.device_primary_ctx_reset_v2(&client.call, reset).expect("reset");
    assert_eq!(client.used(), before);
    assert_eq!(client.function(module, "scale").map(drop), Err(Error::INVALID_HANDLE));
    let retain = DevicePrimaryCtxRetain { dev: 0 };
    client.sim.device_primary_ctx_retain(&client.call, retain).expect("a new life");
    assert_eq!(client.launch(launch_of(kernel)), Ok(()), "a library stays, with its kernels");
}

#[test]
fn occupancy_follows_from_warps_registers_shared_memory_and_blocks() {
    let kernel = |registers, static_shared_bytes| Kernel {
        registers,
        static_shared_bytes,
        max_threads_per_block: 1024,
        ..Kernel::default()
    };
    for (registers, own, threads, dynamic, blocks) in [
        // 64 warps, and 32 blocks.
        (32, 0, 1024, 0, 2),
        (32, 0, 32, 0, 32),
        (16, 0, 96, 0, 21),
        // 65,536 registers: 64 a thread leave 32 warps.
        (64, 0, 256, 0, 4),
        (255, 0, 256, 0, 1),
        (255, 0, 1024, 0, 0),
        (33, 0, 128, 0, 12),
        // 228 KiB of shared memory, 1 KiB of each block for the driver.
        (32, 48 << 10, 128, 0, 4),
        (32, 0, 128, 40 << 10, 5),
        (32, 0, 128, 49 << 10, 0),
        (32, 0, 0, 0, 0),
        (32, 0, 1025, 0, 0),
    ] {
        let kernel = kernel(registers, own);
        let settings = super::Settings::of(&kernel);
        let held = occupancy::blocks(&kernel, &settings, threads, dynamic);
        assert_eq!(held, blocks, "{registers} registers, {own} + {dynamic} bytes, {threads}");
    }
    let plain = kernel(32, 0);
    let settings = super::Settings::of(&plain);
    assert_eq!(occupancy::dynamic_shared(&plain, &settings, 2, 128), (113 << 10));
    assert_eq!(occupancy::dynamic_shared(&plain, &settings, 1, 128), (227 << 10));
    assert_eq!(occupancy::dynamic_shared(&plain, &settings, 3, 1024), 0);
    let narrow = Kernel { maximum_cluster: Some(2), ..kernel(32, 0) };
    let most = [&plain, &narrow].map(|kernel| occupancy::cluster_blocks_max(kernel, &settings));
    assert_eq!(most, [8, 2]);
    assert_eq!(occupancy::clusters(1, 8), 2 * 2 + 6 * 2);
    assert_eq!(occupancy::clusters(2, 16), 8 * 2);
}
