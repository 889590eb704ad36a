//! What a ledger is told and asked, and what it says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// `{"open":{"account":"alice"}}` makes an account with nothing in it.
    Open(Open),
    /// `{"deposit":{"account":"alice","amount":100}}` brings money in.
    Deposit(Deposit),
    /// `{"transfer":{"from":"alice","to":"bob","amount":30}}` moves money, or is refused as a whole.
    Transfer(Transfer),
}

/// An account to open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// From 1 to 128 bytes.
    pub account: String,
}

/// Money to bring in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deposit {
    /// An open account.
    pub account: String,
    /// At least 1.
    pub amount: u64,
}

/// Money to move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// An open account with at least that much in it.
    pub from: String,
    /// Another open account.
    pub to: String,
    /// At least 1.
    pub amount: u64,
}

/// The new balances of the accounts that a command named: `{"alice":70,"bob":30}`.
pub type Reply = BTreeMap<String, u64>;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Query {
    /// `{"balance":{"account":"alice"}}` is answered by a number.
    Balance {
        /// An open account.
        account: String,
    },
    /// `{"accounts":{}}` lists accounts and balances by name, at most 1000 of them.
    Accounts {
        /// Only accounts behind this name, which need not exist: the last of the page before.
        #[serde(default)]
        after: String,
    },
    /// `"total"` is answered by the sum of all balances.
    Total,
}

/// What a query is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// A balance, or the sum of all.
    Amount(u64),
    /// Balances by account.
    Accounts(BTreeMap<String, u64>),
}

/// Failure codes, besides those of [`rkv_fsm::failure`].
pub mod failure {
    use rkv_fsm::failure::FIRST_OWN;

    /// The account is not open.
    pub const NO_ACCOUNT: u32 = FIRST_OWN;
    /// The account is open already.
    pub const ACCOUNT_EXISTS: u32 = FIRST_OWN + 1;
    /// A name of no bytes or of more than 128.
    pub const BAD_NAME: u32 = FIRST_OWN + 2;
    /// An amount of 0.
    pub const BAD_AMOUNT: u32 = FIRST_OWN + 3;
    /// The account has less in it than was to be taken out.
    pub const OVERDRAWN: u32 = FIRST_OWN + 4;
    /// The ledger would hold more than [`MAX_TOTAL`](crate::Ledger::MAX_TOTAL).
    pub const TOO_MUCH: u32 = FIRST_OWN + 5;
    /// A transfer from an account to itself.
    pub const SAME_ACCOUNT: u32 = FIRST_OWN + 6;
}

/// What events are about.
pub mod topic {
    /// An account was opened. The data is the JSON of an [`Open`](crate::Open).
    pub const OPENED: &str = "opened";
    /// Money came in. The data is the JSON of a [`Deposit`](crate::Deposit).
    pub const DEPOSITED: &str = "deposited";
    /// Money moved. The data is the JSON of a [`Transfer`](crate::Transfer).
    pub const TRANSFERRED: &str = "transferred";
}
