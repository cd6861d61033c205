//! What the ledger grants, and to whom it shows what.

use super::*;

/// A ledger of two devices for tenants with these limits.
fn ledger(tenants: Vec<Limits>) -> Ledger {
    let mut ledger = Ledger::new(tenants);
    assert!(ledger.open(vec![100, 10]));
    ledger
}

#[test]
fn memory_is_granted_up_to_the_last_byte_and_comes_back_with_its_session() {
    let mut ledger = Ledger::new(vec![Limits::default()]);
    assert!(!ledger.is_open() && !ledger.open(vec![]) && ledger.open(vec![100, 10]));
    assert!(ledger.open(vec![100, 10]) && !ledger.open(vec![100]), "devices do not change");
    for (session, name) in [(1, "one"), (2, "two")] {
        ledger.admit(session, 0).expect("there is no limit");
        ledger.introduce(session, 40 + session as u32, Text::cut(name));
    }
    assert!(ledger.reserve(1, 0, 60) && ledger.reserve(2, 0, 40) && ledger.reserve(2, 1, 10));
    assert!(!ledger.reserve(1, 0, 1) && !ledger.reserve(1, 0, u64::MAX));
    assert!(!ledger.reserve(1, 2, 0), "there is no third device");
    assert!(!ledger.reserve(3, 0, 0), "who was not admitted gets nothing");
    let usage = ledger.usage(1, 0);
    assert_eq!((usage.total, usage.free, usage.used), (100, 0, 100));
    let pids: Vec<u32> = usage.processes.iter().map(|process| process.pid).collect();
    assert_eq!(pids, [41, 42]);
    assert_eq!(ledger.close(2), 50);
    assert_eq!((ledger.usage(1, 0).used, ledger.usage(1, 1).used), (60, 0));
    assert!(ledger.reserve(1, 0, 40));
}

#[test]
fn more_than_is_held_is_not_given_back() {
    let mut ledger = ledger(vec![Limits::default()]);
    ledger.admit(1, 0).expect("there is no limit");
    ledger.admit(2, 0).expect("there is no limit");
    assert!(ledger.reserve(1, 0, 60) && ledger.reserve(2, 0, 30));
    assert!(!ledger.release(1, 0, 61) && !ledger.release(3, 0, 1) && !ledger.release(1, 1, 1));
    assert!(ledger.release(1, 0, 60));
    assert_eq!(ledger.usage(2, 0).used, 30);
}

#[test]
fn a_share_holds_for_all_sessions_of_a_tenant_together_and_on_each_gpu() {
    let small = Limits { memory: Some(40), ..Limits::default() };
    let mut ledger = ledger(vec![small, Limits::default()]);
    for (session, tenant) in [(1, 0), (2, 0), (3, 1)] {
        ledger.admit(session, tenant).expect("there is no limit");
    }
    assert_eq!(
        ledger.gpus(0),
        [Gpu { ordinal: 0, bytes: 40 }, Gpu { ordinal: 1, bytes: 10 }],
        "no share is more than the device"
    );
    assert!(ledger.reserve(1, 0, 30) && !ledger.reserve(2, 0, 11) && ledger.reserve(2, 0, 10));
    assert!(ledger.reserve(2, 1, 10), "the share is one of each GPU");
    assert!(!ledger.reserve(3, 0, 61) && ledger.reserve(3, 0, 60), "the rest is the other's");
    assert_eq!(ledger.close(1), 30);
    assert!(ledger.reserve(2, 0, 30), "what a session held comes back to its tenant");
}

#[test]
fn a_tenant_sees_its_share_and_its_own_clients_only() {
    let limits = |memory| Limits { memory, ..Limits::default() };
    let mut ledger = ledger(vec![limits(Some(40)), limits(Some(90))]);
    for (session, tenant) in [(1, 0), (2, 1)] {
        ledger.admit(session, tenant).expect("there is no limit");
        ledger.introduce(session, session as u32, Text::default());
    }
    assert!(ledger.reserve(1, 0, 5) && ledger.reserve(2, 0, 80));
    let usage = ledger.usage(1, 0);
    assert_eq!((usage.total, usage.used), (40, 5));
    assert_eq!(usage.free, 15, "no more than the device still has");
    assert_eq!(usage.processes.iter().map(|process| process.pid).collect::<Vec<_>>(), [1]);
    let usage = ledger.usage(2, 0);
    assert_eq!((usage.total, usage.free, usage.used), (90, 10, 80));
    assert_eq!(usage.processes.iter().map(|process| process.pid).collect::<Vec<_>>(), [2]);
    let nobody = ledger.usage(9, 0);
    assert_eq!((nobody.total, nobody.used, nobody.processes.len()), (0, 0, 0));
}

