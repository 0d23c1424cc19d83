"""One colour of a company, made into those of both themes so that every pair can be read.

The hue stays; lightness moves until text holds WCAG AA, 4.5 to 1, on every ground it may stand on.
Knows no tenant and no page. Colours are "#rrggbb". OKLCH after Björn Ottosson, "A perceptual color
space for image processing" (2020).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from calm_engine.errors import InputError

HEX = re.compile(r"#[0-9a-fA-F]{6}\Z")
LEAST = 4.5
# The grounds of tokens.css on which an accent may stand.
LIGHT = ("#faf7f2", "#ffffff", "#f3eee6", "#f4efe7")
DARK = ("#191715", "#211f1c", "#282522", "#2b2825", "#141210")
STEP = 0.005

Rgb = tuple[float, float, float]  # linear, 0 to 1


@dataclass(frozen=True)
class Theme:
    """The four roles of one theme: what is pressed, the same stronger, its ground, ink upon it."""

    accent: str
    strong: str
    soft: str
    on: str


@dataclass(frozen=True)
class Palette:
    light: Theme
    dark: Theme

    def stylesheet(self) -> str:
        """The tokens of tokens.css that this palette replaces."""
        pairs = {
            "accent": (self.light.accent, self.dark.accent),
            "accent-strong": (self.light.strong, self.dark.strong),
            "accent-soft": (self.light.soft, self.dark.soft),
            "on-accent": (self.light.on, self.dark.on),
            "voice-one": (self.light.accent, self.dark.accent),
        }
        lines = [f"  --{name}: light-dark({one}, {two});" for name, (one, two) in pairs.items()]
        return "\n".join([":root {", *lines, "}", ""])


def palette(colour: str) -> Palette:
    """Both themes from one colour. Raises InputError("brand.colour") when it is none."""
    if not HEX.match(colour):
        raise InputError("brand.colour")
    lightness, chroma, hue = oklch(linear(colour))
    return Palette(
        _theme(lightness, chroma, hue, grounds=LIGHT, on="#ffffff", way=-1),
        _theme(lightness, chroma, hue, grounds=DARK, on="", way=1),
    )


def _theme(
    lightness: float,
    chroma: float,
    hue: float,
    *,
    grounds: Sequence[str],
    on: str,
    way: int,
) -> Theme:
    """Move away from the grounds, darker (-1) or lighter (1), until all pairs hold."""
    soft = (
        _coloured(0.94, min(chroma, 0.03), hue)
        if way < 0
        else _coloured(0.31, min(chroma, 0.05), hue)
    )
    on = on or _coloured(0.22, min(chroma, 0.04), hue)
    at = min(lightness, 0.62) if way < 0 else max(lightness, 0.68)
    accent = _coloured(at, chroma, hue)
    while min(contrast(accent, ground) for ground in (*grounds, soft, on)) < LEAST and 0 < at < 1:
        at += way * STEP
        accent = _coloured(at, chroma, hue)
    strong = _coloured(min(max(at + way * 0.09, 0.08), 0.97), chroma, hue)
    return Theme(accent, strong, soft, on)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, 1 to 21."""
    light, dark = sorted((luminance(linear(one)), luminance(linear(other))), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: Rgb) -> float:
    return 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]


def linear(colour: str) -> Rgb:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return red, green, blue


def oklch(colour: Rgb) -> tuple[float, float, float]:
    """Lightness, chroma and hue (radians)."""
    r, g, b = colour
    long = math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b)
    middle = math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b)
    short = math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b)
    lightness = 0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short
    a = 1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short
    b = 0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short
    return lightness, math.hypot(a, b), math.atan2(b, a)


def _coloured(lightness: float, chroma: float, hue: float) -> str:
    """The colour, with so much chroma as the screen can show at this lightness."""
    while True:
        rgb = _linear_of(lightness, chroma, hue)
        if all(-1e-4 <= part <= 1 + 1e-4 for part in rgb) or chroma <= 0:
            return "#" + "".join(f"{_byte(part):02x}" for part in rgb)
        chroma = max(0.0, chroma - STEP)


def _linear_of(lightness: float, chroma: float, hue: float) -> Rgb:
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    )


def _byte(part: float) -> int:
    part = min(1.0, max(0.0, part))
    curved = part * 12.92 if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055
    return round(curved * 255)
