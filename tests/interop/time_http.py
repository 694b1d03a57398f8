"""The time server over the Streamable HTTP transport of its SDK's second generation, in both eras."""

import uvicorn
from mcp_server_time.server import create_server

uvicorn.run(create_server("UTC").streamable_http_app(), host="127.0.0.1", port=0)
