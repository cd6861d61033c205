//! ggml's own kernels on the simulated device, compared with its CPU backend.

use vgpu_tests::client::Way;
use vgpu_tests::stage;

use crate::python::script;
use crate::{answer, host};

/// Farthest that results may be apart: ggml's own bound for quantised products, whose activations
/// are rounded to 8 bits in different ways.
const APART_MAX: f64 = 5e-4;

#[test]
fn kernels_of_the_cuda_13_backend_compute_what_the_cpu_backend_does() {
    let host = host();
    let mut client = script(Way::SearchPath, &host, "ggml_operations.py");
    let seen = answer(client.arg(stage::ggml_cuda13()), &host);
    let seen = seen.as_object().expect("an object");
    assert!(seen.len() >= 65, "only {} operations: {seen:?}", seen.len());
    for (name, apart) in seen {
        // What is no number at all is not smaller than anything.
        let close = apart.as_f64().is_some_and(|apart| apart < APART_MAX);
        assert!(close, "{name}: {apart} apart\nvgpud said:\n{}", host.log());
    }
}
