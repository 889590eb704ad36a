//! `rkvd fsm check`: a module before anyone uploads it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rkv_tests::wait::GENEROUS;
use rkv_tests::{Cluster, Exit, NodeSpec, Process};
use tempfile::TempDir;

use crate::guests;

const LEDGER_COMMANDS: &str = r#"{"open":{"account":"alice"}}
{"open":{"account":"bob"}}
{"deposit":{"account":"alice","amount":100}}

hex:00ff
{"transfer":{"from":"alice","to":"bob","amount":70}}
"#;

/// A folder with a module, and whatever else a check is given.
struct Bench {
    folder: TempDir,
    module: PathBuf,
}

impl Bench {
    fn new(module: &[u8]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("my.wasm");
        fs::write(&path, module).expect("write");
        Self {
            folder,
            module: path,
        }
    }

    /// A file of commands.
    fn entries(&self, lines: &str) -> PathBuf {
        let path = self.folder.path().join("commands.txt");
        fs::write(&path, lines).expect("write");
        path
    }

    fn command(&self, arguments: &[&OsStr]) -> Command {
        let mut command = NodeSpec::bare_command();
        command
            .args(["fsm", "check"])
            .arg(&self.module)
            .args(arguments);
        command
    }

    async fn check(&self, arguments: &[&OsStr]) -> Exit {
        self.run(self.command(arguments)).await
    }

    async fn check_with(&self, lines: &str) -> Exit {
        let entries = self.entries(lines);
        self.check(&["--entries".as_ref(), entries.as_ref()]).await
    }

    async fn run(&self, command: Command) -> Exit {
        let log = self.folder.path().join("output");
        let mut process = Process::spawn(command, &log).expect("the daemon starts");
        process.exit(GENEROUS).await
    }
}

#[track_caller]
fn ended(exit: &Exit, code: i32, words: &[&str]) {
    assert_eq!(exit.status.code(), Some(code), "{}", exit.log);
    for word in words {
        assert!(exit.log.contains(word), "no '{word}' in:\n{}", exit.log);
    }
}

fn lines(exit: &Exit, begin: &str) -> usize {
    exit.log
        .lines()
        .filter(|line| line.starts_with(begin))
        .count()
}

#[tokio::test]
async fn a_good_module_passes_each_comparison() {
    let bench = Bench::new(&guests::ledger());
    let exit = bench.check_with(LEDGER_COMMANDS).await;
    ended(
        &exit,
        0,
        &[
            "module  ledger ",
            "rkv:ledger@1",
            "5 of ",
            "then 1000 like them (seed 1)",
        ],
    );
    assert_eq!(
        (lines(&exit, "ok "), lines(&exit, "FAILED")),
        (7, 0),
        "{}",
        exit.log
    );

    let exit = bench.check(&[]).await;
    ended(
        &exit,
        0,
        &["1000 of random bytes", "without accepted commands"],
    );
}

#[tokio::test]
async fn a_store_is_checked_with_commands_of_its_own_also_beside_a_node() {
    let bench = Bench::new(&guests::kv_v2());
    let mut command = bench.command(&["--count".as_ref(), "200".as_ref()]);
    command.env("RKV_ID", "1").env("RKV_LOG", "info");
    let exit = bench.run(command).await;
    ended(&exit, 0, &["200 for rkv:kv@1", "0 trapped"]);
}

#[tokio::test]
async fn a_bad_module_is_failed_with_what_differs() {
    let bench = Bench::new(&guests::faulty());
    let commands = format!("{}keep 3\naddress\naddress\n", "add\n".repeat(40));
    let exit = bench.check_with(&commands).await;
    let words = [
        "ok      describes itself",
        "FAILED  restarted from snapshots",
        "comes out differently",
        "command        address",
        "one at a time  accepted, response 0x",
        "here           accepted, response 0x",
        "ok      queries",
    ];
    ended(&exit, 1, &words);

    let exit = bench.check_with("add\nbreak-snapshot\n").await;
    ended(
        &exit,
        1,
        &["FAILED  applied one at a time", "reading a snapshot failed"],
    );

    // A trap is not forbidden, but worth knowing.
    let exit = bench.check_with("add\npanic\nadd\n").await;
    ended(
        &exit,
        0,
        &["entry 2 trapped (the module panicked or aborted): panic"],
    );
}

#[tokio::test]
async fn what_an_upload_refuses_is_refused_in_the_same_words() {
    let mut cluster = Cluster::start(1).await;
    let leader = cluster.leader().await;
    let client = cluster.client(leader);
    let modules: [&[u8]; 3] = [b"hello", b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0"];
    for bytes in modules {
        let problem = client.post("/fsm/modules", bytes).await.problem(422);
        let exit = Bench::new(bytes).check(&[]).await;
        ended(&exit, 1, &["FAILED  accepted as a module", &problem.detail]);
    }
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused_with_its_size() {
    let bench = Bench::new(b"");
    let file = fs::File::create(&bench.module).expect("the file");
    file.set_len(1 << 33).expect("a sparse file");
    let exit = bench.check(&[]).await;
    ended(&exit, 1, &["the module has 8589934592 bytes, more than"]);
}

#[tokio::test]
async fn without_a_check_there_is_no_verdict() {
    let bench = Bench::new(&guests::ledger());
    let exit = bench.check_with("{}\nhex:0\n").await;
    ended(&exit, 2, &[]);
    assert!(exit.refusal().contains("line 2"), "{}", exit.refusal());

    let missing = Path::new("/nowhere/commands.txt");
    let exit = bench.check(&["--entries".as_ref(), missing.as_ref()]).await;
    ended(&exit, 2, &[]);
    assert!(exit.refusal().contains("/nowhere/commands.txt"));

    let mut command = NodeSpec::bare_command();
    command.args(["fsm", "check"]);
    ended(&bench.run(command).await, 2, &["<FILE>"]);
}
