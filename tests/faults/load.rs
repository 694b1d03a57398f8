//! Callers without a pause, and the account of their answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{CallErrorKind, Server, Troupe};
use tokio::task::JoinSet;

use super::common::{echo, ready};

/// What a load of calls came to.
#[derive(Debug, Default)]
pub struct Account {
    pub calls: u64,
    pub ok: u64,
    pub errors: Vec<CallErrorKind>,
}

/// Calls without a pause until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    callers: JoinSet<Account>,
}

impl Load {
    pub fn start(troupe: &Troupe) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut callers = JoinSet::new();
        for _ in 0..16 {
            let (troupe, stop) = (troupe.clone(), stop.clone());
            callers.spawn(async move {
                let mut account = Account::default();
                while !stop.load(Ordering::Relaxed) {
                    account.calls += 1;
                    match troupe.call(echo()).await {
                        Ok(_) => account.ok += 1,
                        Err(error) => account.errors.push(error.kind().clone()),
                    }
                    tokio::task::yield_now().await;
                }
                account
            });
        }
        Self { stop, callers }
    }

    /// Ends the load. A call that is never answered would never let it end.
    pub async fn finish(self) -> Account {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = Account::default();
        for account in self.callers.join_all().await {
            total.calls += account.calls;
            total.ok += account.ok;
            total.errors.extend(account.errors);
        }
        assert_eq!(total.calls, total.ok + total.errors.len() as u64, "each call has one answer");
        total
    }
}

/// Two replicas of one group, and a troupe of them.
pub async fn two_replicas() -> (ScriptedServer, ScriptedServer, Troupe) {
    let a = ScriptedServer::builder().tool("echo", Script::Echo).start().await;
    let b = ScriptedServer::builder().tool("echo", Script::Echo).start().await;
    let troupe =
        ready([Server::websocket("a", a.url()).group("echo"), Server::websocket("b", b.url()).group("echo")])
            .await;
    (a, b, troupe)
}
