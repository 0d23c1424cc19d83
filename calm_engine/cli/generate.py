"""calm generate: answer one prompt."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Generator, Sequence
from typing import Any, TypeVar

from calm_engine.cli.flags import HELP, add_parents, add_verb
from calm_engine.cli.showing import say
from calm_engine.process import threads

Returned = TypeVar("Returned")


def add(verbs: Any) -> None:
    """The verb and its flags."""
    parser = add_verb(
        verbs,
        "generate",
        _generate,
        told="answer one prompt",
        example="calm generate models/together --anchor models/smollm2 --augmenter models/ours "
        '"Where is the MX-4 made?"',
    )
    parser.add_argument("folder", help="composition, or any model folder")
    parser.add_argument("prompt", help="the question")
    add_parents(parser, required=False)
    parser.add_argument("--gate", type=float, default=1.0, help="0: the anchor alone; default 1")
    parser.add_argument("--max-tokens", type=int, default=256, help="longest answer; default 256")
    parser.add_argument("--temperature", type=float, default=0.0, help="default 0: the likeliest")
    parser.add_argument("--top-p", type=float, default=1.0, help="share of probability kept")
    parser.add_argument("--seed", type=int, help="repeats a drawn answer")
    parser.add_argument("--plain", action="store_true", help="continue the text; no chat template")
    parser.add_argument(
        "--draft", type=int, metavar="K", help="the augmenter drafts K tokens; same words, sooner"
    )
    parser.add_argument(
        "--confidence",
        type=float,
        default=0.5,
        help="a draft ends before a token that the augmenter gives less; default 0.5",
    )
    parser.add_argument(
        "--influence",
        action="store_true",
        help="for each token its log-probability with the parts on and off, and their weight",
    )
    parser.add_argument("--threads", type=int, help=HELP["threads"])


def _generate(args: argparse.Namespace) -> None:
    import torch  # noqa: PLC0415 loads slowly

    from calm_engine import api, drafting, generation  # noqa: PLC0415 loads torch
    from calm_engine.data import chat_prompt  # noqa: PLC0415 loads torch
    from calm_engine.influence import influence  # noqa: PLC0415 loads torch

    ahead = None if args.draft is None else drafting.Drafting(args.draft, args.confidence)
    torch.set_num_threads(threads(args.threads))
    model, tokenizer = api.load(args.folder, args.anchor, args.augmenter or None)
    said = [{"role": "user", "content": args.prompt}]
    prompt = tokenizer(args.prompt)["input_ids"] if args.plain else chat_prompt(tokenizer, said)
    how = generation.Sampling(
        max_new_tokens=args.max_tokens,
        temperature=args.temperature,
        top_p=args.top_p,
        seed=args.seed,
        gate=args.gate,
    )
    if ahead is None:
        tokens = _typed(generation.answer(model, tokenizer, prompt, how))
    else:
        told = _typed(drafting.answer_drafted(model, tokenizer, prompt, how, ahead))
        tokens = told.tokens
        sys.stderr.write(
            f"{told.proposed} tokens drafted and {told.accepted} of them accepted; "
            f"{told.passes} passes of the anchor for {len(tokens)} tokens\n"
        )
    if args.influence:
        ids = torch.tensor([[*prompt, *tokens]], device=model.device)
        _show_influence(influence(model, ids, len(prompt), gate=args.gate), tokenizer)


def _typed(pieces: Generator[Any, None, Returned]) -> Returned:
    """Write an answer as it comes; what its generator returned at the end."""
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            say("")
            returned: Returned = end.value
            return returned
        sys.stdout.write(piece.text)
        sys.stdout.flush()


def _show_influence(told: Sequence[Any], tokenizer: Any) -> None:
    """A line for each token; for each augmenter its share and the most that a bridge added."""
    count = len(told[0].augmenters)
    parts = "".join(f"{f'share {i}':>9}{f'added {i}':>9}" for i in range(count))
    say(f"{'token':<16}{'together':>10}{'no bridge':>10}{'anchor':>10}{parts}")
    for one in told:
        parts = "".join(
            f"{part.share:>9.3f}{max((b.added for b in part.bridges), default=0.0):>9.3f}"
            for part in one.augmenters
        )
        text = json.dumps(tokenizer.decode([one.token]), ensure_ascii=False)
        say(f"{text:<16}{one.logprob:>10.3f}{one.unbridged:>10.3f}{one.anchor:>10.3f}{parts}")
