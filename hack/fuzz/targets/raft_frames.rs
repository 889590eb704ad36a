#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rkv_host::fuzzing::raft_frames(data));
