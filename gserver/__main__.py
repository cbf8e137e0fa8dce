"""``python -m gserver``, the same as the command ``gserver``."""

import sys

from gserver.cli import main

if __name__ == "__main__":
    sys.exit(main())
