//! What a well-behaved client gets.

use vgpu_link::LinkError;
use vgpu_link::wire::control::{DeviceState, Refusal, status};

use crate::process::Vgpud;

#[test]
fn a_client_is_welcomed_and_told_what_there_is() {
    let daemon = Vgpud::start(&[]);
    let mut client = daemon.client();
    assert_eq!(client.welcome.host_version.as_str(), env!("CARGO_PKG_VERSION"));
    let snapshot = client.snapshot();
    assert_eq!((snapshot.driver_version, snapshot.devices.len()), (13000, 1));
    let device = &snapshot.devices[0];
    assert_eq!(device.name.as_str(), "NVIDIA H100 80GB HBM3 (Simulated)");
    let state = client.state(0);
    assert_eq!((state.memory_total, state.memory_used), (device.total_memory, 0));
    assert_eq!(state.memory_free, state.memory_total);
    assert_eq!(client.call(&DeviceState { device: 1 }), Err(status::NO_SUCH_DEVICE));
}

#[test]
fn many_clients_are_served_at_once_and_share_an_epoch() {
    let daemon = Vgpud::start(&["--sim-gpus", "2"]);
    let mut clients: Vec<_> = (0..12).map(|_| daemon.client()).collect();
    let first = clients[0].snapshot();
    assert_eq!(first.devices.len(), 2);
    assert_ne!(first.devices[0].uuid, first.devices[1].uuid);
    let mut sessions = std::collections::HashSet::new();
    let epoch = clients[0].welcome.epoch;
    for client in &mut clients {
        assert_eq!(client.snapshot(), first);
        assert_eq!(client.welcome.epoch, epoch);
        assert!(sessions.insert(client.welcome.session));
    }
}

#[test]
fn a_client_too_many_is_refused_and_the_next_after_one_left_is_not() {
    let daemon = Vgpud::start(&["--clients-max", "2"]);
    let (first, mut second) = (daemon.client(), daemon.client());
    let Err(error) = daemon.try_client() else { panic!("a third client was welcomed") };
    assert!(matches!(error, LinkError::Refused { refusal: Refusal::Full, .. }), "{error}");
    assert!(error.is_retryable() && error.hint().is_some());
    drop(first);
    daemon.wait_for(&["vgpud: gone"]);
    daemon.client().snapshot();
    second.snapshot();
}
