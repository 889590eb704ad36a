//! A ledger: accounts, deposits, and transfers that never overdraw, as `rkv:ledger@1`.
//!
//! Commands and queries are the JSON of [`Command`] and [`Query`]. Amounts are whole numbers of the
//! smallest unit, such as cents. Only a deposit makes money, and nothing destroys it: the balances
//! always add up to what was deposited.

mod ledger;
mod message;

pub use ledger::Ledger;
pub use message::{Answer, Command, Deposit, Open, Query, Reply, Transfer, failure, topic};

rkv_fsm::export!(Ledger);
