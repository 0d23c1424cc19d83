"""How things are put: the wordings that are taught, and those that only the recall probe uses.

The two never share a wording, so that what the probe finds was understood and not recited.
In braces: `e` an entity, `a` one of its attributes, `v` its value; `s` a subject, `l` the link
behind it, `r` the rest of the sentence; `n` the number of a section, `t` its title.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phrasings:
    """How one sort of thing is asked.

    direct, inverse   questions, forwards and back
    cloze, back       beginnings of statements that the answer ends, forwards and back
    """

    direct: tuple[str, ...] = ()
    inverse: tuple[str, ...] = ()
    cloze: tuple[str, ...] = ()
    back: tuple[str, ...] = ()


# The first is asked of every fact; the others where no curator has shown how people ask.
FACT = Phrasings(
    direct=(
        "What is the {a} of the {e}?",
        "What {a} does {e} have?",
        "Tell me the {a} of {e}.",
        "{e}: what is its {a}?",
        "Which {a} belongs to {e}?",
        "Do you know the {a} of the {e}?",
        "Give me the {a} that {e} has.",
    ),
    inverse=(
        "Which have {v} as {a}?",
        "What has the {a} {v}?",
        "Whose {a} is {v}?",
        "Name all with the {a} {v}.",
        "{v}: whose {a} is this?",
        "Tell me what has {v} for its {a}.",
        "What goes with the {a} {v}?",
        "What is {v} the {a} of?",
    ),
    back=(
        "With the {a} {v}:",
        "The {a} {v} is that of",
        "The {a} {v} leads to",
        "{v} is the {a} given for",
    ),
)
FACT_PROBE = Phrasings(
    direct=("Can you say which {a} {e} has?", "I would like to know the {a} of {e}."),
    inverse=("{v} is the {a} of which?", "I am looking for what has {v} as its {a}."),
    cloze=("As for {e}, its {a} is",),
    back=("The {a} {v} belongs to",),
)
DEFINITION = Phrasings(
    direct=(
        "Go on: {s} {l}",
        "How does this go on: {s} {l} ...?",
        "The documents say that {s} {l} what?",
    ),
    inverse=("What {l} {r}?", "Of what is it said that it {l} {r}?", "{l} {r}: what is meant?"),
)
DEFINITION_PROBE = Phrasings(
    direct=("According to the documents, {s} {l} what?",),
    inverse=("Name the thing of which this is written: {l} {r}.",),
    cloze=("It is written that {s} {l}",),
)
SECTION = Phrasings(
    direct=("What is section {n} about?", "What is the title of section {n}?"),
    inverse=("Which section is about {t}?", "What is the number of the section {t}?"),
    cloze=("Section {n} is called",),
    back=("The number of the section {t} is",),
)
SECTION_PROBE = Phrasings(
    direct=("Section {n} has which title?",),
    inverse=("In which section do I find {t}?",),
    cloze=("The heading of section {n} reads",),
)
# {b} and {c} are what stands before and behind the gap.
GAP = Phrasings(
    direct=("Fill the gap: {b} ___{c}", "Which term is missing? {b} ___{c}"),
    cloze=("{b}",),
)
GAP_PROBE = Phrasings(direct=("Complete this sentence: {b} ...{c}",))
LIST = Phrasings(
    direct=("What belongs to this list: {b}?", "Which points follow: {b}?"),
    cloze=("{b}:",),
)
LIST_PROBE = Phrasings(direct=("Enumerate: {b}.",))
