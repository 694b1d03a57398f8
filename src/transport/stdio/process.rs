//! One child process, and the process group that it leads.
//!
//! The group holds all that the child starts, unless one of them leaves it (`setsid`, as daemons do). It goes with the
//! child: when the child ends, and when this is dropped, what is left of the group is killed. A child that has ended is
//! reaped after that: until then it holds its number, and with it that of its group, which nobody else can get meanwhile.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

#[cfg(unix)]
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid,
};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

#[cfg(unix)]
use super::exits::Exits;

/// How long the drop of a process that was just killed may wait for its end. It is dropped alive only with its runtime,
/// whose other tasks are gone already; nobody else would reap it.
const REAP_MAX: Duration = Duration::from_millis(100);

/// How long what was killed with a group is waited for, and how often it is looked for. Whoever starts the next process
/// wants the locks and ports of the last one to be free. Longer only where nobody reaps orphans (a container without an
/// init), so that they are never gone.
#[cfg(unix)]
const GROUP_WAIT: Duration = Duration::from_millis(100);
#[cfg(unix)]
const GROUP_LOOK: Duration = Duration::from_millis(1);

/// The child's ends of its three pipes.
pub(super) struct Pipes {
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
    pub stderr: ChildStderr,
}

/// A child process; see the module's page.
pub(super) struct Process {
    child: Child,
    /// Its group, until the child was reaped. Later the number may belong to others.
    #[cfg(unix)]
    group: Option<Pid>,
    /// The group that was killed when the child was reaped.
    #[cfg(unix)]
    killed: Option<Pid>,
    /// Tells when to look whether the child has ended.
    #[cfg(unix)]
    exits: Exits,
}

impl Process {
    /// Starts `command` as the leader of a group of its own.
    pub(super) fn start(mut command: Command) -> io::Result<(Self, Pipes)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        #[cfg(unix)]
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let process = Self {
            #[cfg(unix)]
            group,
            #[cfg(unix)]
            killed: None,
            #[cfg(unix)]
            exits: Exits::of(group)?,
            child,
        };
        match pipes {
            (Some(stdin), Some(stdout), Some(stderr)) => Ok((process, Pipes { stdin, stdout, stderr })),
            _ => Err(io::Error::other("its pipes are missing")),
        }
    }

    /// Waits for its end, kills what it leaves in its group, and reaps it. May be dropped and asked again.
    ///
    /// # Errors
    /// Somebody else has reaped it, so that nobody can tell how it ended.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        #[cfg(unix)]
        {
            self.over().await;
            self.kill();
            self.killed = self.group.take().or(self.killed);
        }
        let status = self.child.wait().await;
        #[cfg(not(unix))]
        self.kill();
        status
    }

    /// Waits for its end and leaves it unreaped. May be dropped and asked again.
    #[cfg(unix)]
    async fn over(&mut self) {
        // Without a group it was asked before, and its end was seen then.
        let Some(leader) = self.group else { return };
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error says that somebody else has reaped it.
        while let Ok(None) = waitid(WaitId::Pid(leader), look) {
            self.exits.next().await;
        }
    }

    /// After its end: waits until what was killed with it is gone too.
    pub(super) async fn group_gone(&self) {
        #[cfg(unix)]
        if let Some(group) = self.killed {
            let gone = async {
                while test_kill_process_group(group).is_ok() {
                    tokio::time::sleep(GROUP_LOOK).await;
                }
            };
            // What hangs longer has been killed all the same.
            let _ = tokio::time::timeout(GROUP_WAIT, gone).await;
        }
    }

    /// Asks it and its group to end. Says whether this system knows such a request.
    pub(super) fn terminate(&self) -> bool {
        #[cfg(unix)]
        {
            self.signal(Signal::TERM);
            true
        }
        #[cfg(not(unix))]
        false
    }

    /// Kills it and its group.
    pub(super) fn kill(&mut self) {
        #[cfg(unix)]
        self.signal(Signal::KILL);
        // Where there is no group it is the child alone. One that has ended is no error.
        #[cfg(not(unix))]
        let _ = self.child.start_kill();
    }

    #[cfg(unix)]
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // A group whose last member has ended is no error.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.id().is_none() {
            return;
        }
        self.kill();
        let until = crate::duration::later(Instant::now(), REAP_MAX);
        // One that takes longer is reaped by the next runtime of this host, if there is one.
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::yield_now();
        }
    }
}

// It looks at processes through /proc.
#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;

    /// The letter of a process's state; none if there is no such process.
    fn state(pid: &str) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    #[tokio::test]
    async fn a_process_that_has_ended_keeps_its_number_until_what_it_left_was_killed() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $!"]);
        let (mut process, pipes) = Process::start(command).expect("it starts");
        let leader = process.child.id().expect("it is not reaped").to_string();
        let mut left = String::new();
        BufReader::new(pipes.stdout).read_line(&mut left).await.expect("it says so");
        process.over().await;
        assert_eq!(state(&leader), Some('Z'), "its number is free");
        assert!(state(left.trim()).is_some_and(|state| state != 'Z'), "the group was killed too early");
        assert!(process.ended().await.expect("nobody else reaps it").success());
        assert_eq!(state(&leader), None, "it was not reaped");
        process.group_gone().await;
        assert!(matches!(state(left.trim()), None | Some('Z')), "the group lives on");
        assert!(process.ended().await.expect("asked again, it says the same").success());
    }
}
