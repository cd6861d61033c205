//! Measures the ring on this machine: round trips between two processes, and copies.
//!
//! `cargo run --release -p vgpu-ring --example figures`

#![forbid(unsafe_code)]

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, SendFlags};
use vgpu_ring::{
    Doorbell, Duplex, EventBell, Layout, SocketBell, Wish, grant, receive_with, send_with,
};

const FRAME: usize = 64;
const LANE_BYTES: u64 = 1 << 20;
const CROWD: Duration = Duration::from_secs(2);

fn main() -> io::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("guest") => {
            let socket: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
            let (socket, mut file) = (UnixStream::from(socket), None);
            let (wish, room) = Wish::new()?;
            send_with(&socket, &[IoSlice::new(&[0])], room.as_fd(), SendFlags::empty())?;
            receive_with(&socket, &mut [0], &mut file, RecvFlags::empty())?;
            guest(&wish.granted(socket, file.ok_or(io::ErrorKind::InvalidData)?)?)
        }
        _ => host(),
    }
}

fn read_all<B: Doorbell>(end: &Duplex<B>, into: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        match end.read(&mut into[done..], None)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => done += count,
        }
    }
    Ok(())
}

fn write_all<B: Doorbell>(end: &Duplex<B>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        bytes = &bytes[end.write(&[IoSlice::new(bytes)], None)?..];
    }
    Ok(())
}

/// Answers each frame; a frame announces how many bytes more the host sends, or wants.
fn guest<B: Doorbell>(end: &Duplex<B>) -> io::Result<()> {
    let mut frame = [0; FRAME];
    let mut bulk = vec![0; 64 << 20];
    loop {
        match end.read(&mut frame[..1], None)? {
            0 => return Ok(()),
            _ => read_all(end, &mut frame[1..])?,
        }
        let size = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| frame[at + byte]));
        read_all(end, &mut bulk[..size(0) as usize])?;
        if frame[8] == 0 {
            write_all(end, &frame)?;
        }
    }
}

/// Starts a guest that answers, and returns our end of a ring with it.
fn meet() -> io::Result<(Child, Duplex<SocketBell>)> {
    let (ours, theirs) = UnixStream::pair()?;
    let child = Command::new(std::env::current_exe()?)
        .arg("guest")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()?;
    let layout = Layout::new(LANE_BYTES, 0)?;
    let mut room = None;
    receive_with(&ours, &mut [0], &mut room, RecvFlags::empty())?;
    let again = ours.try_clone()?;
    let (end, file) = grant(ours, room.ok_or(io::ErrorKind::InvalidData)?, &layout)?;
    send_with(&again, &[IoSlice::new(&[0])], file.as_fd(), SendFlags::empty())?;
    Ok((child, end))
}

fn host() -> io::Result<()> {
    let (mut child, end) = meet()?;
    round_trips("both awake", &end, 200_000, Duration::ZERO)?;
    round_trips("guest asleep", &end, 2_000, Duration::from_micros(300))?;
    posts(&end, 1_000_000)?;
    for bytes in [64 << 10, 1 << 20, 8 << 20, 64 << 20] {
        bandwidth(&end, bytes)?;
    }
    drop(end);
    child.wait()?;
    for pairs in [1, 2, 8, 64] {
        crowd(pairs)?;
    }
    let (left, right) = SocketBell::pair()?;
    bell("socket", &left, &right)?;
    let ring = Arc::new(EventBell::descriptor()?);
    let (here, there) = UnixStream::pair()?;
    let life = |end: UnixStream| Arc::new(OwnedFd::from(end));
    let ours = Arc::new(EventBell::descriptor()?);
    let left = EventBell::new(ours, Some(Arc::clone(&ring)), life(here))?;
    bell("eventfd", &left, &EventBell::new(ring, None, life(there))?)?;
    Ok(())
}

