//! Asking the module. A fault costs the instance, which is rebuilt: nobody's state.

use super::error::FsmError;
use super::machine::Machine;
use crate::types::{Failure, TrapKind};
use crate::wasm::Fault;

impl Machine {
    /// Asks the module. A fault costs the instance, which is rebuilt: nobody's state.
    pub(super) fn query(
        &mut self,
        queries: &[&[u8]],
    ) -> Result<Option<Vec<QueryAnswer>>, FsmError> {
        if let Some(halt) = &self.halted {
            return Err(FsmError::Quarantined(halt.reason.clone()));
        }
        let applied = self.host.applied;
        let index = applied.map_or(0, |id| id.index);
        let term = applied.map_or(0, |id| **id.committed_leader_id());
        let now = self.context(index, term, self.host.clock_ms)?;
        let Some(instance) = &mut self.instance else {
            return Ok(None);
        };
        match (instance.query(now, queries), queries) {
            (Ok(answers), _) => {
                if instance.memory_refused() {
                    // It coped, but may have changed its state, which no other node did.
                    self.rebuild()?;
                }
                let answer = |answer: Result<_, _>| answer.map_err(QueryFault::Refused);
                Ok(Some(answers.into_iter().map(answer).collect()))
            }
            (Err(fault), [_]) => {
                tracing::warn!(%fault, "a query failed");
                self.rebuild()?;
                match fault {
                    Fault::Trap(kind) => Ok(Some(vec![Err(QueryFault::Trapped(kind))])),
                    Fault::Memory => {
                        Ok(Some(vec![Err(QueryFault::Trapped(TrapKind::OutOfMemory))]))
                    }
                    fault => Err(FsmError::Fault(fault.to_string())),
                }
            }
            (Err(fault), _) => {
                tracing::warn!(%fault, queries = queries.len(), "a batch of queries failed");
                self.rebuild()?;
                let mut answers = Vec::with_capacity(queries.len());
                for query in queries {
                    answers.extend(self.query(std::slice::from_ref(query))?.unwrap_or_default());
                }
                Ok(Some(answers))
            }
        }
    }
}

/// What came of one query.
pub(super) type QueryAnswer = Result<Vec<u8>, QueryFault>;

/// Why one query has no answer.
#[derive(Debug)]
pub(super) enum QueryFault {
    Refused(Failure),
    Trapped(TrapKind),
}
