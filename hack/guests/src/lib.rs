//! For tests: the example state machines in other languages than Rust, as `hack/guests.sh` builds
//! them.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{fmt, fs};

/// What the script exits with when its tools cannot be had.
const NO_TOOLS: i32 = 3;

/// A language that an example is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// `fsm-guest/examples/counter-c`.
    C,
    /// `fsm-guest/examples/counter-python`.
    Python,
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::C => "c",
            Self::Python => "python",
        })
    }
}

/// The counter in this language, as a component. `None`, with a line that says why, where the
/// tools to build it cannot be had.
///
/// # Panics
///
/// When it does not build although the tools are there.
pub fn counter(language: Language) -> Option<&'static [u8]> {
    static BUILT: [OnceLock<Option<Vec<u8>>>; 2] = [OnceLock::new(), OnceLock::new()];
    let built = &BUILT[language as usize];
    built.get_or_init(|| build(language)).as_deref()
}

fn build(language: Language) -> Option<Vec<u8>> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new("bash")
        .current_dir(&repository)
        .args(["hack/guests.sh", &language.to_string()])
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let log = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(NO_TOOLS) {
        // Not `eprintln`, which is kept back when a test passes.
        let line = format!("SKIPPED: no counter in {language}: {}\n", log.trim());
        io::stderr().write_all(line.as_bytes()).expect("stderr");
        return None;
    }
    assert!(
        output.status.success(),
        "hack/guests.sh {language} failed:\n{log}"
    );
    let path = String::from_utf8_lossy(&output.stdout);
    let path = repository.join(path.trim_end());
    Some(fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}
