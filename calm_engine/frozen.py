"""States that no training changes: read once for each sequence, kept on disk while the run lasts.

Every augmenter, and the anchor below its first bridge, make the same of an example each time it
comes round. Files hold some sequences of like length and are mapped into memory when read. Which
sequences share a file is a function of the sequences alone, so a resumed run meets the same bits.
Knows no losses and no steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from calm_engine.cache import CalmCache
from calm_engine.data import Sequenced, chance_of, pad_right
from calm_engine.families import Decoder
from calm_engine.inputs import look
from calm_engine.modeling import CalmForCausalLM
from calm_engine.ranks import Ranks
from calm_engine.streams import Frozen, Read

TOGETHER = 32  # sequences that are read at once and share a file


def behind(
    model: CalmForCausalLM, prefix: Sequence[int], rows: int, *, gate: float | None = None
) -> CalmCache:
    """A cache that has read the prefix, once and without a graph, for so many rows.

    Nothing of the prefix is to be said and it is the same in every chat: reading it anew in every
    row, with a graph, would double the time of a step. The loss is that of whole rows.
    """
    cache = model.new_cache()
    if prefix:
        with torch.no_grad():
            ids = torch.tensor([list(prefix)], device=model.device)
            model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1, gate=gate)
        cache.batch_repeat_interleave(rows)
    return cache


def masked(mask: Tensor, prefix: Sequence[int]) -> Tensor:
    """(rows, prefix + time): the mask of tokens, (rows, time), behind a prefix that all have."""
    return torch.cat((mask.new_ones(len(mask), len(prefix)), mask), dim=1)


class FrozenStates:
    """The frozen states of sequences that all stand behind one prefix.

    Files go into `folder` and are whole when they have their names; those of an earlier attempt at
    the same run are taken as they are.
    """

    def __init__(
        self,
        model: CalmForCausalLM,
        prefix: Sequence[int],
        sequences: Sequence[Sequenced],
        folder: Path,
        *,
        pad: int,
    ) -> None:
        self.model = model
        self.prefix = prefix
        self.sequences = sequences
        self.folder = folder
        self.pad = pad
        order = sorted(range(len(sequences)), key=lambda at: (len(sequences[at][0]), at))
        self.groups = [order[at : at + TOGETHER] for at in range(0, len(order), TOGETHER)]
        # Short and long ones mixed, so that the first few files tell how long all will take.
        chance_of("groups", len(order)).shuffle(self.groups)
        self.group_of = {at: number for number, group in enumerate(self.groups) for at in group}

    @property
    def size(self) -> int:
        """Bytes on disk when all are read."""
        wide: int = sum(one.width * one.model.dtype.itemsize for one in _parts(self.model).values())
        return wide * sum(len(tokens) for tokens, _ in self.sequences)

    def fill(self, ranks: Ranks) -> Iterator[tuple[int, int]]:
        """Read what is not there yet, a file at each demand: (files done, in all).

        Several processes share the files out, and go on when all are there.
        """
        for number in range(len(self.groups)):
            if number % ranks.count == ranks.rank:
                self._file(number)
            yield number + 1, len(self.groups)
        ranks.wait()

    def batch(self, chosen: Sequence[int]) -> Frozen:
        """The states of these sequences, padded on the right with zeros to the longest."""
        rows: dict[str, list[Tensor]] = {part: [] for part in _parts(self.model)}
        device = str(self.model.device)
        for at in chosen:
            with safe_open(self._file(self.group_of[at]), "pt", device=device) as held:
                for part, states in rows.items():
                    states.append(held.get_tensor(f"{at}.{part}"))
        padded = {part: pad_sequence(states, batch_first=True) for part, states in rows.items()}
        return _unpacked(padded, self.model)

    def _file(self, number: int) -> Path:
        """Where a group's states lie, read now if they were not."""
        path = self.folder / f"{number:06}.safetensors"
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            aside = path.with_suffix(".part")
            save_file(self._read(self.groups[number]), aside)
            aside.rename(path)
        return path

    @torch.no_grad()
    def _read(self, group: Sequence[int]) -> dict[str, Tensor]:
        """Run the frozen parts over some sequences; each one's tensors, padding left out."""
        model = self.model
        batch = pad_right([self.sequences[at] for at in group], pad=self.pad)
        switches = (model.bridges_on, model.output_on)
        # The anchor alone stands behind the anchor's own reading of the prefix.
        model.set_parts(bridges=False)
        cache = behind(model, self.prefix, len(group))
        model.set_parts(bridges=switches[0], output=switches[1])
        parts = _parts(model)
        mask = masked(batch.mask, self.prefix).to(model.device)
        ids = batch.ids.to(model.device)
        told = model.streams.freeze(look(ids, mask, None, cache, limit=model.streams.limit))
        return {
            f"{at}.{part}": states[row, : len(self.sequences[at][0])].cpu().contiguous()
            for part, states in _packed(told).items()
            if part in parts
            for row, at in enumerate(group)
        }


def _parts(model: CalmForCausalLM) -> dict[str, Decoder]:
    """The kept states by name, and the model that made each."""
    streams = model.streams
    named = {"hidden": streams.top, "last": streams.top}
    for index, augmenter in enumerate(streams.below):
        named |= {f"{index}.{layer}": augmenter for layer in streams.layers_read(index)}
        if len(model.output_gates):
            named[f"{index}.last"] = augmenter
    return named


def _packed(told: Frozen) -> dict[str, Tensor]:
    named = {"hidden": told.hidden, "last": told.last}
    for index, read in enumerate(told.reads):
        named |= {f"{index}.{layer}": states for layer, states in read.states.items()}
        named |= {} if read.last is None else {f"{index}.last": read.last}
    return named


def _unpacked(named: dict[str, Tensor], model: CalmForCausalLM) -> Frozen:
    reads = []
    for index in range(len(model.streams.below)):
        layers = model.streams.layers_read(index)
        states = {layer: named[f"{index}.{layer}"] for layer in layers}
        reads.append(Read(states, named.get(f"{index}.last")))
    return Frozen(tuple(reads), named["hidden"], named["last"])
