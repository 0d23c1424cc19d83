"""TeX of a model as MathML: mathematics and nothing else; what makes none keeps its source."""

from __future__ import annotations

import json
from xml.etree.ElementTree import Element

import pytest
from defusedxml.ElementTree import fromstring
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from apps.chat.formulas import AT_ONCE, ATTRIBUTES, ELEMENTS, LENGTH, NAMESPACE, made, mathml
from tests.cast import Cast

GOOD = {
    r"\frac{a}{b}": "mfrac",
    r"x_1^2 + \sqrt[3]{y}": "mroot",
    r"\sum_{i=0}^n i": "munderover",
    r"\begin{pmatrix}1 & 2\\3 & 4\end{pmatrix}": "mtable",
    r"\begin{aligned}a &= b\\ &= c\end{aligned}": "mtable",
    r"\left(\frac{1}{2}\right)^2": "msup",
    "a < b": "mo",
}
BAD = [
    "",
    r"\frac{a}",
    r"\left( x",
    r"a & b",
    r"\nosuchcommand{x}",
    r"\def\x{yy}\x",
    r"\newcommand{\x}{y}\x",
    "x" * (LENGTH + 1),
    "{" * LENGTH,
    "\\text{seen \u202e turned}",
    r"\unicode{xD800}",
    "\\text{\0}",
]
HOSTILE = [
    r"\href{javascript:alert(1)}{x}",
    r"\style{position:fixed}{x}",
    r"\class{chat-composer}{x}",
    r"\text{<img src=x onerror=alert(1)>}",
    r"\text{&#x3C;script&#x3E;}",
    r"\color{red}x",
    r"\hspace{99999em}x",
    r"\rule{9999em}{9999em}",
    r"\colorbox{red}{x}",
]


def walked(tex: str) -> list[Element]:
    written = mathml(tex, True)
    assert written is not None, tex
    return list(fromstring(written).iter())


def only_mathematics(elements: list[Element]) -> None:
    for element in elements:
        name = element.tag.removeprefix(f"{{{NAMESPACE}}}")
        assert name in ELEMENTS
        for attribute, value in element.attrib.items():
            assert attribute == "alttext" or ATTRIBUTES[attribute].match(value), attribute


@pytest.mark.parametrize("tex", GOOD)
def test_a_formula_becomes_mathml_that_says_its_source(tex: str) -> None:
    found = walked(tex)
    only_mathematics(found)
    assert f"{{{NAMESPACE}}}{GOOD[tex]}" in {element.tag for element in found}
    assert (found[0].get("alttext"), found[0].get("display")) == (tex, "block")


@pytest.mark.parametrize("tex", BAD, ids=lambda tex: tex[:20] or "empty")
def test_what_makes_no_formula_stays_as_it_was_written(tex: str) -> None:
    assert mathml(tex, False) is None


@pytest.mark.parametrize("tex", HOSTILE)
def test_no_address_no_style_and_no_size_comes_through(tex: str) -> None:
    only_mathematics(walked(tex))


@given(st.text(alphabet=r"\{}[]^_&$#%~ <>\"'xyz12+-=/.,", max_size=60), st.booleans())
def test_whatever_a_model_writes_nothing_breaks(tex: str, is_display: bool) -> None:
    written = mathml(tex, is_display)
    if written is not None:
        only_mathematics(list(fromstring(written).iter()))


def test_so_many_at_once() -> None:
    assert len(made([("x", False)] * (AT_ONCE + 9))) == AT_ONCE


def test_the_page_asks_for_what_it_shows(cast: Cast) -> None:
    bo = cast.client(cast.bo)
    told = {"formulas": [["x^2", False], [r"\frac{a}", True]]}
    answer = bo.post("/chat/formulas", json.dumps(told), content_type="application/json")
    first, second = answer.json()["mathml"]
    assert "<msup>" in first
    assert second is None


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"formulas": 3}',
        '{"formulas": [["x"]]}',
        '{"formulas": [[1, 2]]}',
        "[" * 9999,
    ],
    ids=lambda body: body[:24] or "empty",
)
def test_another_shape_is_refused(cast: Cast, body: str) -> None:
    answer = cast.client(cast.bo).post("/chat/formulas", body, content_type="application/json")
    assert answer.status_code == 400


def test_nobody_has_formulas_drawn(db: None) -> None:
    assert Client().post("/chat/formulas", "{}", content_type="application/json").status_code == 302
