//! Tenants: who is served, how much all clients of one get together, and what one learns of the
//! other, which is nothing.
//!
//! These tests connect as several users, so they need root.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use vgpu_link::LinkError;
use vgpu_link::wire::control::{DeviceState, Refusal, status};
use vgpu_link::wire::cuda;

use crate::process::{Client, LIMIT, Vgpud, as_user, client_of, pid_in};

const MIB: u64 = 1 << 20;

/// Two users that no system has, and a third that no tenant names.
pub const ALICE: u32 = 71_001;
pub const BOB: u32 = 71_002;
const MALLORY: u32 = 71_003;

/// cudaError_enum.
const INVALID_VALUE: u16 = 1;
pub const OUT_OF_MEMORY: u16 = 2;
const INVALID_DEVICE: u16 = 101;
const INVALID_HANDLE: u16 = 400;

/// Starts a daemon that everybody may connect to, with the tenants `alice` and `bob`, who have
/// these further keys.
pub fn serve(arguments: &[&str], alice: &str, bob: &str) -> Vgpud {
    assert!(rustix::process::geteuid().is_root(), "connecting as several users needs root");
    let directory = tempfile::tempdir().expect("a directory");
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), everybody).expect("it is ours");
    let file = directory.path().join("host.toml");
    let text = format!(
        "device = \"sim\"\nmode = \"0666\"\n\
         [[tenant]]\nname = \"alice\"\nusers = [{ALICE}]\n{alice}\n\
         [[tenant]]\nname = \"bob\"\nusers = [{BOB}]\n{bob}\n"
    );
    std::fs::write(&file, text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgpud"));
    let socket = format!("unix:{}", directory.path().join("vgpud.sock").display());
    command.arg("--config").arg(&file).args(["--listen", &socket]).args(arguments);
    Vgpud::spawn(command, directory)
}

/// Connects as a user.
fn try_as(daemon: &Vgpud, user: u32) -> Result<Client, LinkError> {
    let socket = daemon.socket();
    as_user(user, || client_of(&socket))
}

/// Connects as a user, with the primary context of the user's first GPU.
pub fn client_as(daemon: &Vgpud, user: u32) -> Client {
    let mut client = try_as(daemon, user).expect("the daemon welcomes us");
    let retain = cuda::DevicePrimaryCtxRetain { dev: 0 };
    client.context = client.call(&retain).expect("a device").pctx;
    client
}

fn alloc(client: &mut Client, bytesize: u64) -> Result<u64, u16> {
    client.call(&cuda::MemAllocV2 { bytesize }).map(|reply| reply.dptr)
}

fn read(client: &mut Client, src_device: u64, bytes: usize) -> Result<Vec<u8>, u16> {
    let mut out = vec![0xee; bytes];
    let request = cuda::MemcpyDtoHV2 { src_device, byte_count: bytes as u64 };
    client.call_with(&request, &[], &mut out).map(|_| out)
}

#[test]
fn who_is_of_no_tenant_is_refused_with_what_was_seen_and_a_remedy() {
    let daemon = serve(&[], "", "");
    for (user, says) in [(MALLORY, "uid:71003 gid:71003"), (0, "uid:0 gid:0")] {
        let Err(error) = try_as(&daemon, user) else { panic!("user {user} was welcomed") };
        let is_stranger = matches!(error, LinkError::Refused { refusal: Refusal::Stranger, .. });
        assert!(is_stranger && error.to_string().contains(says), "{error}");
        assert!(
            !error.is_retryable() && error.hint().is_some_and(|hint| hint.contains("[[tenant]]"))
        );
    }
    client_as(&daemon, ALICE).snapshot();
    daemon.wait_for(&["vgpud: client", "uid:71001", "tenant=alice"]);
    client_as(&daemon, BOB).snapshot();
}

