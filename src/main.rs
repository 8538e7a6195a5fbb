//! Starts queuectl.

use std::process::ExitCode;

fn main() -> ExitCode {
    queuectl::cli::main()
}
