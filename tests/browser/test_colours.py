"""The tokens hold WCAG AA in both themes: text 4.5 to 1 on its ground, control borders 3 to 1."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOKENS = Path(__file__).resolve().parents[2] / "platform/frontend/src/styles/tokens.css"
PAIR = re.compile(r"--([\w-]+):\s*light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)")
COLOURS = {name: (light, dark) for name, light, dark in PAIR.findall(TOKENS.read_text())}
GROUNDS = ("canvas", "surface", "surface-sunken", "surface-raised", "rail")
INKS = ("ok", "busy", "warn", "bad", "off")
TEXT = [
    *((ink, ground) for ink in ("text", "text-soft", "accent") for ground in GROUNDS),
    *((ink, f"{ink}-soft") for ink in INKS),
    *(("text", f"{ink}-soft") for ink in INKS),
    *((ink, "surface") for ink in INKS),
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
    ("accent-strong", "accent-soft"),
    ("text", "accent-soft"),
    ("text", "hover"),
    ("text-soft", "hover"),
]
LINES = [
    *(("line-control", ground) for ground in ("canvas", "surface")),
    *((f"voice-{n}", "surface") for n in ("one", "two", "three", "four")),
]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "ground", "least"), [(*p, 4.5) for p in TEXT] + [(*p, 3) for p in LINES]
)
def test_ink_stands_out_from_its_ground(ink: str, ground: str, least: float, theme: int) -> None:
    assert contrast(COLOURS[ink][theme], COLOURS[ground][theme]) >= least


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_white_stands_out_on_the_danger_button(theme: int) -> None:
    assert contrast("#ffffff", COLOURS["danger"][theme]) >= 4.5
