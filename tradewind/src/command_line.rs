//! `tradewind completions` and `tradewind man`: completion scripts and manual pages, generated from the options
//! themselves.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Command;
use clap_complete::Shell;

#[derive(clap::Args, Debug)]
pub struct CompletionsOptions {
    /// The shell that is to run the script
    shell: Shell,
}

#[derive(clap::Args, Debug)]
pub struct ManOptions {
    /// Write one page for the program and each subcommand to this folder, which is created if it does not exist [default: print
    /// the page of the program]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// # Errors
/// When standard output cannot be written.
pub fn completions(mut command: Command, options: &CompletionsOptions) -> anyhow::Result<ExitCode> {
    let name = command.get_name().to_owned();
    // Into memory first: clap_complete panics when a write fails, as it does under `| head`.
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, name, &mut script);
    print(&script)
}

/// # Errors
/// When standard output or the folder cannot be written.
pub fn man(command: Command, options: &ManOptions) -> anyhow::Result<ExitCode> {
    let Some(folder) = &options.out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        return print(&page);
    };
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    clap_mangen::generate_to(command, folder)
        .with_context(|| format!("write the pages to {}", folder.display()))?;
    println!("manual pages written to {}", folder.display());
    Ok(ExitCode::SUCCESS)
}

fn print(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    match io::stdout().write_all(bytes) {
        // The reader has seen enough: `| head`.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
