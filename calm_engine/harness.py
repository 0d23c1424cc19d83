"""The command `lm_eval` with compositions among the models that transformers knows.

    python -m calm_engine.harness run --model hf --model_args pretrained=FOLDER --tasks TASK

FOLDER holds a composition with its parents inside (`calm export`). All arguments are lm_eval's own.
"""

from __future__ import annotations

import sys

from lm_eval.__main__ import cli_evaluate

import calm_engine.modeling  # noqa: F401  registers compositions with transformers

if __name__ == "__main__":
    sys.exit(cli_evaluate())
