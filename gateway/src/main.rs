//! `lenscap-gateway`: the program.

use std::process::ExitCode;

fn main() -> ExitCode {
    lenscap_gateway::cli::main()
}
