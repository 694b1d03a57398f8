//! Which entries start this program: a troupe that starts itself as a server would never end.

use std::path::{Path, PathBuf};

/// The name of this program, and of the package that it is a part of.
const PROGRAM: &str = "mcp-troupe";
/// The name of this program's package.
const PACKAGE: &str = "mcp-troupe-orchestrator";

/// How deep a shell may start a shell that starts a program.
const DEPTH_MAX: usize = 4;

/// This program.
pub struct Own<'a> {
    /// Its file, free of links.
    pub path: &'a Path,
    /// A path free of links; none where nothing is there.
    pub resolve: &'a dyn Fn(&Path) -> Option<PathBuf>,
}

/// The last part of a path, without what Windows puts behind the name of a program.
fn base(word: &str) -> String {
    let name = word.rsplit(['/', '\\']).next().unwrap_or(word).to_ascii_lowercase();
    let end = [".exe", ".cmd", ".bat", ".ps1"].iter().find_map(|end| name.strip_suffix(end));
    end.map_or_else(|| name.clone(), str::to_owned)
}

impl Own<'_> {
    /// Whether a command line starts this program, by itself or through a launcher.
    pub fn starts(&self, command: &str, args: &[&str]) -> bool {
        // Some write the whole line into `command`.
        let words = command.split_whitespace().chain(args.iter().copied());
        self.is_path(command) || self.runs(&words.collect::<Vec<_>>(), DEPTH_MAX)
    }

    fn is_path(&self, word: &str) -> bool {
        let path = Path::new(word);
        path == self.path
            || (path.is_absolute() && (self.resolve)(path).is_some_and(|path| path == self.path))
    }

    fn is_name(&self, word: &str) -> bool {
        let own = base(&self.path.to_string_lossy());
        let name = base(word);
        !name.is_empty() && (name == own || name == PROGRAM)
    }

    /// Whether a package of a registry, with or without its scope and version, is this one.
    fn is_package(&self, package: &str) -> bool {
        let name = package.rsplit('/').next().unwrap_or(package);
        let name = name.split(['@', '=', '[', '<', '>', '~']).next().unwrap_or(name);
        self.is_name(name) || base(name) == PACKAGE
    }

    fn runs(&self, words: &[&str], depth: usize) -> bool {
        let Some((program, rest)) = words.split_first().filter(|_| depth > 0) else { return false };
        if self.is_path(program) || self.is_name(program) {
            return true;
        }
        let depth = depth - 1;
        match base(program).as_str() {
            "npx" | "bunx" | "pnpx" | "uvx" => self.is_launched(rest),
            "npm" | "pnpm" | "yarn" | "bun" | "uv" | "pipx" => match rest {
                ["tool", "run", rest @ ..] => self.is_launched(rest),
                ["exec" | "x" | "dlx" | "run", rest @ ..] => self.is_launched(rest),
                _ => false,
            },
            "cargo" => self.is_of_cargo(rest),
            "sh" | "bash" | "zsh" | "dash" | "fish" | "cmd" | "powershell" | "pwsh" => {
                let script = rest.iter().position(|word| {
                    let word = word.to_ascii_lowercase();
                    word == "/c" || word == "-command" || (word.starts_with('-') && word.ends_with('c'))
                });
                let script = script.map_or(&[][..], |at| &rest[at + 1..]);
                let words: Vec<&str> = script.iter().flat_map(|word| word.split_whitespace()).collect();
                let words = words.iter().map(|word| word.trim_matches(['"', '\'']));
                self.runs(&words.skip_while(|word| *word == "exec").collect::<Vec<_>>(), depth)
            }
            "env" | "nohup" | "sudo" | "nice" | "exec" | "setsid" => {
                let started = rest.iter().position(|word| !word.starts_with('-') && !word.contains('='));
                started.is_some_and(|at| self.runs(&rest[at..], depth))
            }
            _ => false,
        }
    }

    /// Whether what follows `npx` or `uvx` names this package. What follows the first name are arguments of that program.
    fn is_launched(&self, words: &[&str]) -> bool {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if matches!(*word, "-p" | "--package" | "--from" | "--with" | "-c" | "--call") {
                let first = words.next().and_then(|value| value.split_whitespace().next());
                if first.is_some_and(|package| self.is_package(package)) {
                    return true;
                }
            } else if let Some(package) =
                word.strip_prefix("--package=").or_else(|| word.strip_prefix("--from="))
            {
                if self.is_package(package) {
                    return true;
                }
            } else if !word.starts_with('-') {
                return self.is_package(word);
            }
        }
        false
    }

    /// Whether `cargo run`, with whatever stands before the program's own arguments, names this one.
    fn is_of_cargo(&self, words: &[&str]) -> bool {
        let of_cargo: Vec<&str> = words.iter().copied().take_while(|word| *word != "--").collect();
        let runs = of_cargo.iter().any(|word| matches!(*word, "run" | "r"));
        let names = |word: &&str| word.split(['/', '\\', '=']).any(|part| self.is_package(part));
        runs && of_cargo.iter().any(names)
    }
}
