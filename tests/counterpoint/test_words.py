"""The pages in German: what is marked is translated, and what is compiled is what was written."""

from __future__ import annotations

import ast
import gettext
import json
import re
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.test import Client
from django.utils.translation import override
from django.utils.translation.template import templatize

from calm_engine import wording
from calm_engine.errors import InputError
from counterpoint import german
from counterpoint.wording import sentence
from tests.apps.corpora.making import make_corpus, take_in
from tests.cast import Cast

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = ROOT / "platform/locale/de/LC_MESSAGES/django"
PAGES = sorted(each for root in ("apps", "platform") for each in (ROOT / root).rglob("*.html"))
PAGES = [each for each in PAGES if "node_modules" not in each.parts]
MODULES = sorted(each for root in ("apps", "platform") for each in (ROOT / root).rglob("*.py"))
WORDING = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"}
MARKED = re.compile(r"""(?:_|gettext|ngettext)\(u?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
FACT = re.compile(r"\{(\w+)\}")
PLACE = re.compile(r"%\(\w+\)[sd]|%%|%[sd]")


def compiled() -> dict[str, str]:
    """Every sentence with its translation; of a plural the form for one."""
    with CATALOGUE.with_suffix(".mo").open("rb") as file:
        known = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]  # the only list
    singular = {(key if isinstance(key, str) else key[0]): key for key in reversed(known)}
    return {sentence: known[key] for sentence, key in singular.items()}


def written() -> Iterator[tuple[str, set[str], list[str]]]:
    """(sentence, its places for values, translations) of the source file, plurals with both."""
    for block in CATALOGUE.with_suffix(".po").read_text("utf-8").split("\n\n"):
        parts: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith("msg"):
                name, _, line = line.partition(" ")
            if line.startswith('"'):
                parts[name] = parts.get(name, "") + json.loads(line)
        if parts.get("msgid"):
            places = set(PLACE.findall(parts["msgid"] + parts.get("msgid_plural", "")))
            texts = [text for key, text in parts.items() if key.startswith("msgstr")]
            yield parts["msgid"], places, texts


def test_every_sentence_of_a_page_is_translated() -> None:
    known = compiled()
    assert {each: path.name for path in PAGES for each in marked(path) if not known.get(each)} == {}


def test_every_sentence_of_the_code_is_translated() -> None:
    known = compiled()
    assert {each: path.name for path in MODULES for each in said(path) if not known.get(each)} == {}


def marked(path: Path) -> set[str]:
    found = MARKED.findall(templatize(path.read_text("utf-8")))
    return {ast.literal_eval(each) for each in found}


def said(path: Path) -> Iterator[str]:
    """What a module marks as words of a page."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            first = node.args[0] if node.args else None
            if node.func.id in WORDING and isinstance(first, ast.Constant) and first.value:
                yield str(first.value)


def test_every_translation_is_whole_and_compiled() -> None:
    known, source = compiled(), list(written())
    assert len(source) > 1000
    for words, places, texts in source:
        assert all(texts), words
        assert known.get(words) == texts[0], f"run `make words`: {words}"
        for text in texts:
            assert set(PLACE.findall(text)) <= places, words


def test_every_refusal_has_its_german_sentence_with_the_same_facts() -> None:
    assert german.WORDING.keys() == wording.WORDING.keys()
    for code, told in german.WORDING.items():
        assert facts_of(told) == facts_of(wording.WORDING[code]), code
        assert told != wording.WORDING[code], code


def facts_of(sentence: str) -> tuple[set[str], set[str]]:
    """What a sentence may be told, and what of it may be missing."""
    optional = "".join(re.findall(r"\[[^\[\]]*\]", sentence))
    return set(FACT.findall(sentence)), set(FACT.findall(optional))


def test_facts_that_are_words_are_those_that_the_code_says() -> None:
    code = "\n".join(each.read_text("utf-8") for each in MODULES)
    for told in german.FACTS:
        assert max(told.split("#"), key=len).strip() in code, told


def test_a_refusal_speaks_the_readers_language_and_its_facts_too() -> None:
    bomb = InputError("archive.bomb", limit="5000 files")
    with override("de-at"):
        assert "gibt es schon: time." in sentence(InputError("corpus.name", name="time"))
        assert "erlaubt ist (5000 Dateien). Entpacken Sie" in sentence(bomb)
        assert "(ohne Endung)" in sentence(InputError("file.type", ending="no ending"))
        assert sentence(InputError("no.such.code", "told at once")) == "Told at once."
    with override("fr"):
        assert sentence(bomb) == wording.sentence(bomb)
    assert sentence(bomb) == wording.sentence(bomb)


def test_the_outcomes_of_an_upload_speak_the_readers_language(cast: Cast) -> None:
    upload = take_in(cast, make_corpus(cast), {"empty.txt": b""})
    german = {"headers": {"accept-language": "de"}}
    shown = cast.client(cast.ada).get(upload.get_absolute_url(), **german).content.decode()
    assert "Die Datei ist leer." in shown
    shown = cast.client(cast.ada).get(upload.get_absolute_url()).content.decode()
    assert "The file is empty." in shown


def test_the_pages_speak_the_readers_language(cast: Cast) -> None:
    german = {"headers": {"accept-language": "de-AT,de;q=0.9,en;q=0.5"}}
    page = cast.client(cast.cy).get("/", **german).content.decode()
    assert '<html lang="de" dir="ltr"' in page
    assert "Bringen Sie einen Korpus" in page
    assert "Anmelden" in Client().get("/accounts/sign-in/", **german).content.decode()
    assert '<html lang="en"' in cast.client(cast.cy).get("/").content.decode()


def test_a_chosen_language_is_kept_before_and_after_signing_in(cast: Cast) -> None:
    nobody = Client()
    answer = nobody.post("/i18n/setlang/", {"language": "de", "next": "/accounts/sign-in/"})
    assert answer["Location"] == "/accounts/sign-in/"
    assert '<html lang="de"' in nobody.get("/accounts/sign-in/").content.decode()
    away = nobody.post("/i18n/setlang/", {"language": "de", "next": "https://elsewhere.example/"})
    assert "elsewhere" not in away["Location"]
    nobody.cookies[settings.LANGUAGE_COOKIE_NAME] = "xx; Path=/"
    assert '<html lang="en"' in nobody.get("/accounts/sign-in/").content.decode()
