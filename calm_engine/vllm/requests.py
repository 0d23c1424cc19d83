"""How far one request lets the augmenters in, on its way through vLLM.

A request says `extra_args={"gate": 0.0}` (`"vllm_xargs"` in the protocol): 0 is the bare anchor.
Three hooks carry it, for vLLM gives models no word of the request: a wrong gate is refused at the
door, a request's cached prefix is set apart by its gate, and before each step the model is told the
gate of each token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import wraps
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import SamplingParams
from vllm.v1.request import Request
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

from calm_engine.config import CalmConfig
from calm_engine.errors import InputError

NAME = "gate"


def gate_of(params: Any) -> float:
    """The gate that a request's sampling parameters ask for; 1 where they say nothing.

    Raises InputError("input.gate") for what is no number from 0 to 1.
    """
    told = (getattr(params, "extra_args", None) or {}).get(NAME, 1.0)
    is_number = isinstance(told, int | float) and not isinstance(told, bool)
    if not is_number or not math.isfinite(told) or not 0.0 <= told <= 1.0:
        raise InputError("input.gate", "a gate is a number from 0 to 1", found=repr(told)[:40])
    return float(told)


def follow() -> None:
    """Take the hooks; calling it again changes nothing."""
    if hasattr(Request.from_engine_core_request, "__wrapped__"):
        return
    SamplingParams.verify = _refused(SamplingParams.verify)
    Request.from_engine_core_request = classmethod(_apart(Request.from_engine_core_request))
    GPUModelRunner._preprocess = _told(GPUModelRunner._preprocess)


def _refused(verify: Any) -> Any:
    """In the process of the server: whoever sent a wrong gate is told so, and nobody else."""

    @wraps(verify)
    def verified(params: SamplingParams, model_config: Any, *others: Any, **more: Any) -> Any:
        if isinstance(model_config.hf_config, CalmConfig):
            try:
                gate_of(params)
            except InputError as error:
                raise VLLMValidationError(str(error), parameter=NAME) from error
        return verify(params, model_config, *others, **more)

    return verified


def _apart(made: Any) -> Any:
    """Keys and values behind another gate are others: they may not be taken for each other."""

    @wraps(made.__func__)
    def made_apart(cls: type[Request], request: Any, *others: Any) -> Request:
        gate = gate_of(request.sampling_params)
        if gate != 1.0:  # a name of another model's requests cannot be a number of ours
            request.cache_salt = f"gate {gate} {request.cache_salt or ''}"
        born: Request = made.__func__(cls, request, *others)
        return born

    return made_apart


def _told(prepared: Any) -> Any:
    """The gate of each token in the order of the batch, written before the step is run."""

    @wraps(prepared)
    def prepared_with_gates(runner: Any, scheduled: Any, *others: Any, **more: Any) -> Any:
        take = getattr(runner.get_model(), "let_in", None)
        if take is not None:
            names: Sequence[str] = runner.input_batch.req_ids
            counts = [scheduled.num_scheduled_tokens[name] for name in names]
            take([gate_of(runner.requests[name].sampling_params) for name in names], counts)
        return prepared(runner, scheduled, *others, **more)

    return prepared_with_gates
