"""The shape of what people type to sign in, to name a key and to invite somebody."""

from __future__ import annotations

from django import forms
from django.contrib.auth.forms import AuthenticationForm

from apps.tenants.models import Role


class SignInForm(AuthenticationForm):
    """Address and password; one answer to both kinds of wrong: nobody learns who exists."""

    username = forms.EmailField(
        label="Email address", widget=forms.EmailInput(attrs={"autocomplete": "username"})
    )
    error_messages = {
        "invalid_login": "Address and password do not belong together. Check both and try again.",
        "inactive": "Address and password do not belong together. Check both and try again.",
    }


class KeyForm(forms.Form):
    """What a new key is for."""

    name = forms.CharField(
        label="What is it for?", max_length=80, help_text="Such as “reporting script”."
    )


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
