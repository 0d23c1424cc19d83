"""The command `calm`: the engine's verbs for a terminal, a file each. Loads torch only when needed.

Reads flags and spec files, shows progress and words errors; the work itself is done elsewhere.
"""

from calm_engine.cli.command import main

__all__ = ["main"]
