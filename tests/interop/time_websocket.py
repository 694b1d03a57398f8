"""The time server over the WebSocket transport that its SDK had in its first generation."""

from contextvars import ContextVar

import uvicorn
from mcp.server.websocket import websocket_server
from mcp_server_time import server as time

# The server knows stdio alone, and asks for it by this name: once per connection here, each in a task of its own.
connection = ContextVar("connection")
time.stdio_server = lambda: websocket_server(*connection.get())


async def app(scope, receive, send):
    connection.set((scope, receive, send))
    await time.serve("UTC")


uvicorn.run(app, host="127.0.0.1", port=0, lifespan="off")
