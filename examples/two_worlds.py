"""A blocking Flask application and an asyncio FastAPI application, in one process, on one port.

gserver examples.two_worlds:app
curl http://127.0.0.1:8000/sleep
curl http://127.0.0.1:8000/api/sleep
"""

import asyncio
import time

from fastapi import FastAPI
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from gserver import from_asgi

shop = Flask(__name__)
api = FastAPI()


@shop.get("/sleep")
def sleep() -> str:
    time.sleep(1)
    return "Flask has slept\n"


@api.get("/sleep")
async def sleep_too() -> str:
    await asyncio.sleep(1)
    return "FastAPI has slept"


app = DispatcherMiddleware(shop, {"/api": from_asgi(api)})
