//! What the counters are documented to do, once more.

use std::collections::BTreeMap;

/// What a command gives: the response and the event's topic and data, or the code of its refusal.
pub(crate) type Expected = Result<(String, String, String), u32>;

#[derive(Debug, Default)]
pub(crate) struct Model(BTreeMap<String, i64>);

impl Model {
    pub(crate) fn add(&mut self, name: &str, amount: i64) -> Expected {
        let before = self.0.get(name).copied().unwrap_or(0);
        let value = before.checked_add(amount).ok_or(11_u32)?;
        self.0.insert(name.to_owned(), value);
        Ok((value.to_string(), name.to_owned(), value.to_string()))
    }

    pub(crate) fn remove(&mut self, name: &str) -> Expected {
        let value = self.0.remove(name).ok_or(10_u32)?;
        Ok((value.to_string(), name.to_owned(), String::new()))
    }

    pub(crate) fn list(&self) -> String {
        let line = |(name, value)| format!("{name} {value}\n");
        self.0.iter().map(line).collect()
    }

    pub(crate) fn snapshot(&self) -> Vec<u8> {
        format!("{}\n{}", self.0.len(), self.list()).into_bytes()
    }
}
