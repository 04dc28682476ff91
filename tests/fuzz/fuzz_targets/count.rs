//! Counts against tiktoken-rs.

#![no_main]

#[path = "../laws.rs"]
#[expect(dead_code, reason = "each target runs some of the laws")]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::count(data));
