//! The accounts.

use std::collections::BTreeMap;
use std::ops::Bound;

use rkv_fsm::json::{Events, JsonMachine};
use rkv_fsm::{Context, Description, Failure};
use serde::{Deserialize, Serialize};

use crate::{Answer, Command, Deposit, Open, Query, Reply, Transfer, failure, topic};

const MAX_NAME_BYTES: usize = 128;
const MAX_PAGE: usize = 1000;

/// Accounts and their balances.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
pub struct Ledger {
    balances: BTreeMap<String, u64>,
    /// The sum of the balances.
    #[serde(skip)]
    total: u64,
}

impl Ledger {
    /// The most that all accounts hold together: the largest number up to which every JSON reader
    /// takes each whole number exactly. No sum of balances overflows, as none is above it.
    pub const MAX_TOTAL: u64 = (1 << 53) - 1;

    fn open(&mut self, Open { account }: &Open) -> Result<Reply, Failure> {
        if account.is_empty() || account.len() > MAX_NAME_BYTES {
            let message = format!(
                "a name has 1 to {MAX_NAME_BYTES} bytes, not {}",
                account.len()
            );
            return Err(refuse(failure::BAD_NAME, message));
        }
        if self.balances.contains_key(account) {
            let message = format!("account {account:?} is open already");
            return Err(refuse(failure::ACCOUNT_EXISTS, message));
        }
        self.balances.insert(account.clone(), 0);
        Ok(Reply::from([(account.clone(), 0)]))
    }

    fn deposit(&mut self, Deposit { account, amount }: &Deposit) -> Result<Reply, Failure> {
        check_amount(*amount)?;
        let balance = self
            .balances
            .get_mut(account)
            .ok_or_else(|| no_account(account))?;
        let room = Self::MAX_TOTAL - self.total;
        if *amount > room {
            let message = format!("the ledger has room for {room} more, not {amount}");
            return Err(refuse(failure::TOO_MUCH, message));
        }
        self.total += amount;
        *balance += amount;
        Ok(Reply::from([(account.clone(), *balance)]))
    }

    fn transfer(&mut self, Transfer { from, to, amount }: &Transfer) -> Result<Reply, Failure> {
        check_amount(*amount)?;
        if from == to {
            let message = format!("{from:?} is on both sides");
            return Err(refuse(failure::SAME_ACCOUNT, message));
        }
        // All that can be refused comes before the first change.
        let (source, target) = (self.balance(from)?, self.balance(to)?);
        let Some(rest) = source.checked_sub(*amount) else {
            let message = format!("{from:?} has {source}, less than {amount}");
            return Err(refuse(failure::OVERDRAWN, message));
        };
        let balances = Reply::from([(from.clone(), rest), (to.clone(), target + amount)]);
        self.balances.extend(balances.clone());
        Ok(balances)
    }

    fn balance(&self, account: &str) -> Result<u64, Failure> {
        self.balances
            .get(account)
            .copied()
            .ok_or_else(|| no_account(account))
    }
}

impl JsonMachine for Ledger {
    type Command = Command;
    type Reply = Reply;
    type Query = Query;
    type Answer = Answer;

    fn description() -> Description {
        Description {
            name: "ledger".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema: 1,
            reads_schemas: vec![1],
            protocols: vec!["rkv:ledger@1".to_owned()],
        }
    }

    fn execute(
        &mut self,
        _context: Context,
        command: Command,
        events: &mut Events,
    ) -> Result<Reply, Failure> {
        Ok(match command {
            Command::Open(open) => {
                let balances = self.open(&open)?;
                events.emit(topic::OPENED, &open);
                balances
            }
            Command::Deposit(deposit) => {
                let balances = self.deposit(&deposit)?;
                events.emit(topic::DEPOSITED, &deposit);
                balances
            }
            Command::Transfer(transfer) => {
                let balances = self.transfer(&transfer)?;
                events.emit(topic::TRANSFERRED, &transfer);
                balances
            }
        })
    }

    fn answer(&self, _now: Context, query: Query) -> Result<Answer, Failure> {
        Ok(match query {
            Query::Balance { account } => Answer::Amount(self.balance(&account)?),
            Query::Accounts { after } => {
                let behind = (Bound::Excluded(after.as_str()), Bound::Unbounded);
                let page = self.balances.range::<str, _>(behind).take(MAX_PAGE);
                Answer::Accounts(
                    page.map(|(name, &balance)| (name.clone(), balance))
                        .collect(),
                )
            }
            Query::Total => Answer::Amount(self.total),
        })
    }
}

/// What a snapshot holds.
#[derive(Deserialize)]
struct Saved {
    balances: BTreeMap<String, u64>,
}

impl TryFrom<Saved> for Ledger {
    type Error = &'static str;

    fn try_from(Saved { balances }: Saved) -> Result<Self, Self::Error> {
        let total = balances
            .values()
            .try_fold(0, |sum: u64, &balance| sum.checked_add(balance));
        match total {
            Some(total) if total <= Self::MAX_TOTAL => Ok(Self { balances, total }),
            _ => Err("the balances add up to more than a ledger holds"),
        }
    }
}

fn check_amount(amount: u64) -> Result<(), Failure> {
    match amount {
        0 => Err(refuse(
            failure::BAD_AMOUNT,
            "an amount is at least 1".to_owned(),
        )),
        _ => Ok(()),
    }
}

fn no_account(account: &str) -> Failure {
    refuse(
        failure::NO_ACCOUNT,
        format!("there is no account {account:?}"),
    )
}

fn refuse(code: u32, message: String) -> Failure {
    Failure { code, message }
}
