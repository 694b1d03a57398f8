//! Over WebSocket.

use mcp_troupe::{EraChoice, Server};

use super::common::end;
use super::{is_modern, ready, servers, time_holds};

#[tokio::test]
async fn mcp_server_time_on_the_first_sdk_answers_whether_its_era_is_probed_or_known() {
    let Some(python) = servers::python_1() else { return };
    let time = python.time_over_websocket().await;
    let url = format!("ws://127.0.0.1:{}", time.port);
    let troupe =
        ready([Server::websocket("auto", &url), Server::websocket("legacy", &url).era(EraChoice::Legacy)])
            .await;
    for server in ["auto", "legacy"] {
        assert!(!is_modern(&time_holds(&troupe, server).await));
    }
    end(troupe).await;
}
