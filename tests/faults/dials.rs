//! Counts dials that are under way at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mcp_troupe::transport::websocket::{WebSocketConnector, WebSocketOptions};
use mcp_troupe::transport::{BoxFuture, Connector, DialError, Link};

/// Dials that are under way, and the most that ever were.
#[derive(Clone, Default)]
pub struct Dials {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Dials {
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// A connector to `url` whose dials are counted.
    pub fn to(&self, url: String) -> impl Connector {
        let options = WebSocketOptions::new(url);
        Counted { dials: self.clone(), websocket: WebSocketConnector::new(options).unwrap() }
    }
}

struct Counted {
    dials: Dials,
    websocket: WebSocketConnector,
}

/// A dial that is under way; it may be dropped at any time.
struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Connector for Counted {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, DialError>> {
        Box::pin(async {
            let now = self.dials.now.fetch_add(1, Ordering::SeqCst) + 1;
            let _under_way = UnderWay(self.dials.now.clone());
            self.dials.most.fetch_max(now, Ordering::SeqCst);
            self.websocket.connect().await
        })
    }

    fn endpoint(&self) -> String {
        self.websocket.endpoint()
    }

    /// Longer than any dial takes, on however busy a machine: one that counted no longer would let others dial beside it.
    fn start_hold(&self) -> Duration {
        Duration::from_secs(60)
    }
}
