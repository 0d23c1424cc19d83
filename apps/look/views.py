"""How the product looks: every component on one living page, and a tenant's own brand."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_safe

from apps.look.actions import KIND, brand_of, change_brand
from apps.look.colours import palette
from apps.look.forms import BrandForm, SpecimenForm
from apps.tenants.access import MemberRequest, member
from apps.tenants.models import Role
from calm_engine.errors import InputError
from counterpoint.keyset import Order, Page
from counterpoint.storage import blobs
from counterpoint.wording import sentence

A_YEAR = "private, max-age=31536000, immutable"  # the address changes with the content
STEPS = [
    {"name": "Snapshot", "state": "done"},
    {"name": "Augmenter", "state": "busy", "word": "62 %"},
    {"name": "Bridges", "state": "waiting"},
    {"name": "Evaluation", "state": "bad"},
]
STATES = ("ok", "busy", "queued", "starved", "paused", "stuck", "warn", "bad", "stopped", "off")
ORDERS = Order("name", gettext_lazy("name"), ()), Order("new", gettext_lazy("newest"), ())
ICONS = (
    *("home", "chat", "corpus", "teach", "run", "model", "people", "audit", "key", "search"),
    *("menu", "sun", "moon", "system", "leave", "upload", "send", "stop", "copy", "down"),
    *("plus", "lock"),
)
REFERENCE = "7f3a-21c9"
LEARNED = [
    {"label": "Valves", "before": 12.5, "now": 97.5, "right": 39, "asked": 40},
    {"label": "Pumps", "before": None, "now": 90.0, "right": 9, "asked": 10},
]


@require_http_methods(["GET", "POST"])
@member(Role.CURATOR)
def brand(request: MemberRequest) -> HttpResponse:
    """Name, colour and logo; what is refused is said beside its field and nothing changes."""
    now = brand_of(request.tenant)
    initial = {name: now[name] for name in ("name", "colour")}
    form = BrandForm(request.POST or None, request.FILES or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        told = form.cleaned_data
        logo = told["logo"].read() if told["logo"] else b""
        wanted = {name: told[name] for name in ("name", "colour", "removes_logo")}
        try:
            change_brand(request.tenant, **wanted, logo=logo, by=request.user)
        except InputError as error:
            form.add_error(error.code.partition(".")[0] if logo else "colour", sentence(error))
        else:
            messages.success(request, _("Everybody sees it from their next page on."))
            return redirect("look:brand")
    return render(request, "look/brand.html", {"form": form})


@require_safe
@member()
def stylesheet(request: MemberRequest) -> HttpResponse:
    """The tokens that the tenant's colour replaces."""
    colour = brand_of(request.tenant)["colour"]
    text = palette(colour).stylesheet() if colour else ""
    return HttpResponse(text, content_type="text/css", headers={"Cache-Control": A_YEAR})


@require_safe
@member()
def logo(request: MemberRequest) -> HttpResponse:
    """The tenant's logo, as it was made harmless."""
    now = brand_of(request.tenant)
    if not now["logo"]:
        raise Http404("This tenant has no logo of its own.")
    with blobs().open(KIND, now["logo"]) as file:
        body = file.read()
    headers = {"Cache-Control": A_YEAR, "X-Content-Type-Options": "nosniff"}
    return HttpResponse(body, content_type=now["media_type"], headers=headers)


@require_safe
@member()
def components(request: MemberRequest) -> HttpResponse:
    """Every component in both themes at once, made by the very templates that pages use."""
    return render(
        request,
        "look/components.html",
        {
            "sides": [specimens(theme) for theme in ("light", "dark")],
            "icons": ICONS,
            "learned": LEARNED,
            "page": Page(["Valves"], "a", "b", ORDERS[0], ORDERS),
        },
    )


def specimens(theme: str) -> dict[str, Any]:
    """The same components once more; ids differ, so that labels find their fields."""
    return {
        "theme": theme,
        "form": SpecimenForm(auto_id=f"{theme}_%s", initial={"name": "Valves"}),
        "refused": SpecimenForm({"name": ""}, auto_id=f"{theme}_refused_%s")["name"],
        "steps": STEPS,
        "states": STATES,
        "reference": REFERENCE,
    }
