//! Documents of any bytes against their laws.

#![no_main]

#[path = "../extract_laws.rs"]
mod extract_laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| extract_laws::read(data));
