//! The image, three containers of it under faults, and `hack/compose.yml`, on a real Docker engine.
//! Where none answers, each test prints `SKIPPED` and the reason.
//!
//! Whatever a test makes has a name that begins with `rkv-test-` and the test's process id, and is
//! removed with it. What a test that was killed left behind: `docker ps -a`, `docker network ls`,
//! `docker volume ls` and `docker image ls`, each with `| grep rkv-test-`.

mod compose;
mod containers;
mod engine;
mod faults;
mod image;
mod members;
mod scripts;
