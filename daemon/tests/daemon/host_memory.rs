//! What the clients of a tenant take of this machine's memory, all together.
//!
//! These tests connect as several users, so they need root.

use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use vgpu_link::LinkError;
use vgpu_link::wire::cuda;

use crate::metrics::{scrape, value};
use crate::process::{Client, LIMIT, Vgpud};
use crate::tenants::{ALICE, BOB, OUT_OF_MEMORY, client_as, serve};

const MIB: u64 = 1 << 20;

/// A daemon with metrics, whose tenant `alice` may have so many MiB of this machine's memory.
fn limited(host_memory_mib: u64) -> (Vgpud, SocketAddr) {
    // It was free a moment ago, and nobody else on this machine takes ports by number.
    let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr());
    let metrics = free.expect("a free port");
    let limit = format!("host_memory_mib = {host_memory_mib}");
    (serve(&["--metrics", &metrics.to_string()], &limit, ""), metrics)
}

fn pin(client: &mut Client, mib: u64) -> Result<(), u16> {
    client.call(&cuda::SpanPin { offset: 0, bytes: mib * MIB })
}

fn used(metrics: SocketAddr, tenant: &str) -> u64 {
    value(&scrape(metrics), &format!("vgpud_tenant_host_memory_used_bytes{{tenant=\"{tenant}\"}}"))
        as u64
}

#[test]
fn what_clients_of_a_tenant_pin_is_limited_over_all_of_them_and_comes_back() {
    let (daemon, metrics) = limited(100);
    let (mut one, mut two) = (client_as(&daemon, ALICE), client_as(&daemon, ALICE));
    assert_eq!(one.link.area().map(|area| area.bytes()), Some(100 * MIB), "no more is of use");
    pin(&mut one, 60).expect("within the share");
    assert_eq!(pin(&mut two, 60), Err(OUT_OF_MEMORY));
    let mut other = client_as(&daemon, BOB);
    pin(&mut other, 200).expect("the other tenant has no such limit");
    let seen = scrape(metrics);
    let share = value(&seen, "vgpud_tenant_host_memory_bytes{tenant=\"alice\"}");
    assert!((share - (100 * MIB) as f64).abs() < 0.5, "{share}");
    assert!(!seen.contains("vgpud_tenant_host_memory_bytes{tenant=\"bob\"}"), "bob has no limit");
    // Pinned memory, and what two workers have for themselves.
    assert!((60 * MIB..100 * MIB).contains(&used(metrics, "alice")), "{seen}");
    assert!((200 * MIB..240 * MIB).contains(&used(metrics, "bob")), "{seen}");
    one.call(&cuda::SpanUnpin { offset: 0, bytes: 60 * MIB }).expect("it is pinned");
    pin(&mut two, 60).expect("it is free again");
    assert_eq!(pin(&mut one, 60), Err(OUT_OF_MEMORY));
    drop(two);
    daemon.wait_for(&["vgpud: gone"]);
    pin(&mut one, 60).expect("a client that went has nothing");
}

/// Posts copies behind a function that never returns: its worker keeps them.
fn pile_up(client: &mut Client, at: u64, mib: u64) {
    let copy = cuda::MemcpyHtoDAsyncV2 { dst_device: at, stream: 0 };
    for _ in 0..mib {
        client.post_with(&copy, &vec![1; MIB as usize]);
    }
}

#[test]
fn a_tenant_whose_workers_take_more_gets_no_more_and_then_loses_its_largest_client() {
    let (daemon, metrics) = limited(128);
    let mut small = client_as(&daemon, ALICE);
    let mut large = client_as(&daemon, ALICE);
    let at = large.call(&cuda::MemAllocV2 { bytesize: MIB }).expect("room").dptr;
    large.post_with(&cuda::LaunchHostFunction { stream: 0, ticket: 1 }, &[]);
    pile_up(&mut large, at, 130);
    // Seen when it is measured next.
    let limit = Instant::now() + LIMIT;
    while let Ok(reply) = small.call(&cuda::MemAllocV2 { bytesize: MIB }) {
        assert!(Instant::now() < limit, "{} is enough for ever", used(metrics, "alice"));
        small.call(&cuda::MemFreeV2 { dptr: reply.dptr }).expect("it is its own");
    }
    let refused = small.call(&cuda::MemAllocV2 { bytesize: MIB }).err();
    assert_eq!((refused, pin(&mut small, 1)), (Some(OUT_OF_MEMORY), Err(OUT_OF_MEMORY)));
    client_as(&daemon, BOB).call(&cuda::MemAllocV2 { bytesize: MIB }).expect("bob's is bob's");
    pile_up(&mut large, at, 60);
    daemon.wait_for(&["vgpud: over-memory", "tenant=alice"]);
    daemon.wait_for(&["vgpud: gone", "signal: 9"]);
    assert!(matches!(large.ended(), LinkError::Closed));
    small.call(&cuda::MemAllocV2 { bytesize: MIB }).expect("there is room again");
    pin(&mut small, 64).expect("there is room again");
}
