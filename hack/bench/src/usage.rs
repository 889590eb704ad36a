//! What processes take of the machine, from `/proc` (proc(5)).

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// The unit of CPU times in `/proc`, which Linux has fixed.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time, user and system, that these processes have used since they started.
pub(crate) fn cpu(pids: &[u32]) -> Result<Duration> {
    let ticks = sum(pids, |pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        ticks(&stat).with_context(|| format!("/proc/{pid}/stat: {stat}"))
    })?;
    Ok(Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND))
}

/// Memory that these processes have in RAM, in bytes.
pub(crate) fn resident(pids: &[u32]) -> Result<u64> {
    sum(pids, |pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        resident_bytes(&status).with_context(|| format!("/proc/{pid}/status: {status}"))
    })
}

/// Bytes that were written to the disk below `path` since the system started, by whoever. `None` where
/// the file system has no block device of its own. What `/proc/PID/io` says is not that: it counts the
/// whole of a large page for any byte in it.
pub(crate) fn written(path: &Path) -> Result<Option<u64>> {
    let device = fs::metadata(path)?.dev();
    let (major, minor) = numbers(device);
    match fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")) {
        Ok(stat) => written_bytes(&stat).map(Some).context("a strange stat"),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// How Linux packs them: makedev(3).
fn numbers(device: u64) -> (u64, u64) {
    let major = (device >> 8) & 0xfff | (device >> 32) & !0xfff;
    let minor = device & 0xff | (device >> 12) & !0xff;
    (major, minor & 0xffff_ffff)
}

fn sum(pids: &[u32], of: impl Fn(u32) -> Result<u64>) -> Result<u64> {
    pids.iter().map(|pid| of(*pid)).sum()
}

/// Fields 14 and 15; the name in field 2 may have blanks.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// Field 7 counts sectors of 512 bytes.
fn written_bytes(stat: &str) -> Option<u64> {
    let sectors: u64 = stat.split_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 25 17 0 0 20 0 5 0 300";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(
            resident_bytes("Name:\tx\nVmRSS:\t  12 kB\n"),
            Some(12 << 10)
        );
    }

    #[test]
    fn the_own_process_uses_something() {
        let own = [std::process::id()];
        assert!(resident(&own).unwrap() > 0);
        cpu(&own).unwrap();
        written(Path::new(".")).unwrap();
    }
}
