//! The driver API by messages, over the real socket: copies, errors that wait, shared memory.

use vgpu_link::wire::cuda;
use vgpu_link::wire::header::BULK_BYTES_MAX;

use crate::process::{Client, Vgpud, pid_in};

const INVALID_VALUE: u16 = 1;
const OUT_OF_MEMORY: u16 = 2;
const INVALID_CONTEXT: u16 = 201;
const INVALID_HANDLE: u16 = 400;

fn driving(daemon: &Vgpud) -> Client {
    let mut client = daemon.client();
    client.context = client.call(&cuda::DevicePrimaryCtxRetain { dev: 0 }).expect("a device").pctx;
    client
}

fn alloc(client: &mut Client, bytesize: u64) -> Result<u64, u16> {
    client.call(&cuda::MemAllocV2 { bytesize }).map(|reply| reply.dptr)
}

fn read(client: &mut Client, src_device: u64, bytes: usize) -> Result<Vec<u8>, u16> {
    let mut out = vec![0; bytes];
    let request = cuda::MemcpyDtoHV2 { src_device, byte_count: bytes as u64 };
    client.call_with(&request, &[], &mut out).map(|()| out)
}

fn synchronise(client: &mut Client) -> Result<(), u16> {
    client.call(&cuda::StreamSynchronize { stream: 0 })
}

#[test]
fn the_largest_copy_of_one_frame_comes_back_equal() {
    let daemon = Vgpud::start(&[]);
    let mut client = driving(&daemon);
    let at = alloc(&mut client, BULK_BYTES_MAX as u64).expect("room");
    let mut sent = vec![0; BULK_BYTES_MAX];
    fastrand::Rng::with_seed(4).fill(&mut sent);
    client.call_with(&cuda::MemcpyHtoDV2 { dst_device: at }, &sent, &mut []).expect("in range");
    assert!(read(&mut client, at, BULK_BYTES_MAX).expect("in range") == sent);
}

#[test]
fn posts_are_done_in_order_before_the_next_call() {
    let daemon = Vgpud::start(&[]);
    let mut client = driving(&daemon);
    let at = alloc(&mut client, 4096).expect("room");
    for value in 0..500_u32 {
        let bytes = value.to_le_bytes().repeat(1024);
        client.post_with(&cuda::MemcpyHtoDAsyncV2 { dst_device: at, stream: 2 }, &bytes);
    }
    assert_eq!(read(&mut client, at, 4), Ok(499_u32.to_le_bytes().to_vec()));
    synchronise(&mut client).expect("all went well");
}

#[test]
fn the_error_of_a_post_is_reported_to_who_waits_for_its_context_from_another() {
    let daemon = Vgpud::start(&[]);
    let mut client = driving(&daemon);
    let ctx = client.context;
    client.post_with(&cuda::MemsetD8Async { dst_device: 1, uc: 9, n: 16, stream: 0 }, &[]);
    client.context = client.call(&cuda::CtxCreateV2 { flags: 0, dev: 0 }).expect("a device").pctx;
    assert_eq!(synchronise(&mut client), Ok(()), "this context has no error");
    assert_eq!(client.call(&cuda::CtxSynchronizeV2 { ctx }), Err(INVALID_VALUE));
    assert_eq!(client.call(&cuda::CtxSynchronizeV2 { ctx }), Ok(()));
}

#[test]
fn the_error_of_a_post_does_not_outlive_its_context() {
    let daemon = Vgpud::start(&[]);
    let mut client = driving(&daemon);
    client.post_with(&cuda::MemsetD8Async { dst_device: 1, uc: 9, n: 16, stream: 0 }, &[]);
    client.call(&cuda::DevicePrimaryCtxResetV2 { dev: 0 }).expect("it was retained");
    let again = client.call(&cuda::DevicePrimaryCtxRetain { dev: 0 }).expect("a device").pctx;
    assert_eq!(again, client.context, "the primary context has its old handle");
    assert_eq!(synchronise(&mut client), Ok(()));
}

