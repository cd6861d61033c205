//! The fuzzer's door: any text as PTX, and whatever of it can be run is run for a moment.

use super::{GlobalMemory, Launch, Program, run};

/// Memory of the device, at [`ADDRESS`].
struct Buffer(Vec<u8>);

/// Where the memory begins; the kernel's parameters point there.
const ADDRESS: u64 = 0x0300_0000_0000;

/// Instructions of a launch: enough for every path, and short.
const INSTRUCTIONS_MAX: u64 = 2_000;

impl GlobalMemory for Buffer {
    fn bytes(&mut self, address: u64, bytes: usize) -> Option<&mut [u8]> {
        let begin = usize::try_from(address.checked_sub(ADDRESS)?).ok()?;
        self.0.get_mut(begin..begin.checked_add(bytes)?)
    }
}

/// Reads the bytes as PTX, decodes every kernel and runs it: alone, in a cluster, together.
pub fn program(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(program) = Program::parse(text) else { return };
    let parameters: Vec<u8> = (0..64).flat_map(|at| (ADDRESS + 8 * at).to_le_bytes()).collect();
    for name in program.entries.keys() {
        let Ok(entry) = program.entry(name) else { continue };
        for (cluster, is_cooperative) in [(None, false), (Some([2, 1, 1]), false), (None, true)] {
            let launch = Launch {
                grid: [2, 1, 1],
                block: [3, 1, 1],
                cluster,
                is_cooperative,
                shared_bytes: 64,
                parameters: &parameters,
            };
            let mut memory = Buffer(vec![1; 1024]);
            let symbols = |_: &str| Some(ADDRESS);
            // Whether it ends well is the kernel's affair; that it ends is ours.
            let _ =
                run::launch_within(&entry.code, &launch, (&mut memory, &symbols), INSTRUCTIONS_MAX);
        }
    }
}
