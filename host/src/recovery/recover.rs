//! `rkvd recover`: a cluster of one from a survivor, when the others are gone for good.

use std::io::Write;
use std::path::Path;

use super::Outcome;
use super::error::RecoveryError;
use super::plan::Plan;
use super::report::line;
use crate::storage::{Inspection, succeed};

/// Says what would be done and lost, and does it if that is `confirmed`.
///
/// # Errors
/// Why it cannot be done.
pub fn recover(
    data_dir: &Path,
    confirmed: bool,
    out: &mut impl Write,
) -> Result<Outcome, RecoveryError> {
    let inspection = Inspection::open(data_dir)?;
    let plan = Plan::of(&inspection)?;
    plan.print(out)?;
    let (id, dir) = (plan.id, data_dir.display());
    if plan.is_alone() {
        line(out, "done", "it is a cluster of one already: nothing to do")?;
        return Ok(Outcome::Good);
    }
    if !confirmed {
        let would = "make it a cluster of one, under a new cluster id that the other members' data \
                     directories, should they come back, are refused by; their ids are retired";
        line(out, "would", would)?;
        line(
            out,
            "to do",
            "nothing was changed; once the other members are gone for good, repeat it with --yes",
        )?;
        return Ok(Outcome::Open);
    }
    let cluster = succeed(&inspection.into_dir(), &plan.succession())?;
    line(
        out,
        "done",
        format_args!("node {id} is alone in cluster {cluster}"),
    )?;
    line(
        out,
        "next",
        format_args!(
            "rkvd --id {id} --data-dir {dir}, with its other flags; then new nodes join, with new ids \
             and empty directories"
        ),
    )?;
    Ok(Outcome::Good)
}
