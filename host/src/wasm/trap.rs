//! What an error of wasmtime means for the replicated state.

use wasmtime::Trap;

use crate::types::TrapKind;

/// Why a call into a module gave no result. The instance is gone, whichever it is: wasmtime locks
/// a store for good once anything in it has trapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The module's doing, and the same on every node: may be a command's outcome.
    #[error("{0}")]
    Trap(TrapKind),
    /// The module trapped after it had been refused memory, or holds too many handles. Two nodes with the same state can have
    /// different heaps, so this is never a command's outcome: rebuild the instance from a
    /// snapshot, which compacts it, and stop the node if that does not help.
    #[error(
        "the module ran out of memory: raise the memory limit of its activation, or delete data"
    )]
    Memory,
    /// This node's doing: another node may well have succeeded. The node has to stop before its
    /// applied index moves.
    #[error("this node cannot run the module: {0}")]
    Node(String),
    /// The instance that the call was meant for is gone since an earlier fault.
    #[error("the module's instance is gone since an earlier fault")]
    Poisoned,
}

/// Bytes of a trap's text and backtrace that go to the log.
const DETAIL_BYTES: usize = 4 << 10;

impl Fault {
    /// Sorts `error`. Its text goes to the log of this node only: it holds symbol names and
    /// offsets, which are not equal everywhere.
    pub(super) fn classify(error: &wasmtime::Error, memory_refused: bool) -> Self {
        let fault = match kind(error) {
            Some(_) if memory_refused => Self::Memory,
            Some(kind) => Self::Trap(kind),
            None if error.root_cause().to_string().starts_with(NO_HANDLES) => Self::Memory,
            None => Self::Node(shorten(&error.root_cause().to_string(), DETAIL_BYTES).to_owned()),
        };
        let detail = format!("{error:?}");
        tracing::warn!(%fault, detail = shorten(&detail, DETAIL_BYTES), "the module trapped");
        fault
    }
}

/// The kind of a deterministic trap, or `None` for everything that may depend on the node. An
/// unknown error belongs to the latter: to stop one node is better than to let two of them differ.
fn kind(error: &wasmtime::Error) -> Option<TrapKind> {
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return trap_kind(*trap);
    }
    if error.is::<std::str::Utf8Error>() || error.is::<std::char::DecodeUtf16Error>() {
        return Some(TrapKind::Interface);
    }
    let text = error.root_cause().to_string();
    INTERFACE_ERRORS
        .iter()
        .any(|known| text.starts_with(known))
        .then_some(TrapKind::Interface)
}

fn trap_kind(trap: Trap) -> Option<TrapKind> {
    Some(match trap {
        Trap::UnreachableCodeReached => TrapKind::Unreachable,
        Trap::MemoryOutOfBounds => TrapKind::MemoryOutOfBounds,
        Trap::TableOutOfBounds
        | Trap::IndirectCallToNull
        | Trap::BadSignature
        | Trap::NullReference => TrapKind::Table,
        Trap::IntegerOverflow | Trap::IntegerDivisionByZero | Trap::BadConversionToInteger => {
            TrapKind::Arithmetic
        }
        Trap::OutOfFuel => TrapKind::OutOfFuel,
        Trap::InvalidChar
        | Trap::StringOutOfBounds
        | Trap::ListOutOfBounds
        | Trap::InvalidDiscriminant
        | Trap::UnalignedPointer
        | Trap::CannotLeaveComponent => TrapKind::Interface,
        // StackOverflow is the native stack, whose depth is the compiler's choice; Interrupt is a
        // clock; the rest belongs to features that are off, or to bugs of the host.
        _ => return None,
    })
}

/// How the messages begin by which wasmtime reports a guest that broke the canonical ABI: there
/// is no type to match. A message that another wasmtime words differently is taken for a fault of
/// the node, and the tests in `tests/wasm` notice.
const INTERFACE_ERRORS: [&str; 17] = [
    "return pointer not aligned",
    "pointer not aligned",
    "pointer out of bounds",
    "string pointer not aligned",
    "string pointer/length out of bounds",
    "list pointer/length out of bounds",
    "list pointer is not aligned",
    "invalid option discriminant",
    "invalid expected discriminant",
    "realloc return: result not aligned",
    "realloc return: beyond end of memory",
    "too much data is being copied between the host and the guest",
    "unknown handle index",
    "handle index",
    "index is not a resource",
    "cannot lift own resource from a borrow",
    "cannot remove owned resource while borrowed",
];

/// How the message begins when the guest has used up its handles. How many it holds depends on what
/// it has leaked since it was instantiated, as its heap does.
const NO_HANDLES: &str = "cannot allocate another handle";

/// The longest prefix of `text` of at most `limit` bytes that ends between characters.
pub(super) fn shorten(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify(error: impl Into<wasmtime::Error>) -> Fault {
        Fault::classify(&error.into(), false)
    }

    #[test]
    fn traps_that_every_node_meets_have_a_kind() {
        for (trap, kind) in [
            (Trap::UnreachableCodeReached, TrapKind::Unreachable),
            (Trap::MemoryOutOfBounds, TrapKind::MemoryOutOfBounds),
            (Trap::BadSignature, TrapKind::Table),
            (Trap::IntegerDivisionByZero, TrapKind::Arithmetic),
            (Trap::OutOfFuel, TrapKind::OutOfFuel),
            (Trap::ListOutOfBounds, TrapKind::Interface),
        ] {
            assert_eq!(classify(trap), Fault::Trap(kind));
        }
    }

    #[test]
    fn traps_that_depend_on_the_node_stop_it() {
        for trap in [
            Trap::StackOverflow,
            Trap::Interrupt,
            Trap::CannotEnterComponent,
        ] {
            assert!(matches!(classify(trap), Fault::Node(_)), "{trap}");
        }
    }

    #[test]
    fn unknown_errors_stop_the_node() {
        assert_eq!(
            classify(wasmtime::Error::msg("mmap failed")),
            Fault::Node("mmap failed".to_owned())
        );
        assert!(matches!(
            classify(std::io::Error::other("disk")),
            Fault::Node(_)
        ));
    }

    #[test]
    fn a_trap_after_a_refused_grow_is_about_memory() {
        let error = wasmtime::Error::from(Trap::UnreachableCodeReached);
        assert_eq!(Fault::classify(&error, true), Fault::Memory);
        let error = wasmtime::Error::from(Trap::StackOverflow);
        assert!(matches!(Fault::classify(&error, true), Fault::Node(_)));
    }

    #[test]
    fn shortened_text_ends_between_characters() {
        assert_eq!(shorten("aé", 2), "a");
        assert_eq!(shorten("aé", 3), "aé");
        assert_eq!(shorten("", 3), "");
    }
}
