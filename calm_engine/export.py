"""A composition and its parents in one folder that needs nothing beside it.

Files are copied as they are and checked against the digests that the composition was built on.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from calm_engine import digests
from calm_engine.checkpoints import whole
from calm_engine.errors import InputError
from calm_engine.importing import belonging
from calm_engine.modeling import CalmForCausalLM
from calm_engine.parents import located, read_composition
from calm_engine.specs import Outcome


def export(
    composition: Path, output: Path, anchor: Path | None, augmenters: Sequence[Path] | None
) -> Outcome:
    """Write the composition with its parents inside, as `from_pretrained` finds them alone.

    anchor, augmenters   folders; None: those inside the composition
    Raises InputError: "output.exists", and what `CalmForCausalLM.from_pretrained` raises: what does
    not load here would not load there.
    """
    if output.exists():
        raise InputError("output.exists", "something is in the output folder", path=output.name)
    config = read_composition(composition)
    parents = [Path(str(one)) for one in located(composition, config, anchor, augmenters)]
    model = CalmForCausalLM.from_pretrained(composition, anchor=parents[0], augmenters=parents[1:])
    with whole(output) as aside:
        for path in composition.iterdir():
            if path.is_file() and path.name != digests.MANIFEST:
                shutil.copyfile(path, aside / path.name)
        for role, parent in zip(model.roles, parents, strict=True):
            (aside / role).mkdir()
            for path in belonging(parent):
                shutil.copyfile(path, aside / role / path.name)
    return Outcome(
        kind="composition",
        folder=str(output),
        digest=digests.folder_digest(output),
        parents=dict(config.parents or {}),
    )
