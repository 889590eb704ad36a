//! Snapshot files.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::storage::SnapshotFile;

/// A snapshot file, damaged or not. After `R` it is the file itself. After `S` it is what goes into one:
/// header and chunks, each after its length in two bytes, so that what the checksums protect is reached,
/// too.
pub fn snapshot(data: &[u8]) {
    match data.split_first() {
        Some((b'R', file)) => read(file),
        Some((b'S', contents)) => read(&sealed(contents)),
        _ => {}
    }
}

fn read(bytes: &[u8]) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("rkv-fuzz-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    fs::write(&path, bytes).expect("a temporary file");
    if let Ok(file) = SnapshotFile::open(&path) {
        assert!(file.size() == bytes.len() as u64);
        crate::fsm::fuzz::read(&file);
    }
    fs::remove_file(&path).expect("the temporary file");
}

/// A file of these contents, with its lengths and checksums in order.
fn sealed(contents: &[u8]) -> Vec<u8> {
    let mut pieces = Pieces(contents);
    let header = pieces.next().unwrap_or_default();
    let mut file = b"RKVSNAP\0".to_vec();
    file.extend(1_u32.to_le_bytes());
    file.extend(length(header));
    let crc = crc32fast::hash(&[&file, header].concat());
    file.extend(crc.to_le_bytes());
    file.extend(header);
    let (mut count, mut total) = (0_u64, 0);
    for chunk in pieces {
        let checked = [&count.to_le_bytes(), &length(chunk)[..], chunk].concat();
        file.extend(length(chunk));
        file.extend(crc32fast::hash(&checked).to_le_bytes());
        file.extend(chunk);
        count += 1;
        total += chunk.len() as u64;
    }
    let mut trailer = vec![0; 4];
    trailer.extend(count.to_le_bytes());
    trailer.extend(total.to_le_bytes());
    trailer.extend(<[u8; 32]>::from(Sha256::digest(&file)));
    trailer.extend(crc32fast::hash(&trailer).to_le_bytes());
    trailer.extend(b"RKVSEND\0");
    file.extend(trailer);
    file
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len())
        .expect("two bytes told it")
        .to_le_bytes()
}

/// Cuts input into pieces, the last of which may be shorter than it says.
struct Pieces<'a>(&'a [u8]);

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_le_bytes(*length));
        let (piece, rest) = rest.split_at(length.min(rest.len()));
        self.0 = rest;
        Some(piece)
    }
}

/// A whole file, what goes into one, and a file that is cut short.
#[cfg(test)]
pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut contents = Vec::new();
    for piece in crate::fsm::fuzz::seeds() {
        let length = u16::try_from(piece.len()).expect("a small piece");
        contents.extend(length.to_le_bytes());
        contents.extend(piece);
    }
    let file = sealed(&contents);
    vec![
        ("file", [b"R", &file[..]].concat()),
        ("cut-short", [b"R", &file[..file.len() - 70]].concat()),
        ("contents", [b"S", &contents[..]].concat()),
    ]
}
