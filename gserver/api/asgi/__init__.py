"""ASGI: blocking applications under asynchronous servers."""

from gserver.api.asgi.blocking import to_asgi

__all__ = ["to_asgi"]
