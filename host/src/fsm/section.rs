//! What the chunks of a snapshot file hold: one tag byte, then the section's bytes.
//!
//! A backup begins with where it comes from. A file has the modules that its state needs, then unfinished uploads, then the state from before
//! the last activation, then the module's own snapshot, each cut into chunks of at most
//! [`CHUNK_BYTES`] and a tag.

use crate::types::ModuleId;

/// Bytes of a section in one chunk: what one call into the guest reads, between two applies.
pub(super) const CHUNK_BYTES: u32 = 1 << 20;

const MODULE: u8 = 1;
const UPLOAD: u8 = 2;
const STATE: u8 = 3;
const PREVIOUS: u8 = 4;
const PROVENANCE: u8 = 5;

/// One chunk of a snapshot file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Section<'a> {
    /// Bytes of a module; consecutive chunks of one module belong together.
    Module(ModuleId, &'a [u8]),
    /// Bytes of a module that is not complete yet.
    Upload(ModuleId, &'a [u8]),
    /// Bytes of the active module's snapshot.
    State(&'a [u8]),
    /// Bytes of the snapshot of the module that was active before.
    Previous(&'a [u8]),
    /// Where a backup comes from: see [`Provenance`](super::Provenance).
    Provenance(&'a [u8]),
}

impl<'a> Section<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (tag, module, bytes) = match self {
            Self::Module(module, bytes) => (MODULE, &module.0[..], bytes),
            Self::Upload(module, bytes) => (UPLOAD, &module.0[..], bytes),
            Self::State(bytes) => (STATE, &[][..], bytes),
            Self::Previous(bytes) => (PREVIOUS, &[][..], bytes),
            Self::Provenance(bytes) => (PROVENANCE, &[][..], bytes),
        };
        let mut chunk = Vec::with_capacity(1 + module.len() + bytes.len());
        chunk.push(tag);
        chunk.extend_from_slice(module);
        chunk.extend_from_slice(bytes);
        chunk
    }

    /// `None` for a chunk that no version of this host wrote.
    pub(super) fn decode(chunk: &'a [u8]) -> Option<Self> {
        let (tag, rest) = chunk.split_first()?;
        let named = || {
            let (module, bytes) = rest.split_first_chunk::<32>()?;
            Some((ModuleId(*module), bytes))
        };
        match *tag {
            MODULE => named().map(|(module, bytes)| Self::Module(module, bytes)),
            UPLOAD => named().map(|(module, bytes)| Self::Upload(module, bytes)),
            STATE => Some(Self::State(rest)),
            PREVIOUS => Some(Self::Previous(rest)),
            PROVENANCE => Some(Self::Provenance(rest)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_round_trip() {
        let module = ModuleId([7; 32]);
        for section in [
            Section::Module(module, b"a"),
            Section::Upload(module, b""),
            Section::State(b"xyz"),
            Section::Previous(b"old"),
            Section::Provenance(b"here"),
        ] {
            assert_eq!(Section::decode(&section.encode()), Some(section));
        }
        assert_eq!(Section::decode(&[MODULE, 1, 2]), None);
        assert_eq!(Section::decode(&[9]), None);
        assert_eq!(Section::decode(&[]), None);
    }
}
