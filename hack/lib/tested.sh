# shellcheck shell=bash
# Builds the daemons that the black-box tests run. Sourced, from the repository's root.

# Of the whole workspace, as the tests are: a package alone may want fewer features of what it depends on, and
# that would be compiled once more.
build_tested() {
    cargo build --locked --workspace --bin rkvd
    cargo build --locked --workspace --features rkv-host/failpoints --bin rkvd-failpoints
}
