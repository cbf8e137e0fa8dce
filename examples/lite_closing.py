"""Lite with ``wsgi_lite.closing``: start it with ``gserver examples.lite_closing:app``.

What is registered there is closed when the response is over, the last first; also when the
application raises or the client leaves in the middle.
"""

import sqlite3
from collections.abc import Iterator
from typing import Any

from gserver.api import lite

COUNT = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000)
SELECT n, n * n FROM numbers
"""


@lite
def app(environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], Iterator[bytes]]:
    """Send a table while it is read from the database."""
    closing = environ["wsgi_lite.closing"]
    database = closing(sqlite3.connect(":memory:"))
    rows = closing(database.cursor()).execute(COUNT)
    headers = [("Content-Type", "text/csv; charset=utf-8")]
    return "200 OK", headers, (f"{n},{square}\n".encode() for n, square in rows)
