"""Formulas of an answer: TeX in, MathML out that holds nothing but mathematics.

A model wrote the TeX, so whatever it may hold is refused or left out: macros, colours, styles,
addresses, lengths that would push the page about. What cannot be read stays as its source. Knows no
conversation; nothing is kept but in this process's memory.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from xml.etree.ElementTree import Element, SubElement, tostring

from latex2mathml.converter import convert_to_element

LENGTH = 2_000  # characters of one formula
AT_ONCE = 64  # formulas in one request
NAMESPACE = "http://www.w3.org/1998/Math/MathML"

# MathML Core's elements, each with how many children it must have; None: any number.
ELEMENTS: dict[str, int | None] = {
    **dict.fromkeys(("math", "mrow", "mstyle", "mpadded", "mphantom", "msqrt", "menclose")),
    **dict.fromkeys(("mtable", "mtr", "mtd")),
    **dict.fromkeys(("mi", "mn", "mo", "mtext", "mspace"), 0),
    **dict.fromkeys(("mfrac", "mroot", "msub", "msup", "munder", "mover"), 2),
    **dict.fromkeys(("msubsup", "munderover"), 3),
}
WORD = re.compile(r"[a-z-]{1,24}(?: [a-z-]{1,24}){0,20}\Z")
SIZE = re.compile(r"[+-]?\d{0,2}(?:\.\d{1,4})?(?:em|ex|px|pt|mu)?\Z")
ATTRIBUTES = {
    **dict.fromkeys(("accent", "accentunder", "display", "displaystyle", "fence", "form"), WORD),
    **dict.fromkeys(("largeop", "mathvariant", "movablelimits", "notation", "separator"), WORD),
    **dict.fromkeys(("columnalign", "columnlines", "rowlines", "stretchy", "symmetric"), WORD),
    **dict.fromkeys(("depth", "height", "lspace", "rspace", "voffset", "width"), SIZE),
    **dict.fromkeys(("linethickness", "maxsize", "minsize", "scriptlevel"), SIZE),
}

MACROS = re.compile(r"\\(?:def|let|(?:re|provide)?newcommand|newenvironment|DeclareMath\w+)\b")
REFERENCE = re.compile(r"&#x([0-9A-Fa-f]{1,6});")  # how the library writes its signs
UNKNOWN = re.compile(r"\\[A-Za-z]")  # a command that it left as it stood
TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")  # would show signs in another order
ALIGNED = re.compile(r"\\(begin|end)\{(?:aligned|eqnarray)\*?\}")  # it knows them as `align*`
NO_SIGNS = {"Cc", "Cn", "Co", "Cs"}  # of Unicode's categories: nothing that is written


class Unreadable(Exception):  # noqa: N818  an outcome: the source is shown
    """This TeX makes no formula."""


def made(formulas: Sequence[tuple[str, bool]]) -> list[str | None]:
    """MathML of each (TeX, whether it stands alone on its line); None where the source stays."""
    return [mathml(tex, is_display) for tex, is_display in formulas[:AT_ONCE]]


@lru_cache(maxsize=512)
def mathml(tex: str, is_display: bool) -> str | None:
    """One formula with its source as its words for whoever hears it, or None."""
    if len(tex) > LENGTH or MACROS.search(tex):
        return None
    display = "block" if is_display else "inline"
    try:
        known = ALIGNED.sub(r"\\\1{align*}", tex)
        found = _clean(convert_to_element(known, display=display))
    except Exception:  # noqa: BLE001  the library raises what it likes; the source is shown
        return None
    found.set("xmlns", NAMESPACE)
    found.set("alttext", tex)
    return tostring(found, encoding="unicode")


def _clean(element: Element, parent: Element | None = None) -> Element:
    """The same tree without what no formula needs. Raises Unreadable."""
    if element.tag not in ELEMENTS:
        raise Unreadable(element.tag)
    wanted = ELEMENTS[element.tag]
    if wanted and len(element) != wanted:
        raise Unreadable(element.tag)
    kept = {
        name: value
        for name, value in element.attrib.items()
        if name in ATTRIBUTES and ATTRIBUTES[name].match(value)
    }
    own = Element(element.tag, kept) if parent is None else SubElement(parent, element.tag, kept)
    own.text = _text(element.text or "")
    if element.tag == "mi" and own.text == "&":  # columns of what it knows no table for
        raise Unreadable(own.text)
    for child in element:
        _clean(child, own)
    return own


def _text(written: str) -> str:
    text = REFERENCE.sub(lambda found: chr(int(found[1], 16)), written)
    if UNKNOWN.search(text) or TURNING.search(text):
        raise Unreadable(text)
    if any(unicodedata.category(sign) in NO_SIGNS for sign in text):
        raise Unreadable(text)
    return text
