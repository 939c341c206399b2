//! See `postroom_broker::fuzzing::parser`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| postroom_broker::fuzzing::parser(input));