#[test]
fn a_share_holds_over_all_connections_of_a_tenant_and_comes_back_within_a_second() {
    let daemon = serve(&[], "memory_mib = 64", "");
    let (mut one, mut two) = (client_as(&daemon, ALICE), client_as(&daemon, ALICE));
    let mut other = client_as(&daemon, BOB);
    alloc(&mut one, 48 * MIB).expect("within the share");
    assert_eq!(alloc(&mut two, 17 * MIB), Err(OUT_OF_MEMORY));
    alloc(&mut two, 16 * MIB).expect("the rest of it");
    alloc(&mut other, 1024 * MIB).expect("the other tenant has no such limit");
    let began = Instant::now();
    drop(one);
    daemon.wait_for(&["vgpud: gone", "freed=50331648"]);
    alloc(&mut two, 48 * MIB).expect("what the one had is the other's");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn memory_info_and_process_lists_show_the_share_and_the_tenants_own_clients() {
    let daemon = serve(&[], "memory_mib = 64", "");
    let (mut alice, mut bob) = (client_as(&daemon, ALICE), client_as(&daemon, BOB));
    alloc(&mut alice, 16 * MIB).expect("within the share");
    alloc(&mut bob, 8 * MIB).expect("there is no limit");
    let info = alice.call(&cuda::MemGetInfoV2).expect("a context");
    assert_eq!((info.free, info.total), (48 * MIB, 64 * MIB));
    assert_eq!(alice.snapshot().devices[0].total_memory, 64 * MIB, "cuDeviceTotalMem");
    let state = alice.state(0);
    let told = (state.memory_total, state.memory_free, state.memory_used);
    assert_eq!(told, (64 * MIB, 48 * MIB, 16 * MIB));
    let bytes: Vec<u64> = state.processes.iter().map(|process| process.bytes).collect();
    assert_eq!(bytes, [16 * MIB], "bob's process is not alice's to see");
    let state = bob.state(0);
    assert_eq!((state.memory_used, state.processes.len()), (8 * MIB, 1));
    assert_eq!(
        state.memory_free,
        state.memory_total - 24 * MIB,
        "alice's part is taken all the same"
    );
}

#[test]
fn a_tenant_sees_its_gpus_in_its_order_and_can_name_no_other() {
    let daemon = serve(&["--sim-gpus", "3"], "gpus = [2, 0]", "gpus = [1]");
    let plain = Vgpud::start(&["--sim-gpus", "3"]);
    let all = plain.client().snapshot().devices;
    let (mut alice, mut bob) = (client_as(&daemon, ALICE), client_as(&daemon, BOB));
    assert_eq!(alice.snapshot().devices, [all[2].clone(), all[0].clone()]);
    assert_eq!(bob.snapshot().devices, [all[1].clone()]);
    let pci: HashSet<u8> = alice.snapshot().devices.iter().map(|device| device.pci_bus).collect();
    assert_eq!(pci, HashSet::from([1, 3]));
    // Its first GPU is the third of the host, and what it takes there is gone there only.
    alloc(&mut alice, 8 * MIB).expect("there is no limit");
    assert_eq!((alice.state(0).memory_used, alice.state(1).memory_used), (8 * MIB, 0));
    assert_eq!(bob.state(0).memory_free, bob.state(0).memory_total);
    for device in [1, 2, u32::MAX] {
        assert_eq!(bob.call(&DeviceState { device }), Err(status::NO_SUCH_DEVICE));
    }
    for dev in [1, 2, -1, i32::MAX] {
        let retained = bob.call(&cuda::DevicePrimaryCtxRetain { dev });
        assert_eq!(retained.map(|reply| reply.pctx), Err(INVALID_DEVICE), "{dev}");
        let made = bob.call(&cuda::CtxCreateV2 { flags: 0, dev });
        assert_eq!(made.map(|reply| reply.pctx), Err(INVALID_DEVICE), "{dev}");
    }
}

#[test]
fn a_tenant_has_as_many_clients_as_it_may_and_others_are_not_counted() {
    let daemon = serve(&[], "clients = 2", "");
    let (first, _second) = (client_as(&daemon, ALICE), client_as(&daemon, ALICE));
    let Err(error) = try_as(&daemon, ALICE) else { panic!("a third client was welcomed") };
    assert!(matches!(error, LinkError::Refused { refusal: Refusal::Full, .. }), "{error}");
    assert!(error.to_string().contains("tenant alice has 2 clients"), "{error}");
    let _others: Vec<Client> = (0..3).map(|_| client_as(&daemon, BOB)).collect();
    drop(first);
    daemon.wait_for(&["vgpud: gone"]);
    client_as(&daemon, ALICE).snapshot();
}

#[test]
fn messages_above_the_rate_wait_and_none_is_refused() {
    const EACH: u32 = 60;
    let daemon = serve(&[], "messages_per_second = 200", "");
    let mut clients = [client_as(&daemon, ALICE), client_as(&daemon, ALICE)];
    let began = Instant::now();
    std::thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| (0..EACH).for_each(|_| drop(client.snapshot())));
        }
    });
    // 20 of the 120 may have gathered before.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(480) && took < LIMIT, "{took:?}");
}

