//! The bounds on what an instance may allocate, and the record of what it was refused.

use wasmtime::{ResourceLimiter, Result};

use crate::types::Limits;

/// Core instances of one component. A Rust guest has four, a Python one some thirty.
const CORE_INSTANCES: usize = 256;
/// Tables over all core instances.
pub(super) const TABLES: u32 = 64;
/// Linear memories: every toolchain makes one.
pub(super) const MEMORIES: u32 = 1;

/// Watches the memory and tables of one store.
///
/// A refused grow is an answer to the guest, which may cope with it. But whether it is refused
/// depends on the heap, and so on the node: the refusal is remembered for the instance's life.
#[derive(Debug)]
pub(super) struct Limiter {
    memory_limit: usize,
    memory_bytes: usize,
    table_limit: usize,
    table_elements: usize,
    refused: bool,
}

impl Limiter {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            memory_limit: usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX),
            memory_bytes: 0,
            table_limit: usize::try_from(limits.table_elements).unwrap_or(usize::MAX),
            table_elements: 0,
            refused: false,
        }
    }

    /// The size of the instance's linear memory, in bytes. It never shrinks.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes as u64
    }

    /// Whether any grow was ever refused, by these limits or by the system.
    pub(super) fn refused(&self) -> bool {
        self.refused
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        if desired > self.memory_limit || maximum.is_some_and(|maximum| desired > maximum) {
            self.refused = true;
            return Ok(false);
        }
        self.memory_bytes = desired; // MEMORIES is one: this is the total
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        tracing::error!(%error, bytes = self.memory_bytes, "a module's memory cannot grow further");
        self.refused = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        let total = self
            .table_elements
            .saturating_add(desired.saturating_sub(current));
        if total > self.table_limit || maximum.is_some_and(|maximum| desired > maximum) {
            self.refused = true;
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter() -> Limiter {
        Limiter::new(&Limits {
            memory_bytes: 100,
            table_elements: 10,
            fuel_per_entry: 0,
        })
    }

    #[test]
    fn memory_is_granted_up_to_the_limit() {
        let mut limiter = limiter();
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(60, 100, None).unwrap());
        assert!(!limiter.refused());
        assert!(!limiter.memory_growing(100, 101, None).unwrap());
        assert!(limiter.refused());
        assert_eq!(limiter.memory_bytes(), 100);
    }

    #[test]
    fn memory_that_the_system_refused_is_remembered() {
        let mut limiter = limiter();
        assert!(limiter.memory_growing(0, 10, None).unwrap());
        limiter
            .memory_grow_failed(wasmtime::Error::msg("no memory"))
            .unwrap();
        assert!(limiter.refused());
    }

    #[test]
    fn elements_are_counted_over_all_tables() {
        let mut limiter = limiter();
        assert!(limiter.table_growing(0, 6, None).unwrap());
        assert!(!limiter.table_growing(0, 6, None).unwrap());
        assert!(limiter.refused());
    }
}
