//! The guide: how a troupe is set up, called, watched and tested.
//!
//! | page | what it is about |
//! | --- | --- |
//! | [`getting_started`] | the first call, and tools for a model |
//! | [`command_line`] | the same from a shell |
//! | [`configuration`] | `servers.json`: servers, secrets, changes while it plays |
//! | [`settings`] | each key of `troupe`, with its default and what it does |
//! | [`client_configurations`] | files of other clients: what is honoured, noted or refused |
//! | [`calling`] | names, many servers in one call, plans, progress and silence |
//! | [`errors`] | each kind of error: its effect, whether to try again, what to do |
//! | [`outcomes`] | each end of a call on each transport, and what is known then |
//! | [`catalogue`] | tools, resources and prompts; pins |
//! | [`caching`] | results that are kept |
//! | [`known_lists`] | tools that are there before their servers |
//! | [`starting`] | when servers start, how long they may take, and servers that are started on demand |
//! | [`discovery`] | servers that are named in files, DNS, Consul and etcd |
//! | [`security`] | credentials, and what is never shown |
//! | [`questions`] | servers that ask the user, the model or the host |
//! | [`gateway`] | the whole troupe as one MCP server, for any client |
//! | [`transports`] | WebSocket, Streamable HTTP, stdio |
//! | [`servers`] | servers as others wrote them |
//! | [`faults`] | what goes wrong, and what holds then |
//! | [`observing`] | figures, events, spans, metrics |
//! | [`testing`] | fault-injection tests of your own host |
//! | [`performance`] | what a call costs, and how strategies balance |

/// Makes a module of each page. Where the pages are read as files their links lead from file to file; here, by the first
/// definition of each, from module to module.
macro_rules! pages {
    ($($page:ident),+ $(,)?) => {$(
        #[doc = concat!(
            "[caching]: crate::guide::caching\n",
            "[calling]: crate::guide::calling\n",
            "[catalogue]: crate::guide::catalogue\n",
            "[client_configurations]: crate::guide::client_configurations\n",
            "[command_line]: crate::guide::command_line\n",
            "[configuration]: crate::guide::configuration\n",
            "[discovery]: crate::guide::discovery\n",
            "[errors]: crate::guide::errors\n",
            "[faults]: crate::guide::faults\n",
            "[gateway]: crate::guide::gateway\n",
            "[getting_started]: crate::guide::getting_started\n",
            "[known_lists]: crate::guide::known_lists\n",
            "[observing]: crate::guide::observing\n",
            "[outcomes]: crate::guide::outcomes\n",
            "[performance]: crate::guide::performance\n",
            "[questions]: crate::guide::questions\n",
            "[security]: crate::guide::security\n",
            "[servers]: crate::guide::servers\n",
            "[settings]: crate::guide::settings\n",
            "[starting]: crate::guide::starting\n",
            "[testing]: crate::guide::testing\n",
            "[transports]: crate::guide::transports\n\n",
            include_str!(concat!(stringify!($page), ".md")),
        )]
        pub mod $page {}
    )+};
}

pages!(
    getting_started,
    command_line,
    configuration,
    settings,
    client_configurations,
    calling,
    errors,
    outcomes,
    catalogue,
    caching,
    known_lists,
    starting,
    discovery,
    security,
    questions,
    gateway,
    transports,
    servers,
    faults,
    observing,
    testing,
    performance,
);
