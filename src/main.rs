//! Entry point: everything is in the library, so that it can be tested and embedded.

fn main() -> std::process::ExitCode {
    docmill::cli::main()
}
