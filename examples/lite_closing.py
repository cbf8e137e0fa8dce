"""Lite with ``wsgi_lite.closing``: start it with ``gserver examples.lite_closing:app``.

What is registered there is closed when the response is over, the last first; also when the
application raises or the client leaves in the middle. The application does not do that itself: it
says by a binding that it needs a database, and is given one.
"""

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from gserver.api import bind, lite

COUNT = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000)
SELECT n, n * n FROM numbers
"""


@bind(closing="wsgi_lite.closing")
def database(
    environ: dict[str, Any], closing: Callable[[Any], Any]
) -> Iterator[sqlite3.Connection]:
    """Open the database for the time of a response."""
    yield closing(sqlite3.connect(":memory:"))


@lite(database=database)
def app(
    environ: dict[str, Any], database: sqlite3.Connection
) -> tuple[str, list[tuple[str, str]], Iterator[bytes]]:
    """Send a table while it is read from the database."""
    headers = [("Content-Type", "text/csv; charset=utf-8")]
    return "200 OK", headers, (f"{n},{square}\n".encode() for n, square in database.execute(COUNT))
