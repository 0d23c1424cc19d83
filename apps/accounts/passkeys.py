"""The shape of what a browser answers for a passkey, and what we ask beyond allauth's own checks.

Challenge, signature and relying party are allauth's and fido2's to verify (WebAuthn level 2, 7.1
and 7.2). Ours are: rubbish is refused in words, the answer was made on a page of this very site (a
sibling under the same domain may name the same relying party), and whoever comes in by a passkey
alone was verified by their device, whatever the challenge in the session was drawn for.
"""

from __future__ import annotations

from typing import Any

from allauth.core import context
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn import forms as webauthn
from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from fido2.utils import websafe_decode
from fido2.webauthn import AuthenticationResponse, RegistrationResponse

NAME = 60  # characters of what a person calls a passkey
TOO_LARGE = 20_000  # characters of an answer; real ones have some hundreds
UNREADABLE = (TypeError, ValueError, KeyError, AttributeError, IndexError)


def refusal() -> ValidationError:
    """One answer to every kind of wrong."""
    return ValidationError(
        gettext("This passkey did not fit. Try again, or sign in another way."), code="passkey"
    )


def read(kind: Any, credential: Any) -> Any:
    """What the browser sent, if it has the shape and was made on this site. Raises refusal()."""
    try:
        found = kind.from_dict(credential)
        origin = found.response.client_data.origin
    except UNREADABLE:
        raise refusal() from None
    if found is None or origin != context.request.build_absolute_uri("/").rstrip("/"):
        raise refusal()
    return found


class AnswerField(forms.JSONField):
    """The browser's answer, as JSON of a bounded size and depth."""

    widget = forms.HiddenInput

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and len(value) > TOO_LARGE:
            raise refusal()
        try:
            return super().to_python(value)
        except RecursionError:
            raise refusal() from None


class AddForm(webauthn.AddWebAuthnForm):  # type: ignore[misc]  # allauth is untyped
    """A new passkey, or a key that is a second factor alone."""

    name = forms.CharField(label=_("What you call it"), max_length=NAME, required=False)
    passwordless = forms.BooleanField(
        label=_("Sign in with it alone, without the password"),
        required=False,
        initial=True,
        help_text=_(
            "Your device then asks for a fingerprint, your face or its PIN. "
            "Otherwise it is asked for after the password."
        ),
    )
    credential = AnswerField()

    def clean_credential(self) -> Any:
        read(RegistrationResponse, self.cleaned_data["credential"])
        return self.cleaned_data["credential"]

    def clean(self) -> dict[str, Any]:
        try:
            cleaned: dict[str, Any] = super().clean()
        except UNREADABLE:  # an attestation that is none
            raise refusal() from None
        except ValidationError:
            raise refusal() from None
        return cleaned


class RenameForm(webauthn.EditWebAuthnForm):  # type: ignore[misc]  # allauth is untyped
    """What a person calls a passkey."""

    name = forms.CharField(label=_("What you call it"), max_length=NAME)


class SecondFactorForm(webauthn.AuthenticateWebAuthnForm):  # type: ignore[misc]  # allauth is untyped
    """A key after the password."""

    credential = AnswerField()

    def clean_credential(self) -> Authenticator:
        read(AuthenticationResponse, self.cleaned_data["credential"])
        try:
            return super().clean_credential()
        except ValidationError as error:
            if error.code == "incorrect_code":
                raise refusal() from None
            raise


class AgainForm(SecondFactorForm):
    """A key once more, before somebody changes how they sign in."""

    reauthenticated = True


class SignInForm(SecondFactorForm):
    """A passkey in place of a password: the device says who it is, and has verified them."""

    passwordless = True

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, user=None, **named)

    def clean_credential(self) -> Authenticator:
        found = read(AuthenticationResponse, self.cleaned_data["credential"])
        if not found.response.authenticator_data.is_user_verified():
            raise refusal()
        try:
            websafe_decode(self.cleaned_data["credential"]["response"]["userHandle"]).decode()
        except UNREADABLE:
            raise refusal() from None
        return super().clean_credential()
