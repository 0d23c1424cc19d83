"""python -m calm_engine.cli: the command where it is not installed."""

import sys

from calm_engine.cli import main

if __name__ == "__main__":
    sys.exit(main())
