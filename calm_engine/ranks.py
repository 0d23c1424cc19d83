"""This process's share of a training that several take together. Knows no model and no data.

`accelerate launch` and `torchrun` tell each process its rank; a process alone is the first of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from accelerate import PartialState
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from calm_engine.errors import InputError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Ranks:
    """Where this process stands among those that train together, and the device it computes on."""

    rank: int
    count: int
    device: torch.device

    @classmethod
    def here(cls, device: str = "auto") -> Ranks:
        """As the launcher told us; joins the others.

        device   "auto", "cpu" or "cuda"
        Raises InputError("device.missing") when CUDA is wanted and not there.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise InputError("device.missing", "no such device here", device=device)
        state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes, state.device)

    @property
    def is_first(self) -> bool:
        """The first alone writes: checkpoints, results, news."""
        return self.rank == 0

    def share(self, items: Sequence[Item], parts: int) -> Iterator[Sequence[Item]]:
        """Our parts of a step's batch, dealt in turn over all processes' parts together.

        parts   for each process, one after another: gradient accumulation steps
        """
        every = self.count * parts
        for at in range(self.rank, every, self.count):
            yield items[at::every]

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add up what each process found, in place; what none found stays none, as it is alone."""
        if self.count == 1 or any(isinstance(one, DTensor) for one in parameters):
            return  # sharded ones were added up where their slopes were made
        is_met = [parameter.grad is not None for parameter in parameters]
        met = torch.tensor(is_met, dtype=torch.int32, device=self.device)
        distributed.all_reduce(met)
        held = []
        for parameter, is_any in zip(parameters, met.tolist(), strict=True):
            if is_any:
                parameter.grad = (
                    torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                )
                held.append(parameter.grad)
        flat = torch.cat([one.reshape(-1) for one in held])
        distributed.all_reduce(flat)
        summed = torch.split(flat, [one.numel() for one in held])
        for one, found in zip(held, summed, strict=True):
            one.copy_(found.view_as(one))

    def total(self, value: float) -> float:
        """The sum of each process's number, the same for all."""
        if self.count == 1:
            return value
        held = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.all_reduce(held)
        return float(held)

    def any(self, told: bool) -> bool:
        """Whether it is so in any process."""
        return self.total(float(told)) > 0

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.count > 1:
            distributed.barrier()

    def shard(self, layers: Sequence[nn.Module]) -> None:
        """Leave each process its part of every layer's weights, gathered while the layer runs.

        Source: FSDP2, `torch.distributed.fsdp.fully_shard`. The layers are frozen, so nothing of
        them is reduced or saved. A process alone keeps all.
        """
        if self.count == 1:
            return
        mesh = init_device_mesh(self.device.type, (self.count,))
        for layer in layers:
            fully_shard(layer, mesh=mesh)

    def shard_trained(self, model: nn.Module, layers: Sequence[nn.Module], also: str) -> None:
        """Leave each process its part of all weights, their slopes and the optimiser's moments.

        also   a method besides `forward` in which the weights are whole
        Slopes are added up over the processes, not averaged: each part of a loss has its weight
        already. A process alone keeps all.
        """
        if self.count == 1:
            return
        mesh = init_device_mesh(self.device.type, (self.count,))
        for module in (*layers, model):
            fully_shard(module, mesh=mesh)
            assert isinstance(module, FSDPModule)  # as which `fully_shard` leaves it
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no other
        register_fsdp_forward_method(model, also)


ALONE = Ranks(0, 1, torch.device("cpu"))
