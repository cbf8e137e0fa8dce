"""ASGI applications on gserver: an asyncio loop beside the hub, in the same thread."""

from gserver.asgi.application import AsgiApplication, from_asgi

__all__ = ["AsgiApplication", "from_asgi"]
