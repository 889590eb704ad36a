//! One process that a test owns.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, kill_process, setrlimit,
    waitid,
};

use crate::wait;

/// What the daemon puts before the one line that says why it did not start.
const ERROR_PREFIX: &str = "rkvd: error: ";

/// A running process with its output in a file. Dropping it kills it, by its own id.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Where in the file this process began to write; what is before is of earlier ones.
    log_start: usize,
}

/// How a process ended.
#[derive(Debug)]
pub struct Exit {
    /// Its exit code or the signal that killed it.
    pub status: ExitStatus,
    /// All that it wrote.
    pub log: String,
}

impl Process {
    /// Starts `command` with both outputs appended to the file `log`.
    ///
    /// # Errors
    ///
    /// When the file or the program cannot be opened.
    pub fn spawn(mut command: Command, log: &Path) -> io::Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        let log_start = usize::try_from(output.metadata()?.len()).unwrap_or(usize::MAX);
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Self {
            child,
            log: log.to_owned(),
            log_start,
        })
    }

    /// SIGKILL; returns at once, so that several can be killed in the same moment.
    pub fn start_kill(&mut self) {
        // Fails only for a process that was waited for: then it is gone already.
        let _ = self.child.kill();
    }

    /// Ends it with SIGKILL and waits until it is gone, so that its ports and locks are free.
    pub fn kill9(&mut self) {
        self.start_kill();
        // Fails only for a process that was waited for.
        let _ = self.child.wait();
    }

    /// Sends SIGTERM and returns at once.
    ///
    /// # Panics
    ///
    /// When the process is gone already.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP: it keeps its sockets and locks, and does nothing. Returns when it has stopped: the signal
    /// reaches one thread after the other, and until then the rest may go on answering.
    ///
    /// # Panics
    ///
    /// When the process is gone already.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        // Its end counts, too, and is left for others to see.
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let pid = Pid::from_child(&self.child);
        retry_on_intr(|| waitid(WaitId::Pid(pid), options)).expect("a child of this process");
    }

    /// SIGCONT: it goes on, and has not noticed that it was away.
    ///
    /// # Panics
    ///
    /// When the process is gone already.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal)
            .unwrap_or_else(|error| panic!("{signal:?} to process {}: {error}", self.child.id()));
    }

    /// The figure of this name in the kernel's table of the process, such as `VmRSS`, in its unit.
    ///
    /// # Panics
    ///
    /// When there is none: the process is gone.
    pub fn figure(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_else(|error| panic!("process {}: {error}", self.child.id()));
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("no {name} in\n{status}"))
    }

    /// Files and sockets that it has open.
    ///
    /// # Panics
    ///
    /// When the process is gone.
    pub fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.child.id());
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
        files.count()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    ///
    /// When it still runs after `within`.
    pub async fn exit(&mut self, within: Duration) -> Exit {
        let id = self.child.id();
        let status = wait::until(
            &format!("process {id} has ended"),
            within,
            async || match self.child.try_wait() {
                Ok(Some(status)) => Ok(status),
                Ok(None) => Err("it runs".to_owned()),
                Err(error) => Err(error.to_string()),
            },
        )
        .await;
        Exit {
            status,
            log: self.log(),
        }
    }

    /// What this process has written so far.
    pub fn log(&self) -> String {
        let all = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(all.get(self.log_start..).unwrap_or_default()).into_owned()
    }
}

/// Raises how many files and sockets the tests may have open as far as they may, and returns that.
pub fn raise_open_files() -> usize {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limits.maximum,
        maximum: limits.maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limits.maximum,
        Err(_) => limits.current,
    };
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

impl Exit {
    /// The reason that a daemon gave for not starting: exactly one line, no panic, and an exit code
    /// that is not 0.
    ///
    /// # Panics
    ///
    /// When any of that is not so.
    pub fn refusal(&self) -> &str {
        let code = self.status.code();
        assert!(
            code.is_some_and(|code| code != 0),
            "{}\n{}",
            self.status,
            self.log
        );
        assert!(
            !self.log.contains("panicked at"),
            "it panicked:\n{}",
            self.log
        );
        let mut lines = self
            .log
            .lines()
            .filter_map(|line| line.strip_prefix(ERROR_PREFIX));
        match (lines.next(), lines.next()) {
            (Some(line), None) if !line.trim().is_empty() => line,
            _ => panic!("not exactly one line '{ERROR_PREFIX}...':\n{}", self.log),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, log: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::spawn(command, log).expect("a shell")
    }

    fn log_file() -> tempfile::TempPath {
        tempfile::NamedTempFile::new()
            .expect("a file")
            .into_temp_path()
    }

    #[tokio::test]
    async fn a_process_that_ends_reports_its_status_and_only_its_own_output() {
        let log = log_file();
        shell("echo first", &log).exit(wait::GENEROUS).await;
        let exit = shell("echo out; echo err >&2; exit 3", &log)
            .exit(wait::GENEROUS)
            .await;
        assert_eq!(exit.status.code(), Some(3));
        assert_eq!(exit.log, "out\nerr\n");
    }

    #[tokio::test]
    async fn a_terminated_process_may_end_in_its_own_way() {
        let log = log_file();
        let mut process = shell(
            "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done",
            &log,
        );
        wait::until("the trap is set", wait::GENEROUS, async || {
            wait::check(process.log().contains("ready"), || process.log())
        })
        .await;
        process.terminate();
        let exit = process.exit(wait::GENEROUS).await;
        assert_eq!(
            (exit.status.code(), exit.log.as_str()),
            (Some(0), "ready\nbye\n")
        );
    }

    #[tokio::test]
    async fn a_killed_process_is_gone_when_the_call_returns() {
        let log = log_file();
        let mut process = shell("trap '' TERM; exec sleep 600", &log);
        assert!(process.is_running());
        process.kill9();
        assert!(!process.is_running());
    }

    #[tokio::test]
    #[should_panic(expected = "has ended; last seen: it runs")]
    async fn a_process_that_does_not_end_fails_the_wait() {
        let log = log_file();
        shell("exec sleep 600", &log)
            .exit(Duration::from_millis(50))
            .await;
    }

    #[tokio::test]
    async fn a_refusal_is_the_one_line_of_a_failed_start() {
        let log = log_file();
        let exit = shell("echo noise; echo 'rkvd: error: no disk' >&2; exit 1", &log)
            .exit(wait::GENEROUS)
            .await;
        assert_eq!(exit.refusal(), "no disk");
    }

    #[tokio::test]
    #[should_panic(expected = "not exactly one line")]
    async fn a_failed_start_without_a_line_is_no_refusal() {
        let log = log_file();
        shell("echo oops; exit 1", &log)
            .exit(wait::GENEROUS)
            .await
            .refusal();
    }
}
