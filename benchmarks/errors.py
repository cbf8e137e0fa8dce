"""The one exception of the benchmarks."""


class Failed(Exception):
    """A server or a load did not do what it had to; the text is the reason that is reported."""
