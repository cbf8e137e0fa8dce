"""Views of the Django site: what every framework here can do, and what is Django's own."""
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.core.signals import request_finished
from django.db import connections
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import path, reverse
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt

FILE = Path(os.environ["SERVED_FILE"])
released: defaultdict[str, threading.Event] = defaultdict(threading.Event)


def describe(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def greet(request: HttpRequest, name: str) -> HttpResponse:
    text = f"{request.GET['word']}, {name}!"
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


@csrf_exempt
def form(request: HttpRequest) -> JsonResponse:
    return JsonResponse(request.POST.dict())


@csrf_exempt
def upload(request: HttpRequest) -> JsonResponse:
    file = request.FILES["file"]
    on_disk = isinstance(file, TemporaryUploadedFile)
    return JsonResponse({"name": file.name, "on_disk": on_disk, **describe(file.read())})


@csrf_exempt
def raw(request: HttpRequest) -> JsonResponse:
    return JsonResponse(describe(request.read()))


def drip(request: HttpRequest, name: str) -> StreamingHttpResponse:
    def produce() -> Iterator[bytes]:
        yield b"first\n"
        if name == "broken":
            raise RuntimeError("in the middle")
        released[name].wait(20)
        yield b"second\n"

    return StreamingHttpResponse(produce(), content_type="text/plain")


@csrf_exempt
def release(request: HttpRequest, name: str) -> HttpResponse:
    released[name].set()
    return HttpResponse()


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(FILE.open("rb"), content_type="application/octet-stream")


def set_cookies(request: HttpRequest) -> HttpResponse:
    response = HttpResponse()
    response.set_cookie("one", "1")
    response.set_cookie("two", "2; two", httponly=True)
    return response


def get_cookies(request: HttpRequest) -> JsonResponse:
    return JsonResponse(request.COOKIES)


def moved(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect(reverse("greet", args=["you"]) + "?word=hello")


def nothing(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(status=204)
    del response["Content-Type"]  # wsgiref.validate wants none without content
    return response


def error(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("internals that no client may see")


# -- Django's own ------------------------------------------------------------------------------

opened: defaultdict[str, list[sqlite3.Connection]] = defaultdict(list)
everyone = threading.Barrier(10)
finished: defaultdict[str, threading.Event] = defaultdict(threading.Event)
local = threading.local()


def note_finished(**_: object) -> None:
    event = local.__dict__.pop("finished", None)
    if event is not None:
        event.set()


request_finished.connect(note_finished)


def users(alias: str) -> int:
    """Count the users, and note the connection that this greenlet has."""
    count = int(User.objects.using(alias).count())
    opened[alias].append(connections[alias].connection)
    return count


def meet(request: HttpRequest, alias: str) -> JsonResponse:
    """Query the database while nine other requests do, and tell whose connection that is."""
    count = users(alias)
    everyone.wait(20)
    return JsonResponse({"users": count, "connection": id(connections[alias].connection)})


def count_users(request: HttpRequest, alias: str) -> JsonResponse:
    return JsonResponse({"users": users(alias), "connection": id(connections[alias].connection)})


def stream_users(request: HttpRequest, name: str) -> StreamingHttpResponse:
    """Query the database in the middle of a stream."""

    def produce() -> Iterator[str]:
        local.finished = finished[name]
        while True:
            yield f"{users('default')}\n" * 10000

    return StreamingHttpResponse(produce(), content_type="text/plain")


def await_finished(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(str(finished[name].wait(20)))


def still_open(request: HttpRequest, alias: str) -> JsonResponse:
    """Tell how many connections of earlier requests are open."""
    count = 0
    for connection in opened[alias]:
        try:
            connection.total_changes  # noqa: B018 - what a closed connection refuses to tell
            count += 1
        except sqlite3.ProgrammingError:
            pass
    return JsonResponse({"open": count, "closed": len(opened[alias]) - count})


class Watched:
    """A file that tells when it was closed."""

    def __init__(self, event: threading.Event) -> None:
        self._file = FILE.open("rb")
        self._event = event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def close(self) -> None:
        self._file.close()
        self._event.set()


def watched_file(request: HttpRequest, name: str) -> FileResponse:
    return FileResponse(Watched(finished[name]), as_attachment=True, filename="Prüfung.bin")


def speak(request: HttpRequest, language: str) -> HttpResponse:
    """Switch the language and forget to switch it back."""
    before = translation.get_language()
    translation.activate(language)
    return HttpResponse(f"{before} {translation.get_language()}")


urlpatterns = [
    path("greet/<name>", greet, name="greet"),
    path("form", form),
    path("upload", upload),
    path("raw", raw),
    path("drip/<name>", drip),
    path("release/<name>", release),
    path("file", file),
    path("cookies/set", set_cookies),
    path("cookies/get", get_cookies),
    path("moved", moved),
    path("nothing", nothing),
    path("error", error),
    path("admin/", admin.site.urls),
    path("meet/<alias>", meet),
    path("users/<alias>", count_users),
    path("stream-users/<name>", stream_users),
    path("finished/<name>", await_finished),
    path("still-open/<alias>", still_open),
    path("watched-file/<name>", watched_file),
    path("speak/<language>", speak),
]
