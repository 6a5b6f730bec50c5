//! The `countersign` command.

use std::process::ExitCode;

use countersign::cli::Cli;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::of_process() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    cli.run().unwrap_or_else(|error| {
        eprintln!("countersign: {error:#}");
        ExitCode::FAILURE
    })
}
