//! The one integration-test binary. A new file goes where its subject is: the binary and its flags in `cli`, whole
//! runs in `main_job`, the outside world's faults in `bad_input`, a room's laws in a file of the room's name.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod archives;
mod bad_input;
mod cli;
mod extract;
mod families;
mod families_in_sandbox;
mod faults;
mod house;
mod main_job;
mod models;
mod pipeline_file;
mod resume;
mod sandbox;
mod scenarios;
mod streams;
mod support;
mod text_laws;
mod weather;