/// Everything that one tenant could name to reach what is the other's.
#[test]
fn nothing_of_one_tenant_is_read_by_another() {
    const SECRET: u8 = 0xa5;
    let daemon = serve(&[], "", "");
    let (mut alice, mut bob) = (client_as(&daemon, ALICE), client_as(&daemon, BOB));
    // Bob has nothing yet, so every address and handle below is alice's alone.
    let at = alloc(&mut alice, MIB).expect("room");
    let fill = cuda::MemsetD8Async { dst_device: at, uc: SECRET, n: MIB, stream: 0 };
    alice.post_with(&fill, &[]);
    assert_eq!(read(&mut alice, at, 4), Ok(vec![SECRET; 4]));
    let stream = alice.call(&cuda::StreamCreate { flags: 0 }).expect("a stream").stream;
    let context = alice.call(&cuda::CtxCreateV2 { flags: 0, dev: 0 }).expect("a device").pctx;
    assert_eq!(read(&mut bob, at, 64), Err(INVALID_VALUE));
    assert_eq!(bob.call(&cuda::StreamSynchronize { stream }), Err(INVALID_HANDLE));
    let own = std::mem::replace(&mut bob.context, context);
    assert_ne!(alloc(&mut bob, 16).err(), None, "a context of alice's");
    bob.context = own;
    // Fresh memory, while alice has hers and after she freed it and went.
    let clean = |bob: &mut Client| {
        let at = alloc(bob, MIB).expect("room");
        let bytes = read(bob, at, MIB as usize).expect("it is bob's");
        assert!(bytes.iter().all(|&byte| byte == 0), "something was there");
        at
    };
    let first = clean(&mut bob);
    alice.call(&cuda::CtxDestroyV2 { ctx: context }).expect("it is alice's");
    drop(alice);
    daemon.wait_for(&["vgpud: gone", "freed=1048576"]);
    clean(&mut bob);
    // A stale address of one's own is refused as well.
    bob.post_with(&cuda::MemFreeV2 { dptr: first }, &[]);
    assert_eq!(read(&mut bob, first, 16), Err(INVALID_VALUE));
}

#[test]
fn a_worker_cannot_reach_what_it_was_not_given() {
    let daemon = serve(&[], "", "");
    let mut client = client_as(&daemon, ALICE);
    let worker = pid_in(&daemon.wait_for(&["vgpud: client"]), "worker=");
    client.snapshot();
    let status = std::fs::read_to_string(format!("/proc/{worker}/status")).expect("it is there");
    let value = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).expect("Linux");
        line[key.len()..].trim().to_owned()
    };
    assert_eq!((value("NoNewPrivs:"), value("Seccomp:")), ("1".into(), "2".into()));
    let limits = std::fs::read_to_string(format!("/proc/{worker}/limits")).expect("it is there");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("Linux");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

#[test]
fn a_tenant_with_a_gpu_that_is_not_there_ends_the_start_with_file_key_and_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("host.toml");
    let text = "device = \"sim\"\n[[tenant]]\nname = \"a\"\nusers = [5]\ngpus = [0, 1]\n";
    std::fs::write(&file, text).expect("written");
    let socket = format!("unix:{}", directory.path().join("s").display());
    let output = Command::new(env!("CARGO_BIN_EXE_vgpud"))
        .args(["--listen", &socket, "--config"])
        .arg(&file)
        .output()
        .expect("it runs");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["host.toml, tenant \"a\": gpus", "because: there is no GPU 1", "try:"] {
        assert!(said.contains(part), "{said}");
    }
}

