"""A blocking Flask application, a FastAPI application and a Lite one, on one port."""

from __future__ import annotations

import asyncio
import contextvars
import time
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from gserver import from_asgi
from gserver.api import lite, websocket

visitor: contextvars.ContextVar[str] = contextvars.ContextVar("visitor", default="nobody")

flask_app = Flask(__name__)
api = FastAPI()


@flask_app.get("/sleep")
def blocking_sleep() -> str:
    time.sleep(0.2)
    return "blocking"


@flask_app.get("/loop")
def own_loop() -> str:
    """A loop of the request's own, beside the one that FastAPI runs in."""
    return asyncio.run(asyncio.sleep(0.01, "looped"))


@flask_app.get("/context")
def context() -> str:
    return visitor.get()


@flask_app.route("/ws", websocket=True)
def flask_ws() -> Any:
    @websocket
    def talk(ws: Any) -> None:
        for message in ws:
            ws.send(f"flask: {message}")

    return talk


@api.get("/sleep")
async def asynchronous_sleep() -> str:
    await asyncio.sleep(0.2)
    return "asynchronous"


@api.get("/rude")
async def rude() -> str:
    """A coroutine that blocks: the loop waits, and nobody else."""
    time.sleep(0.2)
    return "rude"


@api.get("/context")
async def context_of_coroutine(request: Request) -> str:
    before = visitor.get()
    visitor.set("fast")
    return before


@api.get("/root")
async def root(request: Request) -> dict[str, str]:
    return {"path": request.url.path, "url": str(request.url_for("root"))}


@api.websocket("/ws")
async def fast_ws(ws: WebSocket) -> None:
    await ws.accept()
    async for text in ws.iter_text():
        await ws.send_text(f"fastapi: {text}")


mounted = from_asgi(api)
both = DispatcherMiddleware(flask_app, {"/api": mounted})


@lite
def app(environ: dict[str, Any]) -> Any:
    """The same in Lite, one floor higher."""
    visitor.set("lite")
    if environ["PATH_INFO"].startswith("/lite/"):
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = "/lite", environ["PATH_INFO"][5:]
        return mounted(environ)
    captured: list[Any] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        captured[:] = [status, headers]

    body = both(environ, start_response)
    return (*captured, body)
