//! What a shell and `man` take to know the commands: made from the same description as `--help`.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{Cli, FAILED, output::note, output::stdout};

#[derive(Args)]
pub struct CompletionsArgs {
    /// The shell; without it, the one that `SHELL` names.
    shell: Option<Shell>,
}

#[derive(Args)]
pub struct ManArgs {
    /// Write a page for each command as well, all of them into this folder, instead of the first page to stdout.
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Prints the completions of a shell.
pub fn completions(args: &CompletionsArgs) -> u8 {
    let Some(shell) = args.shell.or_else(Shell::from_env) else {
        note!("SHELL names no shell that is known; name one: mcp-troupe completions bash");
        return FAILED;
    };
    let mut script = Vec::new();
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Bash {
        // clap_complete 4.6 takes the hyphen of the name for the beginning of a command in one place and not in the other
        // (clap-rs/clap#6421), so that nothing of any command would be completed.
        script = script.replace("mcp__subcmd__troupe", "mcp__troupe");
    }
    stdout(format_args!("{script}"));
    0
}

/// Prints the page of the program, or writes a page for each command.
pub fn man(args: &ManArgs) -> u8 {
    let written = match &args.output {
        Some(folder) => pages(folder),
        None => page(&Cli::command()).map(|page| stdout(format_args!("{}", String::from_utf8_lossy(&page)))),
    };
    match written {
        Ok(()) => 0,
        Err(error) => {
            let folder = args.output.as_deref().unwrap_or(Path::new("stdout"));
            note!("{}: {error}", folder.display());
            FAILED
        }
    }
}

fn pages(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)
}

fn page(command: &clap::Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}
