//! Whether what a server's process needs is on this machine: looked for when a file is checked, before anything is started.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::server::Endpoint;
use super::{ConfigError, Server, shown};

/// What is missing on this machine, with the key that names it and what to do.
pub(super) fn missing(server: &Server) -> Option<(ConfigError, Option<String>)> {
    let Endpoint::Stdio { command, env, cwd, .. } = server.endpoint() else { return None };
    if let Some(cwd) = cwd.as_ref().filter(|cwd| !cwd.is_dir()) {
        let error = ConfigError::new("cwd", format!("{} is no folder", shown::path(cwd)));
        return Some((error, Some("create it, or name another one".to_owned())));
    }
    let program = Path::new(command);
    let is_path = program.components().nth(1).is_some() || program.is_absolute();
    let candidates: Vec<PathBuf> = if is_path {
        // One that is relative is looked for in the folder that the process runs in.
        vec![cwd.as_ref().map_or_else(|| program.to_owned(), |cwd| cwd.join(program))]
    } else {
        let own = env.get("PATH").map(|path| OsString::from(path.expose()));
        let path = own.or_else(|| env::var_os("PATH")).unwrap_or_default();
        env::split_paths(&path).map(|folder| folder.join(program)).collect()
    };
    let name = shown::command(command);
    let (reason, advice) = match candidates.iter().any(|path| is_program(path)) {
        true => return None,
        false if !is_path => {
            (format!("there is no program {name} in PATH"), "install it, or write its whole path")
        }
        false if candidates.iter().any(|path| path.is_file()) => (
            format!("{name} cannot be executed"),
            "make it executable (chmod +x), or name what runs it as the command",
        ),
        false if candidates.iter().any(|path| path.is_dir()) => {
            (format!("{name} is a folder"), "name the program in it")
        }
        false => (format!("there is no file {name}"), "build or install it, or write its whole path"),
    };
    Some((ConfigError::new("command", reason), Some(advice.to_owned())))
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// By its name, or with one of the endings of programs.
#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    let endings = env::var("PATHEXT").unwrap_or_else(|_| ".COM;.EXE;.BAT;.CMD".to_owned());
    let with = |ending: &str| {
        let mut path = path.as_os_str().to_owned();
        path.push(ending);
        PathBuf::from(path).is_file()
    };
    path.is_file() || endings.split(';').any(with)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn told(server: Server) -> Option<String> {
        missing(&server).map(|(error, _)| error.to_string())
    }

    #[test]
    fn a_program_is_looked_for_where_it_will_be_started() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_owned();
        std::fs::write(place.join("run"), "#!/bin/sh").unwrap();
        let run = |command: &str| Server::stdio("s", command, Vec::<String>::new()).cwd(&place);
        assert_eq!(told(run("./run")).unwrap(), "command: ./run cannot be executed");
        std::fs::set_permissions(place.join("run"), std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(told(run("./run")), None);
        assert_eq!(told(run("sh")), None);
        assert_eq!(told(run("./gone")).unwrap(), "command: there is no file ./gone");
        assert_eq!(told(run("run")).unwrap(), "command: there is no program run in PATH");
        assert_eq!(told(run("run").env("PATH", place.to_str().unwrap())), None);
        assert_eq!(
            told(Server::stdio("s", "sh", Vec::<String>::new()).cwd("/no/folder")).unwrap(),
            "cwd: /no/folder is no folder"
        );
        // What is written into the text of a command is not told.
        let told = told(run("gone TOKEN=s3cret")).unwrap();
        assert!(told.contains("gone") && !told.contains("s3cret"), "{told}");
    }
}