/// Writes other tenants and asks for them to be read.
fn reload(daemon: &Vgpud, tenants: &str) -> String {
    let file = daemon.directory.path().join("host.toml");
    std::fs::write(&file, format!("device = \"sim\"\nmode = \"0666\"\n{tenants}"))
        .expect("written");
    daemon.signal("HUP");
    daemon.wait_for(&["reloaded"])
}

#[test]
fn a_reload_changes_tenants_and_says_what_holds_for_new_clients_only() {
    let daemon = serve(&[], "memory_mib = 64\nclients = 1", "gpus = [0]");
    let (mut alice, mut bob) = (client_as(&daemon, ALICE), client_as(&daemon, BOB));
    alloc(&mut alice, 48 * MIB).expect("within the share");
    let line = reload(
        &daemon,
        &format!(
            "[[tenant]]\nname = \"alice\"\nusers = [{ALICE}]\nmemory_mib = 32\nclients = 2\n\
             messages_per_second = 50000\n\
             [[tenant]]\nname = \"mallory\"\nusers = [{MALLORY}]\n"
        ),
    );
    assert_eq!(
        line,
        "vgpud: reloaded \
         tenants=alice.memory_mib,alice.clients,alice.messages_per_second,mallory.new,bob.gone \
         for_new_clients=alice.messages_per_second"
    );
    // What is held stays held, and no more is had.
    let info = alice.call(&cuda::MemGetInfoV2).expect("a context");
    assert_eq!((info.free, info.total), (0, 32 * MIB));
    assert_eq!(alloc(&mut alice, MIB), Err(OUT_OF_MEMORY));
    // Who is there stays, also of a tenant that is gone; who comes is of today's.
    alloc(&mut bob, MIB).expect("bob's client keeps what it had");
    let Err(error) = try_as(&daemon, BOB) else { panic!("bob is of no tenant any more") };
    assert!(matches!(error, LinkError::Refused { refusal: Refusal::Stranger, .. }), "{error}");
    client_as(&daemon, MALLORY).snapshot();
    client_as(&daemon, ALICE).snapshot();
    let line = reload(&daemon, "");
    assert_eq!(line, "vgpud: reloaded tenants=all.new,alice.gone,mallory.gone");
    assert!(try_as(&daemon, 71_004).expect("everybody is served").snapshot().devices.len() == 1);
    assert_eq!(alloc(&mut alice, MIB), Err(OUT_OF_MEMORY), "its limit stays with the client");
}

#[test]
fn a_reload_changes_the_rate_of_clients_that_are_there() {
    const EACH: u32 = 60;
    let daemon = serve(&[], "messages_per_second = 20", "");
    let mut alice = client_as(&daemon, ALICE);
    let tenants = |rate: &str| {
        let alice = format!("[[tenant]]\nname = \"alice\"\nusers = [{ALICE}]\n{rate}\n");
        alice + &format!("[[tenant]]\nname = \"bob\"\nusers = [{BOB}]\n")
    };
    let line = reload(&daemon, &tenants("messages_per_second = 1000"));
    assert_eq!(line, "vgpud: reloaded tenants=alice.messages_per_second");
    let began = Instant::now();
    (0..EACH).for_each(|_| drop(alice.state(0)));
    // At the old rate that is three seconds.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    reload(&daemon, &tenants("messages_per_second = 100"));
    let began = Instant::now();
    (0..EACH).for_each(|_| drop(alice.state(0)));
    assert!(began.elapsed() > Duration::from_millis(400), "{:?}", began.elapsed());
}

#[test]
fn a_reload_that_names_a_gpu_which_is_not_there_changes_no_tenant() {
    let daemon = serve(&[], "clients = 1", "");
    let _alice = client_as(&daemon, ALICE);
    let line = reload(
        &daemon,
        &format!("[[tenant]]\nname = \"alice\"\nusers = [{ALICE}]\ngpus = [1]\nclients = 9\n"),
    );
    assert!(line.starts_with("vgpud: not-reloaded ") && line.contains("no GPU 1"), "{line}");
    assert!(try_as(&daemon, ALICE).is_err(), "one client is still the most");
}
