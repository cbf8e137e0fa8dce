"""Conditional requests and ranges (RFC 9110 13 and 14): does the client have it, or want a part?"""

from __future__ import annotations

import re
from datetime import timezone
from email.utils import parsedate_to_datetime
from math import inf
from typing import Any, Final

__all__ = ["choose_part", "evaluate"]

_tags: Final = re.compile(r'(W/)?("[^"]*")').findall
_range: Final = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)


def evaluate(environ: dict[str, Any], etag: str, modified: int) -> int:
    """Return the status of the answer to a GET or HEAD: 200, 304 or 412 (RFC 9110 13.2.2).

    Args:
        environ: The request's.
        etag: A strong entity tag of what would be sent, with its quotes.
        modified: When that was changed, in seconds since 1970.
    """
    wanted = environ.get("HTTP_IF_MATCH")
    if wanted is not None:
        if not _lists(wanted, etag, weak=False):
            return 412
    elif modified > _seconds(environ.get("HTTP_IF_UNMODIFIED_SINCE"), modified):
        return 412
    known = environ.get("HTTP_IF_NONE_MATCH")
    if known is not None:
        return 304 if _lists(known, etag, weak=True) else 200
    return 304 if modified <= _seconds(environ.get("HTTP_IF_MODIFIED_SINCE"), -inf) else 200


def choose_part(environ: dict[str, Any], size: int, etag: str, modified: str) -> range | None:
    """Return which bytes the client wants; None for all, an empty range if there are no such bytes.

    Of several ranges, and of what is malformed, all is sent (RFC 9110 14.2).

    Args:
        environ: The request's.
        size: How many bytes there are.
        etag: As for `evaluate`.
        modified: The Last-Modified of the answer.
    """
    match = _range.fullmatch(environ.get("HTTP_RANGE", ""))
    if match is None or environ["REQUEST_METHOD"] != "GET":
        return None
    if environ.get("HTTP_IF_RANGE", etag).strip() not in (etag, modified):
        return None
    first, last = match.groups()
    if first:
        if last and int(last) < int(first):
            return None
        return range(int(first), min(int(last) + 1, size) if last else size)
    if not last or not size:
        return None
    return range(max(0, size - int(last)), size)


def _lists(value: str, etag: str, weak: bool) -> bool:
    """Tell whether a list of entity tags has this one, which is strong."""
    return value.strip() == "*" or any(
        tag == etag and (weak or not prefix) for prefix, tag in _tags(value)
    )


def _seconds(date: str | None, default: float) -> float:
    """Return an HTTP-date in seconds since 1970, `default` if it is none."""
    try:
        moment = parsedate_to_datetime(date or "")
        # The format of asctime() has no zone, and means GMT (RFC 9110 5.6.7).
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return default