/// Lets so many pairs of processes exchange frames as fast as they can.
fn crowd(pairs: usize) -> io::Result<()> {
    let met = (0..pairs).map(|_| meet()).collect::<io::Result<Vec<_>>>()?;
    let start = Barrier::new(pairs);
    let rounds = |end: &Duplex<SocketBell>| {
        let mut frame = [0; FRAME];
        start.wait();
        let began = Instant::now();
        let mut rounds = 0_u64;
        while began.elapsed() < CROWD {
            write_all(end, &[0; FRAME])?;
            read_all(end, &mut frame)?;
            rounds += 1;
        }
        Ok(rounds as f64 / began.elapsed().as_secs_f64())
    };
    let rates = thread::scope(|scope| {
        let each = met.iter().map(|(_, end)| scope.spawn(|| rounds(end))).collect::<Vec<_>>();
        each.into_iter().map(|one| one.join().expect("no panic")).collect::<io::Result<Vec<f64>>>()
    })?;
    let all = rates.iter().sum::<f64>();
    let least = rates.iter().copied().fold(f64::INFINITY, f64::min) * pairs as f64 / all;
    println!("{pairs} pairs: {all:.0} round trips a second, the least {least:.2} of the mean");
    for (mut child, end) in met {
        drop(end);
        child.wait()?;
    }
    Ok(())
}

fn bell<B: Doorbell>(name: &str, left: &B, right: &B) -> io::Result<()> {
    let began = Instant::now();
    for _ in 0..100_000 {
        left.ring();
        right.wait(None, &mut || false)?;
    }
    println!("ring and hear, {name}: {:.0} ns", began.elapsed().as_nanos() as f64 / 1e5);
    Ok(())
}

fn round_trips(
    name: &str,
    end: &Duplex<SocketBell>,
    rounds: usize,
    rest: Duration,
) -> io::Result<()> {
    let mut frame = [0; FRAME];
    let mut took = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
        let began = Instant::now();
        write_all(end, &frame)?;
        read_all(end, &mut frame)?;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    let at = |share: usize| took[rounds * share / 100].as_nanos();
    println!("round trip of {FRAME} bytes, {name}: p50 {} ns, p99 {} ns", at(50), at(99));
    Ok(())
}

fn posts(end: &Duplex<SocketBell>, count: u32) -> io::Result<()> {
    let mut frame = [0; FRAME];
    frame[8] = 1;
    let began = Instant::now();
    for _ in 0..count {
        write_all(end, &frame)?;
    }
    let sent = began.elapsed();
    frame[8] = 0;
    write_all(end, &frame)?;
    read_all(end, &mut frame)?;
    println!(
        "post of {FRAME} bytes: {} ns each, until heard {} ns",
        sent.as_nanos() / u128::from(count),
        began.elapsed().as_nanos() / u128::from(count)
    );
    Ok(())
}

fn bandwidth(end: &Duplex<SocketBell>, bytes: usize) -> io::Result<()> {
    let source = vec![7; bytes];
    let mut into = vec![0; bytes];
    let rounds = ((1 << 30) / bytes).max(1);
    let mut frame = [0; FRAME];
    frame[..4].copy_from_slice(&(bytes as u32).to_le_bytes());
    let began = Instant::now();
    for _ in 0..rounds {
        end.write(&[IoSlice::new(&frame)], None)?;
        write_all(end, &source)?;
        read_all(end, &mut frame)?;
    }
    let ring = began.elapsed();
    let began = Instant::now();
    for _ in 0..rounds {
        into.copy_from_slice(std::hint::black_box(&source));
        std::hint::black_box(&mut into);
    }
    let plain = began.elapsed();
    let speed = |took: Duration| (rounds * bytes) as f64 / took.as_secs_f64() / 1e9;
    println!(
        "{} KiB: through the ring {:.1} GB/s, memcpy {:.1} GB/s",
        bytes >> 10,
        speed(ring),
        speed(plain)
    );
    Ok(())
}
