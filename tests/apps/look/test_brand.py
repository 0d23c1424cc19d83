"""A tenant's own name, colour and logo: any colour can be read, no file does harm."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from apps.audit.models import AuditEvent
from apps.look.colours import LEAST, Theme, contrast, palette
from apps.look.logos import cleaned
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from tests.browser.test_colours import COLOURS, GROUNDS
from tests.cast import Cast

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8">%s</svg>'


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(side: int = 8) -> bytes:
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes((side + 1) * side))
    parts = [(b"IHDR", head), (b"tEXt", b"by\0nobody"), (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@given(colour=st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}"))
def test_every_colour_can_be_read_in_both_themes(colour: str) -> None:
    made = palette(colour)
    for which, theme in enumerate((made.light, made.dark)):
        grounds = [COLOURS[ground][which] for ground in GROUNDS]
        assert least_of(theme, grounds, COLOURS["text"][which]) >= LEAST, (colour, theme)


def least_of(theme: Theme, grounds: list[str], text: str) -> float:
    pairs = [
        *((theme.accent, ground) for ground in grounds),
        (theme.accent, theme.soft),
        (theme.strong, theme.soft),
        (theme.on, theme.accent),
        (theme.on, theme.strong),
        (text, theme.soft),
    ]
    return min(contrast(*pair) for pair in pairs)


@pytest.mark.parametrize(
    "harm",
    [
        b"<script>alert(1)</script>",
        b'<path d="M0 0" onload="alert(1)"/>',
        b'<image href="http://elsewhere.example/a.png"/>',
        b'<rect fill="url(http://elsewhere.example/#a)"/>',
        b"<style>*{background:url(http://elsewhere.example)}</style>",
        b'<foreignObject><body xmlns="http://www.w3.org/1999/xhtml">hm</body></foreignObject>',
        b'<a href="javascript:alert(1)"><path d="M0 0"/></a>',
        b'<use href="#a"/>',
        b'<path d="M0 0" style="fill:url(http://elsewhere.example)"/>',
    ],
)
def test_what_is_harmful_in_a_logo_is_left_out(harm: bytes) -> None:
    clean, kind = cleaned(SVG % (b'<path d="M0 0h8" fill="url(#a)"/>' + harm))
    assert kind == "image/svg+xml"
    assert b'd="M0 0h8" fill="url(#a)"' in clean
    for word in (b"script", b"elsewhere", b"onload", b"style", b"alert", b"href", b"hm"):
        assert word not in clean


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"GIF89a", "logo.kind"),
        (b'<!DOCTYPE svg [<!ENTITY a "b">]>' + SVG % b"<path/>", "logo.broken"),
        (SVG % b"<script/>", "logo.broken"),
        (SVG % b"<path>", "logo.broken"),
        (b"<svg><path/></svg>", "logo.broken"),
        (png()[:-20], "logo.broken"),
        (png().replace(b"IDAT", b"IDAU"), "logo.broken"),
        (png(1025), "logo.size"),
        (png() + b"0" * 300_000, "logo.size"),
    ],
)
def test_what_is_no_logo_is_refused(raw: bytes, code: str) -> None:
    with pytest.raises(InputError) as refused:
        cleaned(raw)
    assert refused.value.code == code


def test_a_picture_keeps_its_pixels_and_loses_its_remarks() -> None:
    clean, kind = cleaned(png() + b"<script>after the end</script>")
    assert kind == "image/png"
    assert b"nobody" not in clean
    assert b"script" not in clean
    assert clean == cleaned(clean)[0]


@pytest.fixture
def ada(cast: Cast) -> Client:
    return cast.client(cast.ada)


def test_everybody_of_the_tenant_sees_its_brand_and_nobody_else(cast: Cast, ada: Client) -> None:
    picture = SimpleUploadedFile("logo.svg", SVG % b'<path d="M0 0h8"/>')
    told = {"name": "Meridian  Ask", "colour": "#AA0000", "logo": picture}
    assert ada.post("/look/", told, follow=True).status_code == 200
    page = cast.client(cast.bo).get("/").content.decode()
    assert "Meridian Ask</span>" in page
    assert "<title>Home · Meridian Ask</title>" in page
    assert "/look/brand.css?v=aa0000" in page
    assert "--accent: light-dark(#" in cast.client(cast.bo).get("/look/brand.css").content.decode()
    logo = cast.client(cast.bo).get("/look/logo")
    assert (logo["Content-Type"], logo["X-Content-Type-Options"]) == ("image/svg+xml", "nosniff")
    assert "Meridian" not in cast.client(cast.cy).get("/").content.decode()
    assert cast.client(cast.cy).get("/look/logo").status_code == 404
    with tenant_scope(cast.north):
        assert AuditEvent.objects.filter(action="brand.change").count() == 1
    ada.post("/look/", {"name": "", "colour": "", "removes_logo": "on"})
    assert cast.client(cast.bo).get("/look/logo").status_code == 404


def test_a_refused_brand_says_why_and_changes_nothing(cast: Cast, ada: Client) -> None:
    page = ada.post("/look/", {"name": "New", "colour": "teal"}).content.decode()
    assert "Give the colour as # and six digits" in page
    broken = SimpleUploadedFile("logo.png", b"no picture")
    page = ada.post("/look/", {"name": "New", "logo": broken}).content.decode()
    assert "A logo is a PNG or an SVG" in page
    assert "brand" not in type(cast.north).objects.get(pk=cast.north.pk).settings
    assert cast.client(cast.bo).get("/look/").status_code == 403


def test_the_living_page_shows_each_component_in_both_themes(cast: Cast) -> None:
    page = cast.client(cast.bo).get("/look/components/").content.decode()
    for word in (
        'class="skeleton"',
        'class="strip"',
        'class="empty"',
        'data-kind="error"',
        "<table>",
    ):
        assert page.count(word) >= 2, word


def test_the_living_page_shows_every_component() -> None:
    root = Path(__file__).resolve().parents[3]
    pages = [
        root / f"apps/look/templates/look/{name}.html" for name in ("components", "_specimens")
    ]
    shown = "".join(each.read_text("utf-8") for each in pages)
    known = {each.stem for each in (root / "platform/templates/components").glob("*.html")}
    assert {name for name in known if f"<c-{name} " not in shown} == set()
