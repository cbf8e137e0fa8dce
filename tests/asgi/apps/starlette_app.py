"""Starlette: as its documentation has it, and FastAPI mounted in it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

from fastapi import BackgroundTasks, Depends, FastAPI, Form, HTTPException, Query, UploadFile
from fastapi import WebSocket as FastWebSocket
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

HERE = Path(__file__).parent
notes: list[str] = []


class State(TypedDict):
    name: str


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[State]:
    print("startup", flush=True)
    yield {"name": "state"}
    print("shutdown", flush=True)


class Timed(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["X-Middleware"] = "passed"
        return response


async def page(request: Request) -> Response:
    return PlainTextResponse(f"{request.method} {request.url.path} {request.state.name}")


def blocking_page(request: Request) -> Response:
    time.sleep(0.1)
    return PlainTextResponse("blocked")


async def content(request: Request) -> Response:
    size, pieces = 0, 0
    async for piece in request.stream():
        size += len(piece)
        pieces += 1
    return JSONResponse({"size": size, "pieces": pieces})


async def form(request: Request) -> Response:
    async with request.form() as fields:
        upload: Any = fields["file"]
        return JSONResponse({"name": upload.filename, "size": len(await upload.read())})


async def stream(request: Request) -> Response:
    async def numbers() -> AsyncIterator[str]:
        for number in range(5):
            yield f"{number}\n"
            await asyncio.sleep(0.001)

    return StreamingResponse(numbers(), media_type="text/plain")


async def events(request: Request) -> Response:
    async def tick() -> AsyncIterator[str]:
        try:
            yield "data: first\n\n"
            await asyncio.sleep(1000)
        finally:
            notes.append("stream ended")

    return StreamingResponse(tick(), media_type="text/event-stream")


async def polled(request: Request) -> Response:
    """Look for a client that goes, as long as it takes."""
    notes.append("polling")
    while not await request.is_disconnected():
        await asyncio.sleep(0.01)
    notes.append("has gone")
    return Response()


async def cut_off(request: Request) -> Response:
    notes.append("reading")
    try:
        await request.body()
    except ClientDisconnect:
        notes.append("cut off")
    return Response()


async def behind(request: Request) -> Response:
    async def task() -> None:
        await asyncio.sleep(0.01)
        notes.append("task")

    return PlainTextResponse("now", background=BackgroundTask(task))


async def noted(request: Request) -> Response:
    return JSONResponse(notes)


async def fail(request: Request) -> Response:
    raise ValueError("not logged as a traceback by this test")


async def subprocess(request: Request) -> Response:
    process = await asyncio.create_subprocess_exec("echo", "hello", stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return PlainTextResponse(output.decode() + str(process.returncode))


async def many_threads(request: Request) -> Response:
    """More than anyio has threads for."""
    begin = time.monotonic()
    await asyncio.gather(*[run_in_threadpool(time.sleep, 0.05) for _ in range(60)])
    return PlainTextResponse(str(time.monotonic() - begin))


class Endpoint(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return PlainTextResponse("endpoint")


class Echo(WebSocketEndpoint):
    encoding = "text"

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        await websocket.send_text(f"{websocket.state.name}: {data}")


# -- FastAPI ---------------------------------------------------------------------------------------

fast = FastAPI()


class Item(BaseModel):
    name: str
    price: float = 1.5


async def session() -> AsyncIterator[str]:
    notes.append("opened")
    yield "session"
    notes.append("closed")


@fast.get("/items/{number}")
async def item(number: int, words: Annotated[list[str], Query()] = []) -> dict[str, Any]:  # noqa: B006
    return {"number": number, "words": words}


@fast.post("/items", status_code=201)
async def create(item: Item) -> Item:
    return item


@fast.get("/blocking")
def blocking(name: Annotated[str, Depends(session)]) -> dict[str, str]:
    time.sleep(0.1)
    return {"name": name}


@fast.post("/upload")
async def upload(file: UploadFile, comment: Annotated[str, Form()]) -> dict[str, Any]:
    return {"size": len(await file.read()), "name": file.filename, "comment": comment}


@fast.get("/task")
async def task(tasks: BackgroundTasks) -> str:
    def blocking_task() -> None:
        time.sleep(0.01)
        notes.append("blocking task")

    tasks.add_task(blocking_task)
    return "now"


@fast.get("/teapot")
async def teapot() -> None:
    raise HTTPException(418, "short and stout")


@fast.websocket("/ws/{name}")
async def talk(ws: FastWebSocket, name: str, token: str = "") -> None:
    if token != "secret":
        await ws.close(1008)
        return
    await ws.accept()
    async for text in ws.iter_text():
        await ws.send_json({"name": name, "text": text})


app = Starlette(
    lifespan=lifespan,
    middleware=[Middleware(GZipMiddleware, minimum_size=10000)],
    routes=[
        Route("/page/{name}", page),
        Route("/blocking", blocking_page),
        Route("/content", content, methods=["POST"]),
        Route("/form", form, methods=["POST"]),
        Route("/stream", stream),
        Route("/events", events),
        Route("/polled", polled),
        Route("/cut-off", cut_off, methods=["POST"]),
        Route("/behind", behind),
        Route("/noted", noted),
        Route("/fail", fail),
        Route("/subprocess", subprocess),
        Route("/many-threads", many_threads),
        Route("/endpoint", Endpoint),
        Route("/redirect", lambda request: RedirectResponse("/endpoint")),
        Route("/file", lambda request: FileResponse(__file__)),
        WebSocketRoute("/echo", Echo),
        Mount("/static", StaticFiles(directory=HERE)),
        Mount("/fast", fast),
        # By itself: no Starlette behind this kind of middleware sees its client go.
        Mount(
            "/timed",
            Starlette(routes=[Route("/page", page)], middleware=[Middleware(Timed)]),
        ),
    ],
)
