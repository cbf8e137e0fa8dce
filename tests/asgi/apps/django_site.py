"""Django with asynchronous views, and Channels: one site, as WSGI and as ASGI application."""
# mypy: disable-error-code="import-untyped,misc,untyped-decorator"

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import django
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.utils.asyncio import async_unsafe

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1", "localhost"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="not a secret",
        USE_TZ=True,
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}
        },
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "channels"],
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
        LOGGING_CONFIG=None,
    )
    django.setup()

from channels.db import database_sync_to_async
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    WebsocketConsumer,
)
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.auth.models import User
from django.core.asgi import get_asgi_application
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

call_command("migrate", verbosity=0)
User.objects.get_or_create(username="ada")

# -- views -----------------------------------------------------------------------------------------


def blocking(request: HttpRequest) -> HttpResponse:
    time.sleep(0.1)
    return HttpResponse("blocking")


async def sleeping(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0.1)
    return HttpResponse("sleeping")


def query(request: HttpRequest) -> HttpResponse:
    """A blocking view and the ORM: no loop may seem to run here."""
    time.sleep(0.01)
    return JsonResponse([user.username for user in User.objects.all()], safe=False)


async def asynchronous_query(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0.01)
    found = [user.username async for user in User.objects.all()]
    count = await User.objects.acount()
    return JsonResponse([*found, count], safe=False)


def bridged(request: HttpRequest) -> HttpResponse:
    """Down and up again: the ORM runs in the thread that asked."""
    me = threading.get_ident()

    def look() -> bool:
        return User.objects.count() == 1 and threading.get_ident() == me

    async def view() -> bool:
        await asyncio.sleep(0.01)
        return await sync_to_async(look)()

    return JsonResponse(async_to_sync(view)(), safe=False)


async def unsafe(request: HttpRequest) -> HttpResponse:
    @async_unsafe
    def touch() -> None: ...

    try:
        touch()
    except django.core.exceptions.SynchronousOnlyOperation:
        return HttpResponse("refused")
    return HttpResponse("allowed")


async def content(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.body)))


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    async def numbers() -> AsyncIterator[str]:
        for number in range(3):
            await asyncio.sleep(0.001)
            yield f"{number}\n"

    return StreamingHttpResponse(numbers())


# -- consumers -------------------------------------------------------------------------------------


class Chat(AsyncWebsocketConsumer):
    """The room of the tutorial."""

    async def connect(self) -> None:
        self.room = self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_send(self.room, {"type": "say", "text": f"left with {code}"})
        await self.channel_layer.group_discard(self.room, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.channel_layer.group_send(self.room, {"type": "say", "text": text_data})

    async def say(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


class BlockingChat(WebsocketConsumer):
    """The same, in a thread."""

    def connect(self) -> None:
        self.room = self.scope["url_route"]["kwargs"]["room"]
        async_to_sync(self.channel_layer.group_add)(self.room, self.channel_name)
        self.accept()

    def disconnect(self, code: int) -> None:
        async_to_sync(self.channel_layer.group_discard)(self.room, self.channel_name)

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        users = ", ".join(user.username for user in User.objects.all())
        said = {"type": "say", "text": f"{users}: {text_data}"}
        async_to_sync(self.channel_layer.group_send)(self.room, said)

    def say(self, event: dict[str, Any]) -> None:
        self.send(text_data=event["text"])


class Json(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        if "token" in self.scope["query_string"].decode():
            await self.accept()
        else:
            await self.close()

    async def receive_json(self, content: Any, **_: Any) -> None:
        count = await database_sync_to_async(User.objects.count)()
        await self.send_json({"echo": content, "users": count})


class Poll(AsyncHttpConsumer):
    async def handle(self, body: bytes) -> None:
        await self.send_headers(headers=[(b"content-type", b"text/plain")])
        await self.send_body(b"one ", more_body=True)
        await asyncio.sleep(0.01)
        await self.send_body(body)


def announce(request: HttpRequest, room: str) -> HttpResponse:
    """From a blocking view to the WebSockets of a room."""
    said = {"type": "say", "text": request.GET["text"]}
    async_to_sync(get_channel_layer().group_send)(room, said)
    return HttpResponse("announced")


urlpatterns = [
    path("blocking", blocking),
    path("sleeping", sleeping),
    path("query", query),
    path("asynchronous-query", asynchronous_query),
    path("bridged", bridged),
    path("unsafe", unsafe),
    path("content", content),
    path("stream", stream),
    path("announce/<room>", announce),
]

wsgi = get_wsgi_application()
asgi = ProtocolTypeRouter(
    {
        "http": URLRouter([path("poll", Poll.as_asgi()), path("<path:_>", get_asgi_application())]),
        "websocket": URLRouter(
            [
                path("chat/<room>", Chat.as_asgi()),
                path("blocking-chat/<room>", BlockingChat.as_asgi()),
                path("json", Json.as_asgi()),
            ]
        ),
    }
)
