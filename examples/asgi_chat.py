"""A chat, and ``curl -d hello http://127.0.0.1:8000/say``: ``gserver examples.asgi_chat:app``."""

import asyncio

from flask import Flask, request
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from gserver import from_asgi

PAGE = """<!doctype html><input autofocus onchange="ws.send(value)"><pre id=talk></pre><script>
ws = new WebSocket('ws' + location.href.slice(4) + 'room/ws')
ws.onmessage = event => talk.append(event.data, '\\n')</script>"""
people: dict[WebSocket, asyncio.AbstractEventLoop] = {}
pages = Flask(__name__)
pages.add_url_rule("/", "page", lambda: PAGE)


async def room(ws: WebSocket) -> None:
    await ws.accept()
    people[ws] = asyncio.get_running_loop()
    async for text in ws.iter_text():
        await asyncio.gather(*[one.send_text(text) for one in people], return_exceptions=True)
    del people[ws]


@pages.post("/say")
def say() -> str:
    for ws, loop in list(people.items()):
        said = ws.send_text(request.get_data(as_text=True))
        asyncio.run_coroutine_threadsafe(said, loop).result()
    return f"{len(people)} have heard it\n"


rooms = Starlette(routes=[WebSocketRoute("/ws", room)])
app = DispatcherMiddleware(pages, {"/room": from_asgi(rooms)})
