"""What a plan is started with: a snapshot, an anchor, a name and a preset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Exists, OuterRef
from django.db.models.functions import JSONObject
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import User
from apps.corpora.models import Snapshot
from apps.registry.models import Anchor
from apps.teaching.kinds import CHOICES
from apps.teaching.models import Plan
from apps.teaching.presets import PRESETS, STANDARD
from apps.teaching.sizes import CHOICES as SIZES

PLANS = 10

if TYPE_CHECKING:
    ModelChoice = forms.ModelChoiceField[Any]
else:
    ModelChoice = forms.ModelChoiceField  # generic for the checker alone


def plans_of() -> ArraySubquery:
    """The newest plans of a snapshot, for a list of links: one question for all snapshots."""
    rows = Plan.objects.filter(snapshot=OuterRef("pk")).order_by("-created_at")
    told = JSONObject(id="pk", name="name", at="created_at")
    return ArraySubquery(rows.values(told=told)[:PLANS])


class SnapshotChoice(ModelChoice):
    def label_from_instance(self, row: Any) -> str:
        return f"{row.names}, {row.created_at:%Y-%m-%d} ({row.short})"


class PlanForm(forms.Form):
    """Offers only snapshots of corpora all of which this person may curate."""

    name = forms.CharField(
        label=_("Name of the model"),
        max_length=120,
        help_text=_("Another plan of the same name makes the next version."),
    )
    preset = forms.ChoiceField(
        label=_("How long to learn"),
        choices=[(preset.name, preset.label) for preset in PRESETS.values()],
        initial=STANDARD.name,
        widget=forms.RadioSelect,
    )
    writes = forms.BooleanField(
        label=_("Let the anchor write further questions and notes"),
        required=False,
        help_text=_(
            "It reads each passage and writes from it; what the passage does not bear out is "
            "dropped. Hours without an accelerator; unchanged documents are not read again."
        ),
    )
    rivals = forms.BooleanField(
        label=_("Measure it beside search (RAG) and fine-tuning (LoRA)"),
        required=False,
        initial=True,
        help_text=_(
            "The report then shows what these would have given with the same documents. It asks "
            "every question four more times, with passages to read; it plants made-up secrets and "
            "asks for them; and it teaches the augmenter edited documents, which takes as long as "
            "teaching it did."
        ),
    )
    general = forms.BooleanField(
        label=_("Mix in some general text"),
        required=False,
        initial=True,
        help_text=_(
            "A model that reads nothing but your documents loses the language around them. About a "
            "tenth of what it reads are then short texts on everyday things that come with "
            "Counterpoint, less beside a large corpus: none is read more often than a document. "
            "Learning takes up to a tenth longer."
        ),
    )
    follows = forms.BooleanField(
        label=_("Let the bridges also learn what the anchor says with the passage in view"),
        required=False,
        help_text=_(
            "Where it would say an example's answer, what else it thinks of is learned as well. "
            "Each example is read once more, with its passage. What this gives is not measured."
        ),
    )
    sieve = forms.BooleanField(
        label=_("Leave out examples that teach the bridges nothing (three-way test)"),
        required=False,
        help_text=_(
            "An example stays where the anchor answers it with the passage and not alone, and the "
            "augmenter knows its fact. A small anchor that reads badly leaves few. The page of the "
            "run tells how many went, and why; questions that are kept back stay as they are."
        ),
    )
    judge = forms.ChoiceField(
        label=_("Who decides long answers that no rule can"),
        required=False,
        help_text=_(
            "It is asked twice, in both orders; where it contradicts itself the answer is wrong. "
            "The report tells how many it decided and how often it flipped."
        ),
    )
    # Drawn beside the form, where they are reckoned anew for each snapshot.
    without = forms.MultipleChoiceField(choices=CHOICES, required=False)
    size = forms.ChoiceField(choices=SIZES, required=False)
    begin = forms.CharField(required=False, max_length=60)

    def __init__(self, *args: Any, by: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        readable = Snapshot.objects.visible_to(by).filter(pk=OuterRef("pk"))
        offered = Snapshot.objects.curatable_by(by).select_related("corpus")
        offered = offered.annotate(may_read=Exists(readable), told=plans_of())
        self.fields["snapshot"] = SnapshotChoice(
            label=_("What to learn"), queryset=offered, empty_label=None
        )
        self.fields["anchor"] = ModelChoice(
            label=_("Anchor"), queryset=Anchor.objects.all(), empty_label=None
        )
        self.order_fields(["snapshot", "anchor"])
        # Asked once, for the page, for its lists and for what is chosen.
        self.offered: list[Any] = list(offered)  # each with `may_read`, and `told` of its plans
        self.anchors = list(Anchor.objects.all())
        self._list("snapshot", self.offered)
        self._list("anchor", self.anchors)
        judges = self.fields["judge"]
        assert isinstance(judges, forms.ChoiceField)
        judges.choices = [("", _("Nobody: rules alone")), *self._named("anchor", self.anchors)]

    def _list(self, name: str, rows: Sequence[Any]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ModelChoiceField)
        field.choices = self._named(name, rows)

    def _named(self, name: str, rows: Sequence[Any]) -> list[tuple[str, str]]:
        field = self.fields[name]
        assert isinstance(field, forms.ModelChoiceField)
        return [(str(row.pk), field.label_from_instance(row)) for row in rows]
