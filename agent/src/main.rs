//! The `lenscap` program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    lenscap::cli::main()
}
