//! Whatever bytes a peer sends, nothing panics and nothing is misread.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mcp_troupe::fuzzing::check(input));