#[test]
fn a_gpu_of_others_is_neither_seen_nor_granted() {
    let only = |gpus| Limits { gpus: Some(gpus), ..Limits::default() };
    let mut ledger = ledger(vec![only(vec![1, 0]), only(vec![1])]);
    ledger.admit(1, 1).expect("there is no limit");
    let ordinals = |tenant| ledger.gpus(tenant).iter().map(|gpu| gpu.ordinal).collect::<Vec<_>>();
    assert_eq!((ordinals(0), ordinals(1)), (vec![1, 0], vec![1]));
    assert!(!ledger.reserve(1, 0, 1) && ledger.reserve(1, 1, 10));
    assert_eq!(ledger.usage(1, 0).total, 0);
}

#[test]
fn a_tenants_clients_are_counted_and_another_tenants_are_not() {
    let two = Limits { clients: Some(2), ..Limits::default() };
    let mut ledger = ledger(vec![two, Limits::default()]);
    assert_eq!(
        (ledger.admit(1, 0), ledger.admit(2, 0), ledger.admit(3, 0)),
        (Ok(()), Ok(()), Err(2))
    );
    assert_eq!((ledger.admit(4, 1), ledger.tenant(4), ledger.tenant(3)), (Ok(()), Some(1), None));
    ledger.close(1);
    assert_eq!(ledger.admit(5, 0), Ok(()));
}

#[test]
fn memory_of_this_machine_is_pinned_by_all_of_a_tenant_up_to_its_limit() {
    let limited = Limits { host_memory: Some(100), ..Limits::default() };
    let mut ledger = ledger(vec![limited, Limits::default()]);
    for (session, tenant) in [(1, 0), (2, 0), (3, 1)] {
        ledger.admit(session, tenant).expect("there is no limit");
    }
    assert!(ledger.pin(1, 60) && !ledger.pin(2, 41) && ledger.pin(2, 40));
    assert!(!ledger.pin(1, 1) && !ledger.pin(1, u64::MAX) && !ledger.pin(9, 0));
    assert!(ledger.pin(3, 1 << 40), "the other tenant has no such limit");
    assert!(!ledger.unpin(1, 61) && ledger.unpin(1, 10) && !ledger.unpin(9, 0));
    assert!(ledger.affords(2, 10) && !ledger.affords(2, 11));
    ledger.close(1);
    assert_eq!((ledger.host_used(0), ledger.host_used(1)), (40, 1 << 40));
    assert!(ledger.pin(2, 60));
}

#[test]
fn a_tenant_whose_workers_have_too_much_gets_no_more_and_then_loses_the_largest() {
    let limited = Limits { host_memory: Some(80), ..Limits::default() };
    let mut ledger = ledger(vec![limited]);
    ledger.admit(1, 0).expect("there is no limit");
    ledger.admit(2, 0).expect("there is no limit");
    assert!(ledger.is_host_limited() && ledger.reserve(1, 0, 5) && ledger.pin(1, 20));
    ledger.measure(1, 30, false);
    ledger.measure(2, 30, false);
    assert!(ledger.reserve(1, 0, 5) && !ledger.pin(1, 1), "it has all of it");
    ledger.measure(2, 31, false);
    assert!(!ledger.reserve(1, 0, 1) && !ledger.reserve(2, 0, 1) && ledger.too_large().is_empty());
    ledger.measure(2, 41, false);
    assert_eq!(ledger.too_large(), [1], "91 of 80, of which it has 50");
    // Memory of simulated devices lies in the worker.
    ledger.measure(1, 30, true);
    assert_eq!((ledger.host_used(0), ledger.too_large()), (81, vec![]));
}
