"""What lies beside the weights of a saved composition: the tokenizer's files and a model card."""

from __future__ import annotations

import shutil
from pathlib import Path

from calm_engine.config import CalmConfig

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)

CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags:
- calm
---

# A composition

An anchor and {count} augmenter(s), joined by trained bridges (CALM, arXiv 2401.02412). This folder
holds the bridges alone, {trained} trained weights; the parents stay where they are, unchanged.

## Built on

SHA-256 of each parent's weights; loading refuses others.

{parents}

## Connections

Augmenter layer to anchor layer; -1 is the anchor's embedding output.

{joined}

## Loading

```python
from calm_engine import CalmForCausalLM

model = CalmForCausalLM.from_pretrained(
    "path/to/this/folder", anchor="path/to/anchor", augmenters=[{given}]
)
model.set_gate(0.0)  # the anchor alone, bit for bit
```
"""


def copy_tokenizer(folder: str | None, root: Path) -> None:
    """Copy the tokenizer's files as they are, so that the composition can be spoken to."""
    for name in TOKENIZER_FILES if folder else ():
        source = Path(str(folder)) / name
        if source.is_file():
            shutil.copyfile(source, root / name)


def card_of(config: CalmConfig, trained: int) -> str:
    """The model card: what this is, what it was built on, how to load it."""
    augmenters = config.augmenter_configs or []
    parents = "\n".join(f"- {role}: `{it}`" for role, it in sorted((config.parents or {}).items()))
    joined = "\n".join(
        f"- augmenter_{i}: " + ", ".join(f"{a} to {b}" for a, b in pairs)
        for i, pairs in enumerate(config.joined)
    )
    given = ", ".join(f'"path/to/augmenter_{i}"' for i in range(len(augmenters)))
    return CARD.format(
        trained=f"{trained:,}", parents=parents, joined=joined, count=len(augmenters), given=given
    )