#[test]
fn the_error_of_a_post_is_reported_once_at_the_next_call_that_waits() {
    let daemon = Vgpud::start(&[]);
    let mut client = driving(&daemon);
    let at = alloc(&mut client, 16).expect("room");
    client.post_with(&cuda::MemcpyHtoDAsyncV2 { dst_device: at, stream: 0 }, &[0; 17]);
    client.post_with(&cuda::MemsetD8Async { dst_device: at, uc: 9, n: 16, stream: 77 }, &[]);
    alloc(&mut client, 16).expect("allocating waits for nothing");
    assert_eq!(synchronise(&mut client), Err(INVALID_VALUE), "the first error");
    assert_eq!(synchronise(&mut client), Ok(()));
    assert_eq!(read(&mut client, at, 16), Ok(vec![0; 16]), "neither post did anything");
    assert_eq!(client.call(&cuda::StreamSynchronize { stream: 77 }), Err(INVALID_HANDLE));
}

#[test]
fn clients_share_the_memory_of_a_device_but_not_its_contents() {
    let daemon = Vgpud::start(&["--sim-gpus", "2"]);
    let (mut one, mut two) = (driving(&daemon), driving(&daemon));
    let total = one.state(0).memory_total;
    let at = alloc(&mut one, total - 512).expect("room");
    assert_eq!(alloc(&mut two, 1024), Err(OUT_OF_MEMORY));
    let own = alloc(&mut two, 512).expect("the rest");
    let info = two.call(&cuda::MemGetInfoV2).expect("a context");
    assert_eq!((info.free, info.total), (0, total));
    assert_eq!((two.state(0).memory_free, two.state(1).memory_free), (0, total));
    one.post_with(&cuda::MemsetD8Async { dst_device: at, uc: 1, n: 512, stream: 0 }, &[]);
    synchronise(&mut one).expect("in range");
    assert_eq!(own, at, "addresses are each client's own");
    assert_eq!(read(&mut two, own, 512), Ok(vec![0; 512]));
    one.post_with(&cuda::MemFreeV2 { dptr: at }, &[]);
    synchronise(&mut one).expect("it was there");
    assert_eq!(two.state(0).memory_used, 512);
}

#[test]
fn a_call_without_a_context_is_refused() {
    let daemon = Vgpud::start(&[]);
    let mut client = daemon.client();
    assert_eq!(alloc(&mut client, 1), Err(INVALID_CONTEXT));
    assert_eq!(synchronise(&mut client), Err(INVALID_CONTEXT));
}

/// Half of the clients leave in the middle of a copy: their memory must come back all the same.
#[test]
fn many_clients_copy_at_once_and_leave_nothing_behind() {
    const CLIENTS: usize = 16;
    const BYTES: usize = 1 << 20;
    let daemon = Vgpud::start(&[]);
    let mut observer = daemon.client();
    let mut clients: Vec<(Client, u64)> = (0..CLIENTS)
        .map(|_| {
            let mut client = driving(&daemon);
            let at = alloc(&mut client, BYTES as u64).expect("room");
            (client, at)
        })
        .collect();
    std::thread::scope(|scope| {
        for (number, (client, at)) in clients.iter_mut().enumerate() {
            scope.spawn(move || {
                let mut sent = vec![0; BYTES];
                fastrand::Rng::with_seed(number as u64).fill(&mut sent);
                for _ in 0..4 {
                    let to = cuda::MemcpyHtoDAsyncV2 { dst_device: *at, stream: 2 };
                    client.post_with(&to, &sent);
                    assert!(read(client, *at, BYTES).expect("in range") == sent);
                }
            });
        }
    });
    let state = observer.state(0);
    assert_eq!(state.memory_used, (CLIENTS * BYTES) as u64);
    assert_eq!(state.processes.len(), CLIENTS);
    for (mut client, at) in clients.drain(..).step_by(2) {
        let to = cuda::MemcpyHtoDAsyncV2 { dst_device: at, stream: 2 };
        client.post_with(&to, &[1; BYTES]);
    }
    for _ in 0..CLIENTS {
        daemon.wait_for(&["vgpud: gone", "freed=1048576"]);
    }
    assert_eq!(observer.state(0).memory_used, 0);
}

/// The design allows an idle client 5 MiB of the host, CUDA's own aside.
#[test]
fn an_idle_client_costs_the_host_less_than_5_mib() {
    let daemon = Vgpud::start(&[]);
    let mut client = driving(&daemon);
    client.snapshot();
    let worker = pid_in(&daemon.wait_for(&["vgpud: client"]), "worker=");
    let status = std::fs::read_to_string(format!("/proc/{worker}/status")).expect("Linux");
    let own = status.lines().find(|line| line.starts_with("RssAnon:")).expect("Linux 4.5");
    let kib: u64 = own.split_whitespace().nth(1).expect("a number").parse().expect("a number");
    assert!((1..5 << 10).contains(&kib), "{own}");
}
