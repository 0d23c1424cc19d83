from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.look.actions import NAME_LENGTH


class BrandForm(forms.Form):
    """How the product shows itself to the people of one tenant."""

    name = forms.CharField(
        label=_("Name"),
        max_length=NAME_LENGTH,
        required=False,
        help_text=_("Stands in the corner of every page in place of Counterpoint."),
    )
    colour = forms.CharField(
        label=_("Colour"),
        max_length=7,
        required=False,
        widget=forms.TextInput(attrs={"dir": "ltr", "placeholder": "#17625c"}),
        help_text=_(
            "# and six digits. Its hue is kept; its lightness is moved in each theme until "
            "everything written in it or on it can be read. Empty: the product's own."
        ),
    )
    logo = forms.FileField(
        label=_("Logo"),
        required=False,
        help_text=_("PNG or SVG, at most 256 kB. Scripts, styles and links in it are left out."),
    )
    removes_logo = forms.BooleanField(label=_("Take the logo away"), required=False)


class SpecimenForm(forms.Form):
    """One of each kind of field, for the page that shows the components."""

    name = forms.CharField(label=_("Name"), help_text=_("What people will see."))
    kind = forms.ChoiceField(
        label=_("Sensitivity"), choices=[("internal", _("internal")), ("secret", _("secret"))]
    )
    note = forms.CharField(label=_("Note"), widget=forms.Textarea(attrs={"rows": 2}))
    agreed = forms.BooleanField(label=_("Measure it beside search"))
