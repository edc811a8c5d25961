#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lenscap_fuzz::snapshot(input));
