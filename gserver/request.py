# cython: language_level=3, annotation_typing=False
"""What a request may look like, whatever protocol carries it: limits, targets, hosts, methods."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from gserver.api.errors import RemoteProtocolError
from gserver.clock import NEVER
from gserver.config import Config

# RFC 3986 and what browsers leave unescaped in a query all the same.
_TARGET_CHARACTERS: Final = (
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?[]@!$&'()*+,;=%|^`{}\\"
)
is_method: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}").fullmatch
is_host: Final = re.compile(
    r"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?"
).fullmatch

GOOD_HOSTS: Final[set[str]] = set()
"""Hosts that passed the check; a site is asked for under few names."""
_MAX_GOOD_HOSTS: Final = 256

GOOD_PATHS: Final[dict[bytes, str]] = {}
"""Targets that passed the check and mean what they look like: without a query or an escape."""
_MAX_GOOD_PATHS: Final = 1024
_LONGEST_GOOD_PATH: Final = 128


class HeaderMap(Enum):
    """What becomes of header names with an underscore (gunicorn's header_map)."""

    DROP = "drop"
    REFUSE = "refuse"
    DANGEROUS = "dangerous"


class Limits:
    """What a Config means to the protocol, worked out once for each server."""

    def __init__(self, config: Config) -> None:
        self.head = config.limit_request_head
        self.line = config.limit_request_line
        self.field = config.limit_request_field_size
        self.fields = config.limit_request_fields
        self.body = config.limit_request_body
        self.requests = config.keepalive_requests
        self.keepalive = config.keepalive or NEVER
        # A head no longer than this breaks none of the limits on its parts.
        self.small = min(self.line, self.field, self.head)
        self.header_map = HeaderMap(config.header_map)
        self.upgrade = config.http2 and config.http2_upgrade


def check_target(target: bytes) -> str:
    """Return a request's target as text, and remember it if it is a plain path.

    Raises:
        RemoteProtocolError: It has characters that no target may have.
    """
    if target.translate(None, _TARGET_CHARACTERS):
        raise RemoteProtocolError("the request target has characters that must be escaped")
    text = target.decode("ascii")
    if text[:1] == "/" and len(text) <= _LONGEST_GOOD_PATH and "?" not in text and "%" not in text:
        if len(GOOD_PATHS) >= _MAX_GOOD_PATHS:
            GOOD_PATHS.clear()
        GOOD_PATHS[target] = text
    return text


def check_host(host: str) -> None:
    """Check the Host field, or HTTP/2's authority, and remember it if it is good.

    Raises:
        RemoteProtocolError: It is malformed.
    """
    if not is_host(host):
        raise RemoteProtocolError("malformed Host field")
    if len(GOOD_HOSTS) < _MAX_GOOD_HOSTS:
        GOOD_HOSTS.add(host)
