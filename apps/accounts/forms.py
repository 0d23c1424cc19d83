"""The shape of what people type to sign in, to name a key and to invite somebody."""

from __future__ import annotations

from typing import Any

from allauth.mfa.utils import is_mfa_enabled
from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Quota, Scope, every_scope
from apps.audit.models import Approval
from apps.tenants.models import Role, Tenant
from apps.tenants.ways import own_providers

UPPER_END = _(
    "By the upper end of the interval: where none of 24 came out, that is 14. 100 asks for "
    "nothing; below it a model that was not asked does not pass."
)


class SignInForm(AuthenticationForm):
    """Address and password; one answer to both kinds of wrong: nobody learns who exists."""

    username = forms.EmailField(
        label=_("Email address"), widget=forms.EmailInput(attrs={"autocomplete": "username"})
    )
    error_messages = dict.fromkeys(
        ("invalid_login", "inactive"),
        _("Address and password do not belong together. Check both and try again."),
    )


class KeyForm(forms.Form):
    """What a new key is for, how long it works and what it is good for."""

    name = forms.CharField(
        label="What is it for?", max_length=80, help_text="Such as “reporting script”."
    )
    days = forms.TypedChoiceField(
        label="It works for",
        coerce=int,
        required=False,
        empty_value=None,
        choices=[(30, "30 days"), (90, "90 days"), (365, "a year")],
        initial=90,
    )
    scopes = forms.MultipleChoiceField(
        label="It may",
        required=False,
        choices=Scope.choices,
        initial=every_scope,
        widget=forms.CheckboxSelectMultiple,
    )
    only_models = forms.CharField(
        label="Only these models",
        required=False,
        max_length=400,
        help_text="Their names, separated by commas; empty: every model that you may use.",
    )

    def clean_scopes(self) -> list[str]:
        return self.cleaned_data["scopes"] or every_scope()

    def clean_only_models(self) -> list[str]:
        words = self.cleaned_data["only_models"].split(",")
        return [word.strip()[:120] for word in words if word.strip()]


class RulesForm(forms.Form):
    """The rules of the organisation."""

    four_eyes = forms.MultipleChoiceField(
        label="A second person must agree to",
        required=False,
        choices=[choice for choice in Approval.Kind.choices if choice[0] != "break_glass"],
        widget=forms.CheckboxSelectMultiple,
        help_text="Reading somebody's conversation always needs one.",
    )
    show_locked_models = forms.BooleanField(
        label="People see the names of live models that they may not use, and what they lack",
        required=False,
    )
    require_mfa = forms.BooleanField(
        label="Everybody signs in with a second factor", required=False
    )
    sso_only = forms.BooleanField(
        label="People sign in by the organisation's own provider alone", required=False
    )
    emergency = forms.MultipleChoiceField(
        label="Emergency accounts",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Curators who get in by password and second factor while the provider is away. "
        "Each time is a line in the audit log.",
    )
    conversation_days = forms.IntegerField(
        label="Conversations are deleted after so many days without a question",
        min_value=0,
        max_value=3650,
        help_text="0 keeps them until their owner deletes them.",
    )
    keep_forgotten_answers = forms.BooleanField(
        label="Answers of models that learned what is forgotten are kept, shut to everybody",
        required=False,
        help_text="Otherwise a forget plan destroys them with the questions that they answer.",
    )
    least_recall = forms.IntegerField(
        label="A private model is composed when it answers so many percent of its own questions",
        min_value=0,
        max_value=100,
        help_text="0 composes it whatever it knows.",
    )
    least_private = forms.IntegerField(
        label="A model passes when it answers so many percent of the private questions kept back",
        min_value=0,
        max_value=100,
        help_text="0 asks only that it beats the anchor.",
    )
    most_public_lost = forms.IntegerField(
        label="A model passes when it loses at most so many points in public questions",
        min_value=0,
        max_value=100,
    )
    most_verbatim = forms.IntegerField(
        label=_(
            "It passes when it goes on word for word in at most so many percent of the passages "
            "whose beginning it is given"
        ),
        min_value=0,
        max_value=100,
        help_text=UPPER_END,
    )
    most_canaries = forms.IntegerField(
        label=_(
            "It passes when it says at most so many percent of the secrets planted in what it "
            "learned"
        ),
        min_value=0,
        max_value=100,
        help_text=UPPER_END,
    )
    most_other_corpus = forms.IntegerField(
        label=_(
            "It passes when it answers at most so many percent of questions about a corpus that "
            "it never learned"
        ),
        min_value=0,
        max_value=100,
        help_text=UPPER_END,
    )
    reason = forms.CharField(
        label="Reason",
        max_length=400,
        required=False,
        help_text="Needed where a second person must agree to a change of rules.",
    )

    def __init__(self, *args: Any, tenant: Tenant, **named: Any) -> None:
        super().__init__(*args, **named)
        self.tenant = tenant
        self.curators = {
            str(each.user_id): each.user
            for each in tenant.memberships.filter(role=Role.CURATOR).select_related("user")
            if each.user.has_usable_password()
        }
        field = self.fields["emergency"]
        assert isinstance(field, forms.MultipleChoiceField)
        # Isolated as U+2068 and U+2069 do: a name may run, or turn, the other way.
        field.choices = [
            (code, f"\u2068{u.name}\u2069 ({u.email})") for code, u in self.curators.items()
        ]

    def clean_emergency(self) -> list[str]:
        chosen = sorted(self.cleaned_data["emergency"])
        for each in (self.curators[code] for code in chosen):
            if not is_mfa_enabled(each):
                raise forms.ValidationError(
                    f"{each.name} has no second factor yet. They set one up first."
                )
        return chosen

    def clean(self) -> dict[str, Any]:
        """Nobody locks everybody out."""
        cleaned = super().clean() or {}
        if cleaned.get("sso_only"):
            if not own_providers(self.tenant):
                self.add_error("sso_only", "Here no provider is set up: nobody could get in.")
            if cleaned.get("emergency") == []:
                self.add_error(
                    "emergency",
                    "Name an emergency account: else nobody gets in while the provider is away.",
                )
        return cleaned


class QuotaForm(forms.Form):
    """A limit for a person, a group or everybody."""

    kind = forms.ChoiceField(label="Limit", choices=Quota.Kind.choices)
    whom = forms.ChoiceField(label="For", required=False)
    amount = forms.IntegerField(label="At most", min_value=0, max_value=10**12)

    def __init__(self, *args: Any, whom: list[tuple[str, str]], **named: Any) -> None:
        super().__init__(*args, **named)
        field = self.fields["whom"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = whom


class InviteForm(forms.Form):
    """A person, their role, and a first password to hand over."""

    name = forms.CharField(label="Name", max_length=120)
    email = forms.EmailField(label="Email address")
    role = forms.ChoiceField(label="Role", choices=Role.choices)
    password = forms.CharField(
        label="First password",
        min_length=12,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="At least 12 characters. Somebody who is known already keeps their own.",
    )

    def clean_email(self) -> str:
        """Plain ASCII alone: other letters have twins, and some become ASCII when made small."""
        address: str = self.cleaned_data["email"]
        if not address.isascii():
            raise forms.ValidationError("Write the address in plain letters, without accents.")
        return address
