//! A file-system server that cannot leave its root: every access goes through a capability for that folder, so a path
//! that leads outside, by `..` or by a link, fails in the operating system and not in a comparison of texts.

mod encoding;
mod listing;
mod opened;
mod rules;
mod tools;

use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, Implementation, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::refusal::Refusal;
use super::weight;
pub use rules::Rules;

/// Tools that run at once; more wait.
const CONCURRENT_MAX: usize = 10;

/// The server.
#[derive(Clone)]
pub struct FileServer(Arc<Inner>);

struct Inner {
    root: Dir,
    rules: Rules,
    places: Semaphore,
}

impl FileServer {
    /// Serves the files below `root`.
    pub fn new(root: &Path, rules: Rules) -> io::Result<Self> {
        let root = Dir::open_ambient_dir(root, ambient_authority())?;
        Ok(Self(Arc::new(Inner { root, rules, places: Semaphore::new(CONCURRENT_MAX) })))
    }

    async fn run(&self, request: CallToolRequestParams) -> Result<Value, Refusal> {
        let CallToolRequestParams { name, arguments, .. } = request;
        let _place = self.0.places.acquire().await.map_err(|error| Refusal::internal(error.to_string()))?;
        let inner = self.0.clone();
        let work = tokio::task::spawn_blocking(move || {
            let Inner { root, rules, .. } = &*inner;
            let outcome = match name.as_ref() {
                "file.read" => tools::read(root, rules, arguments),
                "file.write" => tools::write(root, rules, arguments),
                "file.metadata" => tools::metadata(root, rules, arguments),
                "directory.list" => listing::list(root, rules, arguments),
                "file.search" => listing::search(root, rules, arguments),
                unknown => Err(Refusal::new("TOOL_NOT_FOUND", format!("unknown tool {unknown}"))),
            };
            // The audit: who was refused what is as telling as who did what.
            match &outcome {
                Ok(_) => tracing::info!(target: "audit", tool = %name, "allowed"),
                Err(refusal) => tracing::warn!(target: "audit", tool = %name, code = refusal.name, "refused"),
            }
            outcome
        });
        work.await.map_err(|error| Refusal::internal(error.to_string()))?
    }
}

impl ServerHandler for FileServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("files", env!("CARGO_PKG_VERSION")))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(descriptions()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        weight::answer(self.run(request).await?)
    }
}

fn descriptions() -> Vec<Tool> {
    let path =
        json!({"type": "string", "minLength": 1, "maxLength": 1000, "description": "relative to the root"});
    let encoding = json!({"enum": rules::ENCODINGS, "default": "utf8"});
    let pattern =
        json!({"type": "string", "maxLength": 100, "default": "*", "description": "glob on the name"});
    let depth = json!({"type": "integer", "minimum": 1, "maximum": 10, "default": 3});
    let offset =
        json!({"type": "integer", "minimum": 0, "default": 0, "description": "entries to leave out"});
    let tool = |name: &'static str,
                description: &'static str,
                properties: Value,
                required: Value,
                reads: bool| {
        let schema = json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
        let schema = schema.as_object().cloned().unwrap_or_default();
        let annotations = ToolAnnotations::new().read_only(reads).destructive(!reads);
        Tool::new(name, description, schema).annotate(annotations)
    };
    vec![
        tool(
            "file.read",
            "Reads a file, or a piece of it. What does not fit into one message is left out, and the result says so \
             and at which offset to read on",
            json!({
                "path": path, "encoding": encoding,
                "offset": {"type": "integer", "minimum": 0, "default": 0, "description": "in bytes of the file"},
                "length": {
                    "type": "integer", "minimum": tools::PIECE_BYTES_MIN, "maximum": tools::PIECE_BYTES_MAX,
                    "default": tools::PIECE_BYTES_MAX, "description": "in bytes of the file"
                }
            }),
            json!(["path"]),
            true,
        ),
        tool(
            "file.write",
            "Writes a file as one step, or appends to it. Permissions stay, links are followed; a file with several names \
             or another owner is written in place",
            json!({
                "path": path, "content": {"type": "string", "maxLength": 10_485_760}, "encoding": encoding,
                "mode": {"enum": ["overwrite", "append"], "default": "overwrite"},
                "createDirectories": {"type": "boolean", "default": false}
            }),
            json!(["path", "content"]),
            false,
        ),
        tool("file.metadata", "Tells size, type and times", json!({"path": path}), json!(["path"]), true),
        tool(
            "directory.list",
            "Lists a folder",
            json!({
                "path": path, "pattern": pattern, "recursive": {"type": "boolean", "default": false},
                "includeHidden": {"type": "boolean", "default": false}, "maxDepth": depth, "offset": offset
            }),
            json!(["path"]),
            true,
        ),
        tool(
            "file.search",
            "Finds files by name and content",
            json!({
                "path": {"type": "string", "default": "."}, "pattern": pattern, "maxDepth": depth,
                "text": {"type": "string", "maxLength": 1000, "description": "only files that contain it"},
                "limit": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
                "offset": offset
            }),
            json!([]),
            true,
        ),
    ]
}

/// Lays out the folders and the file that the tour reads.
pub fn sample_workspace(root: &Path) -> io::Result<()> {
    for folder in ["documents", "projects", "config"] {
        std::fs::create_dir_all(root.join(folder))?;
    }
    std::fs::write(root.join("documents/test.md"), "# Test Document\n")
}
