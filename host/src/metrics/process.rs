//! What this process takes of its machine, as Linux tells it. The names are those that every exporter
//! of Prometheus uses.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::Page;

/// Writes down the figures of this process; what the system does not tell is left out.
pub fn write_process(page: &mut Page) {
    if let Some(stat) = read("/proc/self/stat").as_deref().and_then(Stat::parse) {
        page.counter(
            "process_cpu_seconds_total",
            "User and system CPU time.",
            seconds(stat.cpu_ticks),
        );
        page.gauge(
            "process_resident_memory_bytes",
            "Resident memory.",
            (stat.resident_pages * page_size() as u64) as f64,
        );
        page.gauge(
            "process_virtual_memory_bytes",
            "Virtual memory.",
            stat.virtual_bytes as f64,
        );
        page.gauge("process_threads", "Threads.", stat.threads as f64);
        if let Some(booted) = read("/proc/stat").as_deref().and_then(boot_time) {
            page.gauge(
                "process_start_time_seconds",
                "When the process started, since 1970.",
                booted as f64 + seconds(stat.start_ticks),
            );
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // Without the one that this look takes.
        let open = open.count().saturating_sub(1);
        page.gauge("process_open_fds", "Open files and sockets.", open as f64);
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        let help = "Files and sockets that may be open.";
        page.gauge("process_max_fds", help, limit as f64);
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / clock_ticks_per_second() as f64
}

/// The line of `/proc/stat` with the second, since 1970, at which the system started.
fn boot_time(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

/// What `/proc/self/stat` tells (proc(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(line: &str) -> Option<Self> {
        // The second field is a name in parentheses, which may hold anything. What follows begins
        // with the third.
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = "42 (a) b (c) S 1 42 42 0 -1 4194560 9 0 0 0 70 30 0 0 20 0 7 0 555 4096 12 \
                    18446744073709551615 1 1 0";
        let stat = Stat {
            cpu_ticks: 100,
            threads: 7,
            start_ticks: 555,
            virtual_bytes: 4096,
            resident_pages: 12,
        };
        assert_eq!(Stat::parse(line), Some(stat));
        assert_eq!(Stat::parse("42 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_figures() {
        let mut page = Page::default();
        write_process(&mut page);
        let text = page.encode().unwrap();
        for name in [
            "process_cpu_seconds_total ",
            "process_resident_memory_bytes ",
            "process_start_time_seconds 1",
            "process_open_fds ",
            "process_max_fds ",
        ] {
            assert!(
                text.contains(&format!("\n{name}")),
                "{name} is not in\n{text}"
            );
        }
    }
}
