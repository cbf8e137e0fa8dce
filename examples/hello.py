"""The smallest application: start it with ``gserver examples.hello:app``."""

from typing import Any

from gserver.api import lite


@lite
def app(environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], list[bytes]]:
    """Greet whoever asks, and show over what."""
    text = f"Hello over {environ['SERVER_PROTOCOL']}, {environ['REMOTE_ADDR'] or 'neighbour'}!\n"
    return "200 OK", [("Content-Type", "text/plain; charset=utf-8")], [text.encode()]
