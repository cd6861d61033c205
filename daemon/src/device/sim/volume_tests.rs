//! Copies of rows and slices and arrays, asked by messages, against a plain model of them.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::*;

use super::tests::Client;
use crate::dispatch::*;

const BYTES: usize = 4096;

fn linear(address: u64, [x, y, z]: [u64; 3], pitch: u64, height: u64) -> VolumeSide {
    VolumeSide { array: 0, address, x, y, z, pitch, height }
}

fn in_array(array: u64, [x, y, z]: [u64; 3]) -> VolumeSide {
    VolumeSide { array, address: 0, x, y, z, pitch: 0, height: 0 }
}

fn shape([width, height, depth]: [u64; 3]) -> VolumeShape {
    VolumeShape { width, height, depth }
}

impl Client {
    fn within(&mut self, to: VolumeSide, from: VolumeSide, lengths: [u64; 3]) -> Result<(), Error> {
        let request = VolumeWithin { target: to, source: from, shape: shape(lengths) };
        self.sim.volume_within(&self.call, request).map(drop)
    }

    fn put(&mut self, to: VolumeSide, lengths: [u64; 3], bulk: &[u8]) -> Result<(), Error> {
        let request = VolumeToDevice { target: to, shape: shape(lengths) };
        self.sim.volume_to_device(&self.call, request, bulk).map(drop)
    }

    fn fetch(&mut self, from: VolumeSide, lengths: [u64; 3]) -> Result<Vec<u8>, Error> {
        let mut bulk = Vec::new();
        let request = VolumeToHost { source: from, shape: shape(lengths) };
        self.sim.volume_to_host(&self.call, request, &mut bulk).map(|_| bulk)
    }

    fn array(&mut self, [width, height, depth]: [u64; 3], flags: u32) -> Result<u64, Error> {
        let (format, channels) = (1, 1);
        let request = ArrayCreate { width, height, depth, format, channels, flags };
        self.sim.array_create(&self.call, request).map(|reply| reply.array)
    }
}

/// One side of a random copy: its layout, and the offset of a byte of the copy in it.
struct Layout {
    at: [u64; 3],
    pitch: u64,
    height: u64,
}

impl Layout {
    fn random(random: &mut fastrand::Rng, lengths: [u64; 3]) -> Self {
        let at = [random.u64(..5), random.u64(..3), random.u64(..3)];
        let pitch = at[0] + lengths[0] + random.u64(..4);
        Self { at, pitch, height: at[1] + lengths[1] + random.u64(..3) }
    }

    fn offset(&self, x: u64, y: u64, z: u64) -> usize {
        let [x0, y0, z0] = self.at;
        (((z0 + z) * self.height + y0 + y) * self.pitch + x0 + x) as usize
    }

    fn side(&self, address: u64) -> VolumeSide {
        linear(address, self.at, self.pitch, self.height)
    }
}

fn each(lengths: [u64; 3]) -> impl Iterator<Item = (u64, u64, u64)> {
    let [width, height, depth] = lengths;
    (0..depth).flat_map(move |z| (0..height).flat_map(move |y| (0..width).map(move |x| (x, y, z))))
}

#[test]
fn random_copies_move_exactly_the_bytes_of_the_box() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut client = Client::new();
    let (one, two) =
        (client.alloc(BYTES as u64).expect("room"), client.alloc(BYTES as u64).expect("room"));
    for _ in 0..300 {
        let lengths = [random.u64(1..9), random.u64(1..6), random.u64(1..5)];
        let (from, to) =
            (Layout::random(&mut random, lengths), Layout::random(&mut random, lengths));
        let source: Vec<u8> = (0..BYTES).map(|_| random.u8(..)).collect();
        let mut model: Vec<u8> = (0..BYTES).map(|_| random.u8(..)).collect();
        client.write(one, &source).and(client.write(two, &model)).expect("in range");
        each(lengths)
            .for_each(|(x, y, z)| model[to.offset(x, y, z)] = source[from.offset(x, y, z)]);
        let (to_side, from_side) = (to.side(two), from.side(one));
        let packed: Vec<u8> = each(lengths).map(|(x, y, z)| source[from.offset(x, y, z)]).collect();
        match random.u8(..3) {
            0 => client.within(to_side, from_side, lengths).expect("in range"),
            1 => client.put(to_side, lengths, &packed).expect("in range"),
            _ => {
                let fetched = client.fetch(from_side, lengths).expect("in range");
                assert_eq!(fetched, packed);
                let array = client.array([20, 20, 20], 0).expect("an array");
                client.put(in_array(array, to.at), lengths, &fetched).expect("in the array");
                client.within(to_side, in_array(array, to.at), lengths).expect("in range");
                let destroy = ArrayDestroy { array };
                client.sim.array_destroy(&client.call, destroy).expect("it lives");
            }
        }
        assert_eq!(client.read(two, BYTES as u64), Ok(model));
    }
    assert_eq!(client.used(), 2 * BYTES as u64);
}

