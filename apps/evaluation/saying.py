"""What a report says in sentences beside its tables. Knows no page."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.evaluation.matrix import TASK, named
from apps.evaluation.models import Report

WHY_NOT = {
    "large": gettext_lazy("the documents are too many to be taught twice"),
    "nobody": gettext_lazy(
        "no two entities that no bridge has met stand in the documents with other answers"
    ),
}


def edited(report: Report) -> str:
    """How facts were edited, or why not; "" where nobody asked for it."""
    told = report.figures.get("swapped")
    why = report.figures.get("why_not", {}).get("swapped")
    if why:
        return _("Facts were not edited: %(why)s.") % {"why": WHY_NOT.get(why, why)}
    if not told:
        return ""
    return _(
        "%(count)s entities that no bridge has met exchanged their names in all documents, and the "
        "augmenter alone learned these; the bridges stayed. In the rows of edited facts the new "
        "documents are right: the composition on edited facts should follow them. In the others "
        "it should not be right any more, since its augmenter learned something else."
    ) % {"count": told["entities"]}


def reading(report: Report) -> str:
    """What was given to whoever reads, and how that was chosen; "" where nobody read."""
    told = report.figures.get("reads")
    if not told:
        return ""
    facts = {"passages": told["passages"], "of": told["of"], "tried": told["tried_on"]}
    how = (
        _("Whoever reads is given %(passages)s of %(of)s passages, found by words and meaning.")
        if told.get("by_meaning")
        else _("Whoever reads is given %(passages)s of %(of)s passages, found by words alone.")
    )
    if not told["tried_on"]:
        return how % facts
    return f"{how % facts} {_('How many was chosen on %(tried)s other questions.') % facts}"


def tasks(report: Report) -> str:
    """Which tasks of lm_eval were not asked, and why; "" where none was wanted or all were."""
    told = report.figures.get("why_not", {})
    why = {
        "missing": _("lm_eval is not installed on the machine that measured"),
        "unmarked": _("it does not say right or wrong of each question"),
    }
    found = [(kind, why.get(told[kind], told[kind])) for kind in told if kind.startswith(TASK)]
    words = _("%(task)s was not asked: %(why)s.")
    return " ".join(words % {"task": named(kind), "why": reason} for kind, reason in found)


def overlap(report: Report) -> str:
    """What held-out questions share with what was learned; "" where that was not looked for."""
    told = report.figures.get("overlap")
    if not told:
        return ""
    words = _(
        "Of %(of)s questions kept back %(run)s share %(words)s words in a row with one of "
        "%(taught)s examples that the bridges learned from, and %(near)s are nearly the same text."
    )
    found: str = words % told
    if not told["either"] or not told["without"]:
        return found
    shares = {"all": _share(told["all"]), "without": _share(told["without"])}
    without = _("The composition answers %(all)s of all of them and %(without)s of the others.")
    return f"{found} {without % shares}"


def judge(report: Report) -> str:
    """What a model decided where no rule could, and what its word is worth; "" without one."""
    told = report.figures.get("judge")
    if not told:
        return ""
    flipped, agreement = told["flipped"], told["agreement"]
    facts = {"count": told["decided"], "flips": _share(flipped)}
    words = (
        _("A model decided %(count)s answers that no rule could; of these it flipped %(flips)s.")
        % facts
    )
    if not agreement["n"]:
        return f"{words} {_('It was not compared with people.')}"
    with_people = _("With people it agrees in %(share)s of their labels.")
    return f"{words} {with_people % {'share': _share(agreement)}}"


def _share(share: dict[str, float]) -> str:
    """Such as "94% (88 to 97, n=60)"; of nothing asked, a dash."""
    if not share["n"]:
        return "\N{EN DASH}"
    interval = f"{share['low'] * 100:.0f} {_('to')} {share['high'] * 100:.0f}"
    return f"{share['value']:.0%} ({interval}, n={share['n']})"
