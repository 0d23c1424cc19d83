"""`python -m counterpoint.operate`: the same as the command `counterpoint`."""

from __future__ import annotations

import sys

from counterpoint.operate.cli import main

if __name__ == "__main__":
    sys.exit(main())
