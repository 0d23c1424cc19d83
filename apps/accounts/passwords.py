"""What no password may hold besides common words: names that everybody here knows."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.tenants.models import Tenant
from apps.tenants.scope import current_tenant

PRODUCT = "counterpoint"
SHORT = 4  # letters; a shorter name stands in many words by chance


class NoNamesOfOurs:
    """Refuses the names of the product, and of the organisations of whoever it is for.

    Of an organisation's name each word counts, and its short name.
    """

    def validate(self, password: str, user: User | None = None) -> None:
        """Raises ValidationError naming the word."""
        said = password.casefold()
        for word in sorted(names_around(user)):
            if word in said:
                raise ValidationError(
                    _("The password holds “%(word)s”, which is guessed first.") % {"word": word},
                    code="password_of_ours",
                )

    def get_help_text(self) -> str:
        return _("It does not hold the name of the product or of your organisation.")


def names_around(user: User | None) -> set[str]:
    """The words, in small letters."""
    here = current_tenant()
    tenants = {here} if here else set()
    if user is not None and not user._state.adding:
        tenants |= set(Tenant.objects.filter(memberships__user=user))
    said = {word for each in tenants for word in (*each.name.split(), each.slug)}
    return {PRODUCT} | {word.casefold() for word in said if len(word) >= SHORT}
