use std::fs;

use super::*;

fn image(bytes: &[u8]) -> Image {
    Image { hash: *blake3::hash(bytes).as_bytes(), bytes: bytes.len() as u64 }
}

fn place(path: &std::path::Path, bytes_max: u64) -> Place {
    Place { directory: Some(path.join("images")), bytes_max }
}

fn send(store: &mut Store, image: &Image, bytes: &[u8]) {
    for (index, part) in bytes.chunks(10).enumerate() {
        store.take_part(image, index as u64 * 10, part);
    }
}

#[test]
fn what_one_worker_was_sent_another_has_after_a_restart() {
    let root = tempfile::tempdir().expect("a directory");
    let place = place(root.path(), 1000);
    let (bytes, mut first) = ([7; 33], Store::open(&place));
    let image = image(&bytes);
    assert!(first.find(&image).is_none());
    send(&mut first, &image, &bytes);
    assert_eq!(first.find(&image).as_deref(), Some(&bytes[..]));
    assert_eq!(Store::open(&place).find(&image).as_deref(), Some(&bytes[..]));
}

#[test]
fn what_is_incomplete_or_not_what_its_name_says_is_not_kept() {
    for place in [Place::default(), place(tempfile::tempdir().expect("one").path(), 1000)] {
        let (bytes, mut store) = ([7; 33], Store::open(&place));
        let wanted = image(&bytes);
        send(&mut store, &wanted, &bytes[..32]);
        assert!(store.find(&wanted).is_none(), "incomplete");
        store.take_part(&wanted, 32, &[8]);
        assert!(store.find(&wanted).is_none(), "the last byte is another");
        store.take_part(&wanted, 0, &bytes[..10]);
        store.take_part(&wanted, 20, &bytes[20..]);
        assert!(store.find(&wanted).is_none(), "a part is missing");
        store.take_part(&wanted, 0, &[7; 34]);
        assert!(store.find(&wanted).is_none(), "too long");
        send(&mut store, &wanted, &bytes);
        assert!(store.find(&wanted).is_some(), "nothing of that stands in the way");
        let other_size = Image { bytes: 32, ..wanted };
        assert!(store.find(&other_size).is_none());
    }
}

#[test]
fn two_threads_that_send_one_image_make_one() {
    let (bytes, mut store) = ([9; 30], Store::open(&Place::default()));
    let image = image(&bytes);
    for part in 0..3 {
        for _ in 0..2 {
            store.take_part(&image, part * 10, &bytes[..10]);
        }
    }
    assert!(store.find(&image).is_some());
    assert!(store.incoming.is_empty());
}

#[test]
fn a_damaged_file_is_missing_and_can_be_sent_again() {
    let root = tempfile::tempdir().expect("a directory");
    let place = place(root.path(), 1000);
    let (bytes, mut store) = ([7; 33], Store::open(&place));
    let image = image(&bytes);
    send(&mut store, &image, &bytes);
    let file = fs::read_dir(root.path().join("images")).expect("listed").next();
    let file = file.expect("one image").expect("listed").path();
    fs::write(&file, [8; 33]).expect("damaged");
    assert!(store.find(&image).is_none());
    assert!(!file.exists());
    send(&mut store, &image, &bytes);
    assert!(store.find(&image).is_some());
}

/// Half of what each image counts at least: so much is asked for below, in three images.
const HALF: u64 = ACCOUNTED_BYTES_MIN / 2;

#[test]
fn the_images_that_were_not_used_for_longest_make_room() {
    let root = tempfile::tempdir().expect("a directory");
    let mut store = Store::open(&place(root.path(), 5 * HALF));
    let all: Vec<[u8; 40]> = (1..=3).map(|value| [value; 40]).collect();
    let age = |bytes: &[u8], seconds| {
        let name: String = image(bytes).hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let file = fs::File::open(root.path().join("images").join(name)).expect("kept");
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
        file.set_modified(then).expect("aged");
    };
    send(&mut store, &image(&all[0]), &all[0]);
    age(&all[0], 100);
    send(&mut store, &image(&all[1]), &all[1]);
    age(&all[1], 200);
    send(&mut store, &image(&all[2]), &all[2]);
    let kept: Vec<bool> = all.iter().map(|bytes| store.find(&image(bytes)).is_some()).collect();
    assert_eq!(kept, [true, false, true]);
    assert!(!store.takes(5 * HALF + 1) && store.takes(5 * HALF));
}

/// A file of one byte takes a block of the disk: a million of them would take 4 GiB.
#[test]
fn many_small_images_take_no_more_room_than_a_few_large_ones() {
    let root = tempfile::tempdir().expect("a directory");
    for place in [place(root.path(), 8 * ACCOUNTED_BYTES_MIN), Place::default()] {
        let mut store = Store::open(&place);
        let most = if place.directory.is_some() { 8 } else { 4096 };
        for number in 0..most as u32 + 10 {
            let bytes = number.to_le_bytes();
            send(&mut store, &image(&bytes), &bytes);
        }
        let files = fs::read_dir(root.path().join("images")).expect("listed").count();
        assert_eq!(if place.directory.is_some() { files } else { store.memory.len() }, most);
    }
}

#[test]
fn without_a_directory_images_are_kept_for_this_client() {
    let root = tempfile::NamedTempFile::new().expect("a file");
    let mut store = Store::open(&place(root.path(), 1000));
    let image = image(b"kept");
    send(&mut store, &image, b"kept");
    assert_eq!(store.find(&image).as_deref(), Some(&b"kept"[..]));
    assert!(store.takes(MEMORY_BYTES_MAX) && !store.takes(MEMORY_BYTES_MAX + 1));
}
