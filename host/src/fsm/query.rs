//! Asking the module. A fault costs the instance, which is rebuilt: nobody's state.

use super::error::FsmError;
use super::machine::Machine;
use crate::types::{Failure, TrapKind};
use crate::wasm::Fault;

impl Machine {
    /// Answers queries on the state as it is; `None` without a module.
    pub(super) fn query(
        &mut self,
        queries: &[&[u8]],
    ) -> Result<Option<Vec<QueryAnswer>>, FsmError> {
        self.mend()?;
        let Asked { answers, spoilt } = self.ask(queries)?;
        if spoilt {
            self.rebuild()?;
        }
        match (answers, queries) {
            (Ok(answers), _) => Ok(answers),
            (Err(fault), [_]) => {
                tracing::warn!(%fault, "a query failed");
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
                let mut answers = Vec::with_capacity(queries.len());
                for query in queries {
                    answers.extend(self.query(std::slice::from_ref(query))?.unwrap_or_default());
                }
                Ok(Some(answers))
            }
        }
    }

    /// Asks the module, and leaves it to the caller to rebuild the instance.
    pub(super) fn ask(&mut self, queries: &[&[u8]]) -> Result<Asked, FsmError> {
        if let Some(halt) = &self.halted {
            return Err(FsmError::Quarantined(halt.reason.clone()));
        }
        let applied = self.host.applied;
        let index = applied.map_or(0, |id| id.index);
        let term = applied.map_or(0, |id| **id.committed_leader_id());
        let now = self.context(index, term, self.host.clock_ms)?;
        let Some(instance) = &mut self.instance else {
            return Ok(Asked {
                answers: Ok(None),
                spoilt: false,
            });
        };
        let burnt = instance.fuel_burnt();
        let answers = instance.query(now, queries);
        self.pace.note(instance.fuel_burnt() - burnt);
        let answer = |answer: Result<_, _>| answer.map_err(QueryFault::Refused);
        Ok(Asked {
            // It may have coped with too little memory, but have changed its state, which no other
            // node did.
            spoilt: answers.is_err() || instance.memory_refused(),
            answers: answers.map(|answers| Some(answers.into_iter().map(answer).collect())),
        })
    }
}

/// What came of a batch of queries.
pub(super) struct Asked {
    /// `None` without a module.
    pub(super) answers: Result<Option<Vec<QueryAnswer>>, Fault>,
    /// The instance has to be rebuilt.
    pub(super) spoilt: bool,
}

/// What came of one query.
pub(super) type QueryAnswer = Result<Vec<u8>, QueryFault>;

/// Why one query has no answer.
#[derive(Debug)]
pub(super) enum QueryFault {
    Refused(Failure),
    Trapped(TrapKind),
}
