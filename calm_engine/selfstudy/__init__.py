"""Turn documents into lessons: statements and questions in several wordings. Standard library only.

Finds facts (entity, attribute, value) in tables, in "Key: value" lines under a title and in plain
sentences, and says each of them in many ways, the value right after the key, so that a small model
holds the value where the key stands. How people ask is learned from a curator's examples: their
questions, with the entity cut out, are asked of every entity that the documents describe. Prose
gives definitions, sections, lists and gaps (`claims`); a model may write more (`writing`, the one
module here that knows models and is imported by itself). Deterministic; knows no company.
"""

from calm_engine.selfstudy.facts import facts_in, merge
from calm_engine.selfstudy.nouns import KINDS, TAKEN, WRITTEN, Fact, Lesson, Source, Study, Wordings
from calm_engine.selfstudy.preparing import study
from calm_engine.selfstudy.words import tag_of

__all__ = [
    "KINDS",
    "TAKEN",
    "WRITTEN",
    "Fact",
    "Lesson",
    "Source",
    "Study",
    "Wordings",
    "facts_in",
    "merge",
    "study",
    "tag_of",
]
