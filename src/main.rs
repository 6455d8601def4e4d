//! The `offboard` program.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    offboard::cli::main()
}
