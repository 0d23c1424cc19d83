"""What the audit log can be narrowed to."""

from __future__ import annotations

from django import forms


class FilterForm(forms.Form):
    """All optional; dates are days in the site's time zone, both included."""

    action = forms.CharField(label="Action", required=False, max_length=60)
    person = forms.CharField(label="Person", required=False, max_length=120)
    since = forms.DateField(
        label="From", required=False, widget=forms.DateInput(attrs={"type": "date"})
    )
    until = forms.DateField(
        label="To", required=False, widget=forms.DateInput(attrs={"type": "date"})
    )
