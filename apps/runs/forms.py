"""What a branch may change: the few settings that make sense in the middle of a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _


class BranchForm(forms.Form):
    """From which checkpoint, and with what; an empty field keeps what the run had."""

    step = forms.TypedChoiceField(label=_("From the checkpoint of step"), coerce=int)
    learning_rate = forms.FloatField(
        label=_("Learning rate"),
        required=False,
        min_value=1e-7,
        max_value=1.0,
        help_text=_("Empty: as it was."),
    )
    steps = forms.IntegerField(
        label=_("Steps in all"), required=False, min_value=1, help_text=_("Empty: as it was.")
    )

    def __init__(self, steps: Sequence[int], *args: Any, **kwargs: Any) -> None:
        """`steps`: of the checkpoints that are there."""
        super().__init__(*args, **kwargs)
        step = self.fields["step"]
        assert isinstance(step, forms.TypedChoiceField)
        step.choices = [(each, str(each)) for each in steps]

    def clean(self) -> dict[str, Any]:
        asked: dict[str, Any] = super().clean() or {}
        steps, begin = asked.get("steps"), asked.get("step")
        if steps and begin and steps <= begin:
            self.add_error("steps", _("Must be more than the step it begins at."))
        return asked

    def changes(self) -> dict[str, Any]:
        """The fields of the spec that differ."""
        names = ("learning_rate", "steps")
        return {name: self.cleaned_data[name] for name in names if self.cleaned_data.get(name)}
