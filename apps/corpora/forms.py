"""What people fill in about corpora. Knows the shape of input, not who may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.corpora.models import Policy, Right, Sensitivity
from apps.tenants.models import Group, Membership
from apps.tenants.scope import current_tenant

if TYPE_CHECKING:
    from apps.accounts.models import User


class CorpusForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=120)
    description = forms.CharField(
        label=_("What is in it"), required=False, widget=forms.Textarea(attrs={"rows": 3})
    )
    sensitivity = forms.ChoiceField(
        label=_("Sensitivity"), choices=Sensitivity, initial=Sensitivity.INTERNAL
    )


class FreezeForm(forms.Form):
    note = forms.CharField(label=_("Note"), max_length=300, required=False)


class PolicyForm(forms.Form):
    """What becomes of what the detectors find, a choice for each group of them."""

    contact = forms.ChoiceField(
        label=_("E-mail addresses and telephone numbers"), choices=Policy, initial=Policy.ALLOW
    )
    identity = forms.ChoiceField(
        label=_("Bank accounts, payment cards and numbers that identify a person"),
        choices=Policy,
        initial=Policy.FLAG,
    )
    secret = forms.ChoiceField(label=_("Keys and passwords"), choices=Policy, initial=Policy.FLAG)


class KeepingForm(forms.Form):
    """How long a corpus keeps what was withdrawn from it."""

    days = forms.IntegerField(
        label=_("Delete withdrawn documents after days"),
        help_text=_("0: never by themselves. A legal hold, and what a snapshot names, stays."),
        min_value=0,
        max_value=36_500,
    )


class GrantForm(forms.Form):
    """Who gets which right: a person or a group of this tenant, told apart by a prefix."""

    to = forms.ChoiceField(label=_("Person or group"))
    right = forms.ChoiceField(label=_("Right"), choices=Right, initial=Right.READ)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        members = Membership.objects.filter(tenant=current_tenant()).select_related("user")
        named = members.only("tenant", "user__name", "user__email")
        self.people = {str(one.user_id): one.user for one in named}
        self.groups = {str(group.pk): group for group in Group.objects.all()}
        self.fields["to"].choices = [  # type: ignore[attr-defined]  # a ChoiceField
            (_("People"), [(f"user:{k}", str(user)) for k, user in self.people.items()]),
            (_("Groups"), [(f"group:{k}", group.name) for k, group in self.groups.items()]),
        ]

    def chosen(self) -> User | Group:
        kind, _colon, key = self.cleaned_data["to"].partition(":")
        return self.people[key] if kind == "user" else self.groups[key]
