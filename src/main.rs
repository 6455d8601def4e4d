//! The `offboard` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    offboard::cli::main()
}
