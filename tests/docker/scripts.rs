//! `hack/startup.sh`: what needs no engine.

use std::process::Command;

use crate::image::repository;

fn startup(words: &[&str], docker_host: &str) -> (Option<i32>, String) {
    let output = Command::new("hack/startup.sh")
        .args(words)
        .env("DOCKER_HOST", docker_host)
        .current_dir(repository())
        .output()
        .expect("bash is there");
    let complaint = String::from_utf8(output.stderr).expect("text");
    (output.status.code(), complaint)
}

#[test]
fn an_unknown_argument_is_answered_with_the_usage() {
    for words in [&["--dokcer"][..], &["--docker", "--down"]] {
        let (code, complaint) = startup(words, "");
        assert_eq!(code, Some(2), "{complaint}");
        assert!(
            complaint.starts_with("usage: hack/startup.sh"),
            "{complaint}"
        );
    }
}

#[test]
fn a_missing_engine_is_one_line() {
    for option in ["--docker", "--down"] {
        let (code, complaint) = startup(&[option], "unix:///nowhere/docker.sock");
        assert_eq!(code, Some(1), "{complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        assert!(complaint.starts_with("startup: "), "{complaint}");
    }
}
