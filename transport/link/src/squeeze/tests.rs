//! Blocks: what is squeezed, what comes back, and what a hostile peer may send.

use std::thread;

use super::*;
use crate::MemoryStream;

/// Bytes without order, as weights of models are.
fn noise(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..bytes).map(|_| random.u8(..)).collect()
}

/// Sends `contents` from one end to another; returns what came, and how many bytes travelled.
fn sent(contents: &[u8]) -> (Vec<u8>, usize) {
    let (left, wire) = MemoryStream::pair();
    let (far, right) = MemoryStream::pair();
    let (left, right) = (Squeezed::new(left), Squeezed::new(right));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut rest = contents;
            while !rest.is_empty() {
                let count = left.write(&[IoSlice::new(rest)], None).expect("the peer reads");
                rest = &rest[count..];
            }
            left.close();
        });
        let travelled = scope.spawn(move || {
            let (mut bytes, mut buffer) = (0, vec![0; 9999]);
            loop {
                match wire.read(&mut buffer, None).expect("no limit") {
                    0 => break,
                    count => {
                        bytes += count;
                        write_all(&far, &mut [IoSlice::new(&buffer[..count])], None)
                            .expect("the peer reads");
                    }
                }
            }
            far.close();
            bytes
        });
        let (mut came, mut buffer) = (Vec::new(), vec![0; 7001]);
        loop {
            match right.read(&mut buffer, None).expect("blocks of ours") {
                0 => break,
                count => came.extend_from_slice(&buffer[..count]),
            }
        }
        (came, travelled.join().expect("no panic"))
    })
}

#[test]
fn zeroes_travel_as_next_to_nothing_and_come_back_as_they_were() {
    let zeroes = vec![0; 3 << 20];
    let (came, travelled) = sent(&zeroes);
    assert!(came == zeroes);
    assert!(travelled < zeroes.len() / 100, "{travelled}");
}

#[test]
fn what_does_not_shrink_travels_as_it_is() {
    let weights = noise(3 << 20);
    let (came, travelled) = sent(&weights);
    assert!(came == weights);
    let heads = weights.len().div_ceil(BLOCK_BYTES_MAX) * HEAD_BYTES;
    assert_eq!(travelled, weights.len() + heads);
}

#[test]
fn any_mixture_comes_back_as_it_was() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut mixture = Vec::new();
    while mixture.len() < 2 << 20 {
        let bytes = random.usize(1..100_000);
        match random.bool() {
            true => mixture.extend(std::iter::repeat_n(random.u8(..), bytes)),
            false => mixture.extend(noise(bytes)),
        }
    }
    let (came, travelled) = sent(&mixture);
    assert!(came == mixture);
    assert!(travelled < mixture.len(), "{travelled} of {}", mixture.len());
}

#[test]
fn many_blocks_that_do_not_shrink_are_tried_one_in_thirty_three() {
    let mut outgoing = Outgoing { plain: noise(BLOCK_BYTES_MAX), ..Outgoing::default() };
    let mut tried = 0;
    for _ in 0..10_000 {
        tried += usize::from(outgoing.untried == 0);
        assert!(!outgoing.squeeze());
    }
    assert!((300..320).contains(&tried), "{tried}");
    outgoing.plain = vec![0; BLOCK_BYTES_MAX];
    assert!((0..=UNTRIED_MAX).any(|_| outgoing.squeeze()), "what shrinks again is found");
    assert!(outgoing.squeeze(), "and then each is tried");
}

/// Lets a peer that writes `bytes` be read from.
fn read_from(bytes: &[u8]) -> io::Result<usize> {
    let (peer, ours) = MemoryStream::pair();
    write_all(&peer, &mut [IoSlice::new(bytes)], None).expect("there is room");
    peer.close();
    Squeezed::new(ours).read(&mut [0; 100], None)
}

#[test]
fn blocks_that_cannot_be_are_refused_before_room_is_made_for_them() {
    let head = |word: u32| word.to_le_bytes().to_vec();
    let block = |bytes: u32, plain: u32, rest: &[u8]| {
        [head(SQUEEZED | bytes), head(plain), rest.to_vec()].concat()
    };
    let literal = [0x10, b'x'];
    for (bytes, problem) in [
        (head(0), "length"),
        (head(SQUEEZED), "length"),
        (head(BLOCK_BYTES_MAX as u32 + 1), "length"),
        (head(u32::MAX), "length"),
        ([head(SQUEEZED | 3), vec![0; 3]].concat(), "cut short"),
        (block(6, 0, &literal), "plain length"),
        (block(6, BLOCK_BYTES_MAX as u32 + 1, &literal), "plain length"),
        (block(6, 2, &literal), "not LZ4"),
        (block(6, 1, &[0xf0, 0xff]), "not LZ4"),
    ] {
        let error = read_from(&bytes).expect_err(problem);
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains(problem), "{problem}: {error}");
    }
    assert_eq!(read_from(&block(6, 1, &literal)).expect("a block of one byte"), 1);
}

#[test]
fn an_end_within_a_block_is_the_end() {
    let block = [6_u32.to_le_bytes().to_vec(), vec![1; 3]].concat();
    for cut in 0..=HEAD_BYTES {
        assert_eq!(read_from(&block[..cut]).expect("no error"), 0, "cut at {cut}");
    }
    assert_eq!(read_from(&block).expect("no error"), 3);
}

#[test]
fn random_bytes_are_read_or_refused() {
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..20_000 {
        let mut bytes: Vec<u8> = (0..random.usize(0..64)).map(|_| random.u8(..)).collect();
        if let Some(head) = bytes.first_chunk_mut::<HEAD_BYTES>() {
            let word = u32::from_le_bytes(*head) & (SQUEEZED | 0x3f);
            *head = word.to_le_bytes();
        }
        match read_from(&bytes) {
            Ok(count) => assert!(count <= bytes.len().max(100)),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::InvalidData),
        }
    }
}
