"""What tests of ASGI applications look for in what their servers have said."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def unwanted() -> tuple[str, ...]:
    """None of these applications fails, and asyncio has nothing to complain of."""
    return ("Exception ignored", "Traceback", "was never awaited", "never retrieved")
