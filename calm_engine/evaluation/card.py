"""The report card as a page of Markdown, and its verdict in one sentence, by fixed rules.

Whoever is better, it says so; where nothing can be told apart, it says that. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from calm_engine.evaluation.counting import ALL, ANCHOR, COMPOSITION
from calm_engine.evaluation.kinds import LEAKS, LM_EVAL, MADE, family
from calm_engine.specs import EvaluateSpec

NAMES = {
    COMPOSITION: "composition",
    ANCHOR: "anchor",
    "augmenter": "augmenter",
    "random": "random augmenter",
    "mismatched": "mismatched augmenter",
    "scrambled": "shuffled augmenter",
    "bridges_only": "bridges only",
    "output_only": "output path only",
    "anchor_rag": "anchor + RAG",
    "composition_rag": "composition + RAG",
    "anchor_lora": "anchor + LoRA",
    "anchor_lora_documents": "anchor + LoRA on the documents",
    "swapped": "composition on edited facts",
    "verbatim": "repeats documents word for word",
    "canary": "says a planted secret",
    "other_corpus": "answers about another corpus",
}
RIVALS = (
    ANCHOR,
    "anchor_rag",
    "anchor_lora",
    "anchor_lora_documents",
    "augmenter",
)  # what people would take instead
MAIN = (("recall", "unseen_entity"), ("recall", "unseen_value"))  # the first that was asked
FEW = 20  # questions below which a cell is told to be too few

SHARES = "Share of right answers, 95 % interval (Wilson), number of questions. A dash: not asked."
POINTS = (
    "Difference in points on the same questions, with its 95 % interval; above 0 the composition "
    "is better."
)
LEAKED = (
    "Share of what came out though nobody should say it, 95 % interval (Wilson), number of "
    "questions. No figure here says that a model is safe."
)
SWAPPED = (
    "{entities} entities that no bridge has met exchanged their names in all documents, and the "
    "augmenter alone learned these{recall}. The composition on edited facts is the same bridges "
    "on it. Where a kind is counterfactual, what the edited documents say is right, and the "
    "composition still says what was so before; elsewhere it is the other way round."
)
WHY_NOT = {
    "large": "the documents are too many to be taught twice",
    "nobody": "no two entities that no bridge has met stand in the documents with other answers",
    "missing": "lm_eval is not installed here",
    "unmarked": "it does not say right or wrong of each question",
}
CORPORA = "All questions held out of each corpus, as above."
OVERLAP = (
    "Of {of} questions held out {run} share {words} words in a row with one of {taught} examples "
    "that the bridges learned from, and {near} are nearly the same text (at least {alike:.0%} of "
    "their runs of three words). How several entities are asked about does not count."
)
DRAWN = (
    "{questions} of {of} private questions, drawn by seed {seed}; answers of at most "
    "{max_new_tokens} tokens, said greedily."
)

# Fields of a spec that name a folder or a file: a card says their roles, not where they lay.
PLACES = ("composition", "anchor", "random", "mismatched", "embedder", "judge", "tasks")
FILES = ("questions", "documents", "examples", "strangers", "labels")
PLAIN = ("max_new_tokens", "batch_size", "seed")

Row = Mapping[str, Any]


def command_of(spec: EvaluateSpec) -> str:
    """The command that makes this card again, roles in capitals in place of folders and files."""
    held = {name: getattr(spec, name) for name in (*PLACES, *FILES)}
    words = ["calm evaluate"]
    words += [f"--{name} {name.upper()}" for name in PLACES if held[name]]
    words += [f"--augmenter AUGMENTER_{at}" for at in range(len(spec.augmenters))]
    words += [f"--{name} {name.upper()}.jsonl" for name in FILES if held[name]]
    words += [f"--column {name}" for name in spec.columns]
    words += [] if spec.retention else ["--no-retention"]
    words += [f"--{name.replace('_', '-')} {getattr(spec, name)}" for name in PLAIN]
    return " ".join([*words, "--output REPORT"])


def verdict_of(facts: Mapping[str, Any]) -> str:
    """How the composition stands against what people would take instead, in one sentence."""
    place = _main(facts["cells"])
    if place is None:
        return "The composition was not measured on private questions that it had not seen."
    ours = _cell(facts["cells"], COMPOSITION, *place)
    sides: dict[str, list[str]] = {"more than": [], "as many as": [], "fewer than": []}
    for other in RIVALS:
        found = _cell(facts["differences"], other, *place)
        theirs = _cell(facts["cells"], other, *place)
        if found and theirs:
            sides[_side(found)].append(f"the {NAMES[other]} ({theirs['value']:.0%})")
    told = "; ".join(f"{side} {_listed(names)}" for side, names in sides.items() if names)
    assert ours is not None
    return (
        f"The composition answers {_in_words(ours)} of the private questions that it had not seen"
        f"{': ' if told else ''}{told}."
    )


def _side(difference: Row) -> str:
    if difference["low"] > 0:
        return "more than"
    return "fewer than" if difference["high"] < 0 else "as many as"


def _main(cells: Sequence[Row]) -> tuple[str, str] | None:
    """The row by which a composition is judged: unseen entities, else any that was held out."""
    asked = [(c["kind"], c["slice"]) for c in cells if c["column"] == COMPOSITION]
    held_out = [
        (kind, part)
        for kind, part in asked
        if part in ("unseen_entity", "unseen_value") and family(kind) not in MADE
    ]
    return next((one for one in (*MAIN, *held_out) if one in asked), None)


def _cell(cells: Iterable[Row], column: str, kind: str, part: str) -> Row | None:
    for cell in cells:
        if (cell["column"], cell["kind"], cell["slice"]) == (column, kind, part):
            return cell
    return None


def _in_words(cell: Row) -> str:
    interval = f"{cell['low'] * 100:.0f} to {cell['high'] * 100:.0f}, n={cell['n']}"
    return f"{cell['value']:.0%} ({interval})"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if names[1:] else "") + names[-1]


# -- the page --------------------------------------------------------------------------------------


def card_of(facts: Mapping[str, Any], parents: Mapping[str, str]) -> str:
    """The whole card as Markdown."""
    leaks = [cell for cell in facts["cells"] if cell["kind"] in LEAKS]
    cells = [cell for cell in facts["cells"] if cell["kind"] not in LEAKS]
    columns = list(dict.fromkeys(cell["column"] for cell in cells))
    parts = [
        "# Report card",
        facts["verdict"],
        "## Right answers",
        SHARES,
        _table(cells, columns),
        *_by_corpus(facts.get("corpora", ()), columns),
        *_attribution(facts["attribution"]),
        "## Composition against the others",
        POINTS,
        _differences(facts["differences"], columns),
        *_leaked(leaks),
        *_swapped(facts),
        *_tasks(facts.get("why_not", {})),
        *_overlapping(facts.get("overlap")),
        *_reading(facts),
        *_judged(facts),
        *_costs(facts),
        "## What it was measured on",
        "\n".join(f"- {role}: `{digest}`" for role, digest in sorted(parents.items())),
        DRAWN.format(**facts),
        "## To repeat it",
        f"With the models and files of these digests:\n\n```sh\n{facts['command']}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _table(cells: Sequence[Row], columns: Sequence[str]) -> str:
    rows = dict.fromkeys((c["kind"], c["slice"]) for c in cells if c["slice"] != ALL)
    lines = [
        [named(kind), named(part), *(_told(cells, one, kind, part) for one in columns)]
        for kind, part in rows
    ]
    return _markdown(["kind", "slice", *(named(one) for one in columns)], lines)


def _told(cells: Sequence[Row], column: str, kind: str, part: str) -> str:
    cell = _cell(cells, column, kind, part)
    if cell is None:
        return "-"
    few = ", few" if cell["n"] < FEW else ""
    interval = f"{cell['low'] * 100:.0f} to {cell['high'] * 100:.0f}"
    return f"{cell['value'] * 100:.0f} ({interval}; n={cell['n']}{few})"


def _by_corpus(cells: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """Nothing where the questions are of one corpus."""
    if not cells:
        return []
    lines = []
    for corpus, kind in dict.fromkeys((cell["corpus"], cell["kind"]) for cell in cells):
        own = [cell for cell in cells if cell["corpus"] == corpus]
        told = [_told(own, one, kind, ALL) for one in columns]
        lines.append([corpus.replace("|", "/"), named(kind), *told])
    table = _markdown(["corpus", "kind", *(named(one) for one in columns)], lines)
    return ["## By corpus", CORPORA, table]


def _overlapping(told: Row | None) -> list[str]:
    """Nothing where it is not known what the bridges learned from."""
    if not told:
        return []
    words = [OVERLAP.format(**told)]
    if told["either"] and told["without"]:
        every, without = _in_words(told["all"]), _in_words(told["without"])
        words.append(f"The composition answers {every} of all of them and {without} of the others.")
    return ["## Contamination", " ".join(words)]


def _differences(rows: Sequence[Row], columns: Sequence[str]) -> str:
    places = dict.fromkeys((row["kind"], row["slice"]) for row in rows if row["slice"] != ALL)
    others = [one for one in columns if one != COMPOSITION]
    lines = [
        [named(kind), named(part), *(_points(rows, one, kind, part) for one in others)]
        for kind, part in places
    ]
    return _markdown(["kind", "slice", *(named(one) for one in others)], lines)


def _points(rows: Sequence[Row], column: str, kind: str, part: str) -> str:
    row = _cell(rows, column, kind, part)
    if row is None:
        return "-"
    return f"{row['value'] * 100:+.0f} ({row['low'] * 100:+.0f} to {row['high'] * 100:+.0f})"


def _attribution(rows: Sequence[Row]) -> list[str]:
    """Nothing where no control was trained, or nothing was gained."""
    lines = [
        f"- {named(row['kind'])}, {named(row['slice'])}: {row['value']:.2f} "
        f"({row['low']:.2f} to {row['high']:.2f}, n={row['n']})"
        for row in rows
        if row["slice"] != ALL
    ]
    if not lines:
        return []
    told = (
        "Share of the gain over the anchor that an augmenter of random weights does not give: "
        "(composition - random) / (composition - anchor)."
    )
    return ["## Attribution", told, "\n".join(lines)]


def _leaked(cells: Sequence[Row]) -> list[str]:
    """Nothing where nothing of the kind was asked."""
    if not cells:
        return []
    columns = list(dict.fromkeys(cell["column"] for cell in cells))
    return ["## What should not come out", LEAKED, _table(cells, columns)]


def _swapped(facts: Mapping[str, Any]) -> list[str]:
    told, why = facts.get("swapped"), facts.get("why_not", {}).get("swapped")
    if why:
        return ["## Edited facts", f"Not asked: {WHY_NOT[why]}."]
    if not told:
        return []
    recall = told.get("recall")
    words = "" if recall is None else f" (it then answered {recall:.0%} of its own questions)"
    return ["## Edited facts", SWAPPED.format(entities=told["entities"], recall=words)]


def _tasks(why_not: Mapping[str, str]) -> list[str]:
    """Why tasks of a folder have no row; nothing where all have one."""
    told = {kind: why for kind, why in why_not.items() if family(kind) == LM_EVAL}
    lines = [f"- {named(kind)} was not asked: {WHY_NOT[why]}." for kind, why in told.items()]
    return ["## Tasks of lm_eval", "\n".join(lines)] if lines else []


def _reading(facts: Mapping[str, Any]) -> list[str]:
    reads = facts.get("reads")
    if not reads:
        return []
    tried = ", ".join(f"{size}: {count}" for size, count in reads["right"].items())
    on = f"chosen on {reads['tried_on']} other questions (right with {tried})"
    how = "words and meaning" if reads["by_meaning"] else "words alone"
    told = (
        f"Whoever reads is given {reads['passages']} of {reads['of']} passages, found by {how}, "
        f"{on if reads['tried_on'] else 'not chosen'}."
    )
    return ["## Reading", told]


def _judged(facts: Mapping[str, Any]) -> list[str]:
    told = facts.get("judge")
    if not told:
        return []
    decided = (
        f"A model decided {told['decided']} answers that no rule could, each asked in both orders; "
        "where it contradicted itself the answer counts as wrong."
    )
    words = [decided, f"Of these it flipped {_share_in_words(told['flipped'])}."]
    if told["agreement"]["n"]:
        words.append(
            f"With people it agrees in {_share_in_words(told['agreement'])} of their labels "
            f"({told['false_accepts']} wrong ones accepted, {told['false_rejects']} right ones "
            f"rejected), and flips {_share_in_words(told['flips'])}."
        )
    else:
        words.append("It was not compared with people.")
    return ["## The judge", " ".join(words)]


def _costs(facts: Mapping[str, Any]) -> list[str]:
    """What each part weighs, and how fast everybody answered; nothing where it was not told."""
    costs = facts.get("costs")
    if not costs:
        return []
    lines = [
        [part, f"{costs['parameters'][part]:,}", f"{costs['cache'][part]:,}"]
        for part in costs["parameters"]
    ]
    weighed = _markdown(["part", "parameters", "bytes of cache a token"], lines)
    pace = [
        [named(name), f"{one['questions'] / one['seconds']:.2f}", f"{one['questions']:.0f}"]
        for name, one in facts["pace"].items()
        if one["seconds"] and "@" not in name
    ]
    ceiling = (
        "Where decoding is bound by reading weights, one answer alone comes at most at "
        f"{costs['ceiling']:.0%} of the bare anchor's pace."
    )
    told = "Questions a second in batches on the machine that asked, of so many asked in this run:"
    asked = [told, _markdown(["column", "a second", "n"], pace)] if pace else []
    return ["## What it costs", weighed, ceiling, *asked]


def _share_in_words(share: Row) -> str:
    return _in_words(share) if share["n"] else "none (n=0)"


def named(word: str) -> str:
    """The word that people read for a column, kind or slice."""
    if family(word) == LM_EVAL:  # its tasks keep the names that they have there
        return word.replace(":", ": ")
    if family(word) != word:
        return f"{family(word)}: {named(word.partition(':')[2])}"
    return NAMES.get(word, word.replace("_", " "))


def _markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(header)
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *lines))
