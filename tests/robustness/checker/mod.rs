//! Is a history one that a single, never failing copy of the data could have produced?

mod register;
mod search;

pub(crate) use register::{Call, Event, Moment, Value};
pub(crate) use search::check;
