//! What a ledger answers, and that it never makes or loses money.

use std::collections::BTreeMap;

use rkv_example_ledger::{Command, Deposit, Ledger, Open, Query, Transfer, failure, topic};
use rkv_fsm::failure::{BAD_SNAPSHOT, MALFORMED};
use rkv_fsm::testing::{Random, context, entries, replicate, restore, snapshot};
use rkv_fsm::{Outcome, StateMachine};

const NAMES: [&str; 5] = ["alice", "bob", "carol", "dave", ""];

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON")
}

/// The reply, or the code of the failure.
fn apply(ledger: &mut Ledger, command: &str) -> Result<String, u32> {
    let outcome = ledger
        .apply(context(1), command.into())
        .map_err(|failure| failure.code)?;
    Ok(String::from_utf8(outcome.response).expect("text"))
}

fn query(ledger: &Ledger, query: &str) -> Result<String, u32> {
    let answer = ledger
        .query(context(1), query.into())
        .map_err(|failure| failure.code)?;
    Ok(String::from_utf8(answer).expect("text"))
}

fn ledger_of(commands: &[&str]) -> Ledger {
    let mut ledger = Ledger::default();
    for command in commands {
        apply(&mut ledger, command).expect(command);
    }
    ledger
}

#[test]
fn the_commands_of_the_readme_answer_what_it_says() {
    let mut ledger = Ledger::default();
    let mut replies = |command| apply(&mut ledger, command);
    assert_eq!(
        replies(r#"{"open":{"account":"alice"}}"#),
        Ok(r#"{"alice":0}"#.into())
    );
    assert_eq!(
        replies(r#"{"open":{"account":"bob"}}"#),
        Ok(r#"{"bob":0}"#.into())
    );
    assert_eq!(
        replies(r#"{"deposit":{"account":"alice","amount":100}}"#),
        Ok(r#"{"alice":100}"#.into())
    );
    let transfer = r#"{"transfer":{"from":"alice","to":"bob","amount":70}}"#;
    assert_eq!(replies(transfer), Ok(r#"{"alice":30,"bob":70}"#.into()));
    assert_eq!(replies(transfer), Err(failure::OVERDRAWN));
    assert_eq!(
        query(&ledger, r#"{"balance":{"account":"alice"}}"#),
        Ok("30".into())
    );
    assert_eq!(
        query(&ledger, r#"{"accounts":{}}"#),
        Ok(r#"{"alice":30,"bob":70}"#.into())
    );
    assert_eq!(
        query(&ledger, r#"{"accounts":{"after":"alice"}}"#),
        Ok(r#"{"bob":70}"#.into())
    );
    assert_eq!(query(&ledger, r#""total""#), Ok("100".into()));
}

#[test]
fn refusals_have_their_codes_and_change_nothing() {
    let mut ledger = ledger_of(&[
        r#"{"open":{"account":"alice"}}"#,
        r#"{"open":{"account":"bob"}}"#,
        r#"{"deposit":{"account":"alice","amount":10}}"#,
    ]);
    let before = snapshot(&ledger, 4096);
    let long_name = format!(r#"{{"open":{{"account":"{}"}}}}"#, "x".repeat(129));
    for (command, code) in [
        (r#"{"open":{"account":"alice"}}"#, failure::ACCOUNT_EXISTS),
        (r#"{"open":{"account":""}}"#, failure::BAD_NAME),
        (&long_name, failure::BAD_NAME),
        (
            r#"{"deposit":{"account":"eve","amount":1}}"#,
            failure::NO_ACCOUNT,
        ),
        (
            r#"{"deposit":{"account":"alice","amount":0}}"#,
            failure::BAD_AMOUNT,
        ),
        (
            r#"{"deposit":{"account":"alice","amount":9007199254740982}}"#,
            failure::TOO_MUCH,
        ),
        (
            r#"{"deposit":{"account":"alice","amount":18446744073709551615}}"#,
            failure::TOO_MUCH,
        ),
        (
            r#"{"transfer":{"from":"alice","to":"bob","amount":11}}"#,
            failure::OVERDRAWN,
        ),
        (
            r#"{"transfer":{"from":"alice","to":"bob","amount":0}}"#,
            failure::BAD_AMOUNT,
        ),
        (
            r#"{"transfer":{"from":"alice","to":"alice","amount":1}}"#,
            failure::SAME_ACCOUNT,
        ),
        (
            r#"{"transfer":{"from":"alice","to":"eve","amount":1}}"#,
            failure::NO_ACCOUNT,
        ),
        (
            r#"{"transfer":{"from":"eve","to":"alice","amount":1}}"#,
            failure::NO_ACCOUNT,
        ),
        (r#"{"deposit":{"account":"alice","amount":-1}}"#, MALFORMED),
        (r#"{"deposit":{"account":"alice","amount":1.5}}"#, MALFORMED),
        (
            r#"{"deposit":{"account":"alice","amount":1,"currency":"EUR"}}"#,
            MALFORMED,
        ),
        (r#"{"close":{"account":"alice"}}"#, MALFORMED),
        ("", MALFORMED),
    ] {
        assert_eq!(apply(&mut ledger, command), Err(code), "{command}");
        assert!(snapshot(&ledger, 4096) == before, "{command}");
    }
    assert_eq!(
        query(&ledger, r#"{"balance":{"account":"eve"}}"#),
        Err(failure::NO_ACCOUNT)
    );
}

#[test]
fn a_ledger_holds_as_much_as_json_readers_take_exactly() {
    let mut ledger = ledger_of(&[r#"{"open":{"account":"alice"}}"#]);
    let all = format!(
        r#"{{"deposit":{{"account":"alice","amount":{}}}}}"#,
        Ledger::MAX_TOTAL
    );
    assert_eq!(
        apply(&mut ledger, &all),
        Ok(format!(r#"{{"alice":{}}}"#, Ledger::MAX_TOTAL))
    );
    let one_more = r#"{"deposit":{"account":"alice","amount":1}}"#;
    assert_eq!(apply(&mut ledger, one_more), Err(failure::TOO_MUCH));
    let restored: Ledger = restore(&snapshot(&ledger, 5), 5).expect("its own snapshot");
    assert_eq!(
        query(&restored, r#""total""#),
        Ok(Ledger::MAX_TOTAL.to_string())
    );
}

#[test]
fn watchers_are_told_what_happened_and_not_what_was_refused() {
    let mut ledger = ledger_of(&[r#"{"open":{"account":"alice"}}"#]);
    let command = r#"{"open":{"account":"bob"}}"#;
    let Outcome { events, .. } = ledger.apply(context(2), command.into()).expect("opened");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].topic, topic::OPENED);
    assert_eq!(events[0].data, br#"{"account":"bob"}"#);
}

/// A command that often makes sense, and sometimes is no command at all.
fn random_command(random: &mut Random) -> Vec<u8> {
    let mut name = || (*random.pick(&NAMES)).to_owned();
    let (from, to) = (name(), name());
    let amount = random.below(60);
    match random.below(20) {
        0..3 => json(&Command::Open(Open { account: to })),
        3..9 => json(&Command::Deposit(Deposit {
            account: to,
            amount,
        })),
        9..18 => json(&Command::Transfer(Transfer { from, to, amount })),
        _ => random.bytes(40),
    }
}

/// What the ledger should hold after `command`, if it may be carried out at all.
fn model_apply(model: &mut BTreeMap<String, u64>, command: &[u8]) -> bool {
    match serde_json::from_slice(command) {
        Ok(Command::Open(Open { account })) if !account.is_empty() => {
            let new = !model.contains_key(&account);
            model.entry(account).or_insert(0);
            new
        }
        Ok(Command::Deposit(Deposit { account, amount })) if amount > 0 => model
            .get_mut(&account)
            .map(|balance| *balance += amount)
            .is_some(),
        Ok(Command::Transfer(Transfer { from, to, amount })) if amount > 0 && from != to => {
            let rich = model.get(&from).is_some_and(|&balance| balance >= amount);
            let possible = rich && model.contains_key(&to);
            if possible {
                *model.entry(from).or_default() -= amount;
                *model.entry(to).or_default() += amount;
            }
            possible
        }
        _ => false,
    }
}

#[test]
fn random_histories_equal_the_model_and_conserve_what_was_deposited() {
    let queries = [
        json(&Query::Total),
        json(&Query::Accounts {
            after: String::new(),
        }),
        json(&Query::Balance {
            account: "bob".to_owned(),
        }),
    ];
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let history = entries((0..1000).map(|_| random_command(&mut random)));
        let run = replicate::<Ledger>(&history, &queries, seed);

        let mut model = BTreeMap::new();
        for (entry, outcome) in history.iter().zip(&run.outcomes) {
            let done = model_apply(&mut model, &entry.command);
            assert_eq!(outcome.is_ok(), done, "{outcome:?}");
        }
        let answer = |query: &[u8]| run.machine.query(context(1000), query.to_vec());
        assert_eq!(answer(&queries[0]), Ok(json(&model.values().sum::<u64>())));
        assert_eq!(answer(&queries[1]), Ok(json(&model)));
        let refused = run
            .outcomes
            .iter()
            .filter(|outcome| outcome.is_err())
            .count();
        assert!((100..900).contains(&refused), "{refused} of 1000 refused");
    }
}

/// Two accounts as postcard writes them.
fn saved(balances: [u64; 2]) -> Vec<u8> {
    let mut bytes = vec![2];
    for (name, mut balance) in [b'a', b'b'].into_iter().zip(balances) {
        bytes.extend([1, name]);
        while balance >= 0x80 {
            bytes.push(balance as u8 | 0x80);
            balance >>= 7;
        }
        bytes.push(balance as u8);
    }
    bytes
}

#[test]
fn a_snapshot_whose_balances_no_ledger_can_hold_is_refused() {
    let most = restore::<Ledger>(&saved([Ledger::MAX_TOTAL - 1, 1]), 7);
    assert!(most.is_ok());
    for balances in [[u64::MAX, u64::MAX], [Ledger::MAX_TOTAL, 1]] {
        let failure = restore::<Ledger>(&saved(balances), 7).unwrap_err();
        assert_eq!(failure.code, BAD_SNAPSHOT);
    }
}
