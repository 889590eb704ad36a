//! What a check prints: a line per step, and below it what to know about that step.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use super::answer::AnswerKind;
use super::finding::Finding;
use super::history::{Entry, speaks_kv};
use super::plain::{Cut, Plain};
use super::run::{LIMITS, Options};
use super::text::Shown;
use crate::types::TrapKind;
use crate::wasm::{Module, ModuleError};

/// Puts what is below a step under its name.
const INDENT: &str = "        ";

pub(super) fn refused(error: &ModuleError, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "FAILED  accepted as a module\n{INDENT}{error}")
}

pub(super) fn module(module: &Module, took: Duration, out: &mut impl Write) -> io::Result<()> {
    let description = module.description();
    let list = |items: &[String]| match items {
        [] => "nothing".to_owned(),
        items => items.join(", "),
    };
    let reads: Vec<String> = description
        .reads_schemas
        .iter()
        .map(u32::to_string)
        .collect();
    let (name, version) = (&description.name, &description.version);
    writeln!(out, "module  {name} {version}")?;
    writeln!(
        out,
        "schema  {}, reads {}",
        description.schema,
        list(&reads)
    )?;
    writeln!(out, "speaks  {}", list(&description.protocols))?;
    writeln!(out, "sha256  {}", module.id())?;
    let (size, seconds) = (module.size(), took.as_secs_f64());
    writeln!(out, "size    {size} bytes, compiled in {seconds:.2} s")?;
    out.flush()
}

/// Where the commands come from; `examples` is how many were given.
pub(super) fn sources(
    options: &Options,
    module: &Module,
    examples: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    write!(out, "entries ")?;
    if let Some(path) = &options.entries {
        write!(out, "{examples} of {}, then ", path.display())?;
    }
    let kind = if speaks_kv(module.description()) {
        "for rkv:kv@1"
    } else if examples > 0 {
        "like them"
    } else {
        "of random bytes"
    };
    writeln!(out, "{} {kind} (seed {})", options.count, options.seed)
}

/// What `entries` came to in the plain run.
pub(super) fn plain(plain: &Plain<'_>, entries: &[Entry], out: &mut impl Write) -> io::Result<()> {
    let (mut accepted, mut refused, mut trapped) = (0, 0, 0);
    for answer in &plain.answers {
        match answer.kind {
            AnswerKind::Accepted => accepted += 1,
            AnswerKind::Refused => refused += 1,
            AnswerKind::Trapped(_) => trapped += 1,
        }
    }
    let size = plain.snapshot.len();
    writeln!(
        out,
        "{INDENT}{accepted} accepted, {refused} refused, {trapped} trapped; snapshot of {size} bytes"
    )?;
    if accepted == 0 {
        let remedy = "give commands that the module understands with --entries";
        writeln!(
            out,
            "{INDENT}without accepted commands little can be found: {remedy}"
        )?;
    }
    if let Some((entry, kind)) = plain.first_trap() {
        let (number, command) = (entry.context.index, Shown(&entry.command));
        writeln!(out, "{INDENT}entry {number} trapped ({kind}): {command}")?;
        if kind == TrapKind::OutOfMemory {
            let allowed = LIMITS.memory_bytes >> 20;
            writeln!(out, "{INDENT}a check allows {allowed} MiB")?;
        }
        let remedy = "answer bad commands with a failure";
        writeln!(
            out,
            "{INDENT}a trap costs each node a rebuild of its state: {remedy}"
        )?;
    }
    if let Some(cut) = plain.cut {
        let why = match cut {
            Cut::Traps => "so many trapped",
            Cut::Fuel => "those before burnt so much fuel",
        };
        let left = entries.len() - plain.answers.len();
        writeln!(
            out,
            "{INDENT}the last {left} entries are left out, because {why}"
        )?;
    }
    out.flush()
}

pub(super) fn step(
    step: impl Display,
    result: &Result<(), Finding>,
    out: &mut impl Write,
) -> io::Result<()> {
    match result {
        Ok(()) => writeln!(out, "ok      {step}")?,
        Err(finding) => {
            writeln!(out, "FAILED  {step}\n{INDENT}{finding}")?;
            for line in finding.details() {
                writeln!(out, "{INDENT}  {line}")?;
            }
        }
    }
    out.flush()
}