#[test]
fn a_box_that_leaves_its_memory_or_overlaps_itself_is_refused_and_nothing_is_done() {
    let mut client = Client::new();
    let at = client.alloc(1000).expect("room");
    let lengths = [10, 10, 10];
    for side in [
        linear(at, [0, 0, 0], 9, 10),
        linear(at, [1, 0, 0], 10, 10),
        linear(at, [0, 0, 0], 10, 9),
        linear(at, [0, 1, 0], 10, 10),
        linear(at, [0, 0, 1], 10, 10),
        linear(at + 1, [0, 0, 0], 10, 10),
        linear(at, [0, 0, 0], 10, 11),
        linear(at, [u64::MAX, 0, 0], 10, 10),
        linear(at, [0, u64::MAX, 0], 10, 10),
        linear(at, [0, 0, u64::MAX], u64::MAX, u64::MAX),
        linear(u64::MAX, [0, 0, 0], 10, 10),
    ] {
        let refused = Err(Error::INVALID_VALUE);
        assert_eq!(client.put(side.clone(), lengths, &[1; 1000]), refused, "{side:?}");
        let all = linear(at, [0, 0, 0], 10, 10);
        assert_eq!(client.within(side.clone(), all.clone(), lengths), refused, "{side:?}");
        assert_eq!(client.within(all, side, lengths), refused);
    }
    let all = || linear(at, [0, 0, 0], 10, 10);
    assert_eq!(client.put(all(), lengths, &[1; 999]), Err(Error::INVALID_VALUE));
    assert_eq!(client.read(at, 1000), Ok(vec![0; 1000]));
    client.put(all(), lengths, &[1; 1000]).expect("exactly all");
    let huge = [u64::MAX, u64::MAX, 2];
    assert_eq!(client.fetch(all(), huge), Err(Error::INVALID_VALUE));
    for nothing in [[0, u64::MAX, 1], [1, 0, u64::MAX], [u64::MAX, u64::MAX, 0]] {
        assert_eq!(client.within(all(), all(), nothing), Ok(()), "nothing to copy");
    }
    assert_eq!(client.fetch(all(), [1, 0, u64::MAX]), Ok(Vec::new()));
}

#[test]
fn arrays_are_accounted_and_end_with_their_context() {
    let mut client = Client::new();
    let create = CtxCreateV2 { flags: 0, dev: 0 };
    let own = client.sim.ctx_create_v2(&client.call, create).expect("a context").pctx;
    let primary = std::mem::replace(&mut client.call, Call { context: own, thread: 0 });
    let array = client.array([1000, 10, 0], 0).expect("an array");
    assert_eq!(client.used(), 10_240);
    client.call = primary;
    client.sim.ctx_destroy_v2(&client.call, CtxDestroyV2 { ctx: own }).expect("it lives");
    assert_eq!(client.used(), 0);
    let gone = client.fetch(in_array(array, [0; 3]), [1, 1, 1]);
    assert_eq!(gone, Err(Error::INVALID_HANDLE));
}

#[test]
fn an_array_has_a_form_that_cuda_knows() {
    let mut client = Client::new();
    for (lengths, flags, expected) in [
        ([0, 0, 0], 0, Err(Error::INVALID_VALUE)),
        ([131_073, 0, 0], 0, Err(Error::INVALID_VALUE)),
        ([16_385, 2, 2], 0, Err(Error::INVALID_VALUE)),
        ([16, 0, 2], 0, Err(Error::INVALID_VALUE)),
        ([16, 0, 2], 1, Ok(())),
        ([16, 16, 6], 4, Ok(())),
        ([16, 16, 12], 4, Err(Error::INVALID_VALUE)),
        ([16, 16, 12], 5, Ok(())),
        ([16, 8, 6], 4, Err(Error::INVALID_VALUE)),
        ([16, 16, 0], 2, Ok(())),
        ([16, 16, 0], 0x40, Err(Error::NOT_SUPPORTED)),
    ] {
        assert_eq!(client.array(lengths, flags).map(drop), expected, "{lengths:?} {flags}");
    }
}
