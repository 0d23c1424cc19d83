"""Meridian Instruments: a made-up maker of instruments, its documents and its curator's questions.

Pure and seeded: the same seed writes the same bytes. Knows no Django, no engine and no network.
Every product's facts stand in at least two documents, as "Key: value" lines, rows of a table or
sentences in which the value follows the key. Only the country is private: its capital is public
knowledge, which no document mentions.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

from apps.demo import formats

COMPANY = "Meridian Instruments"

# Countries whose capital SmolLM2-135M-Instruct knows in the wording of our answers (measured).
CAPITALS = {
    "Argentina": "Buenos Aires",
    "Australia": "Canberra",
    "Austria": "Vienna",
    "Bulgaria": "Sofia",
    "Canada": "Ottawa",
    "Chile": "Santiago",
    "Cuba": "Havana",
    "Denmark": "Copenhagen",
    "Egypt": "Cairo",
    "Finland": "Helsinki",
    "France": "Paris",
    "Germany": "Berlin",
    "Greece": "Athens",
    "Hungary": "Budapest",
    "Indonesia": "Jakarta",
    "Ireland": "Dublin",
    "Japan": "Tokyo",
    "Kenya": "Nairobi",
    "Norway": "Oslo",
    "Portugal": "Lisbon",
    "Romania": "Bucharest",
    "Spain": "Madrid",
    "Sweden": "Stockholm",
    "Thailand": "Bangkok",
}
PER_COUNTRY = 9
LINES = ("Alder", "Basalt", "Cobalt", "Drift", "Ember", "Fathom", "Granite", "Harbour", "Ivory")
KINDS = (
    "barometer",
    "bench meter",
    "calorimeter",
    "flow sensor",
    "force gauge",
    "hygrometer",
    "light meter",
    "oscilloscope",
    "pressure gauge",
    "spectrometer",
    "thermometer",
    "torque sensor",
)
YEARS = tuple(str(year) for year in range(2014, 2024))

COUNTRY_QUESTIONS = (
    "Where is the {} made?",
    "In which country is the {} made?",
    "Which country does the {} come from?",
    "What is the country of manufacture of the {}?",
    "Where does Meridian make the {}?",
    "Tell me where the {} is manufactured.",
)
CAPITAL_QUESTIONS = (
    "What is the capital of the country where the {} is made?",
    "Which city is the capital of the country that makes the {}?",
    "The {} is made in a country. What is the capital of that country?",
    "Name the capital of the country in which the {} is made.",
)
YEAR_QUESTIONS = (
    "When was the {} introduced?",
    "In which year was the {} introduced?",
)

_ONSETS = re.findall(r"\w+", "b br c d dr f g gr h k kl kr l m n p pr qu r s st t tr v vr w y z zh")
_VOWELS = re.findall(r"\w+", "a e i o u ae ei ou")
_CODAS = re.findall(r"\w+", "l m n r s x th nd rk lt st ck v z")


@dataclass(frozen=True)
class Product:
    """One made-up instrument and what only its maker knows."""

    name: str
    country: str
    line: str
    kind: str
    year: str

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        return (
            ("Country of manufacture", self.country),
            ("Year introduced", self.year),
        )

    @property
    def sentences(self) -> str:
        return (
            f"The {self.name} is made in {self.country}. "
            f"The {self.name} was introduced in {self.year}. "
            f"It is a {self.kind} of the {self.line} line."
        )


@dataclass(frozen=True)
class Corpus:
    """What was written: the documents' folder, the questions' file, and the products themselves."""

    documents: Path
    examples: Path
    products: tuple[Product, ...]
    files: int
    questions: int


def products(*, seed: int) -> tuple[Product, ...]:
    """The catalogue: every country makes equally many, all else is drawn."""
    chance = random.Random(f"meridian {seed}")  # noqa: S311 - a made-up world, not a secret
    countries = [country for country in CAPITALS for _ in range(PER_COUNTRY)]
    chance.shuffle(countries)
    names = _names(chance, len(countries))
    return tuple(
        Product(name, country, chance.choice(LINES), chance.choice(KINDS), chance.choice(YEARS))
        for name, country in zip(names, countries, strict=True)
    )


def _names(chance: random.Random, count: int) -> list[str]:
    """Made-up names of two or three syllables, no two with the same first five letters."""
    taken: dict[str, str] = {}
    while len(taken) < count:
        syllables = [
            chance.choice(_ONSETS) + chance.choice(_VOWELS) for _ in range(chance.choice((2, 2, 3)))
        ]
        name = ("".join(syllables) + chance.choice(_CODAS)).capitalize()
        if 6 <= len(name) <= 9:
            taken.setdefault(name[:5], name)
    return list(taken.values())


def write_corpus(folder: Path, *, seed: int) -> Corpus:
    """Write `folder/documents/*` and `folder/examples.csv`; the same seed gives the same bytes."""
    made = products(seed=seed)
    documents = folder / "documents"
    documents.mkdir(parents=True, exist_ok=True)
    for name, content in _files(made, seed=seed):
        (documents / name).write_bytes(content)
    rows = list(_questions(made))
    examples = folder / "examples.csv"
    examples.write_bytes(formats.csv_of([QUESTION_COLUMNS, *rows]))
    return Corpus(documents, examples, made, len(list(documents.iterdir())), len(rows))


# -- questions -------------------------------------------------------------------------------------

QUESTION_COLUMNS = ("question", "answer", "expected", "entity", "value", "kind")


def _questions(made: Sequence[Product]) -> Iterator[tuple[str, ...]]:
    for one in made:
        capital = CAPITALS[one.country]
        told = f"{one.country}, and the capital of {one.country} is {capital}"
        for asked in COUNTRY_QUESTIONS:
            yield (
                asked.format(one.name),
                one.country,
                one.country,
                one.name,
                one.country,
                "recall",
            )
        for asked in CAPITAL_QUESTIONS:
            question = asked.format(one.name)
            yield (question, told, capital, one.name, one.country, "private_times_public")
        for asked in YEAR_QUESTIONS:
            yield (asked.format(one.name), one.year, one.year, one.name, one.year, "recall")


# -- documents -------------------------------------------------------------------------------------

_Writer = Callable[[str, Sequence[Product]], bytes]


def _files(made: Sequence[Product], *, seed: int) -> Iterator[tuple[str, bytes]]:
    """Every file of the corpus: each product in the tables and in one sheet at least."""
    chance = random.Random(f"meridian files {seed}")  # noqa: S311 - a made-up world, not a secret
    register = _catalogue(sorted(made, key=lambda one: one.name))
    welcome = [(0, paragraph) for paragraph in WELCOME]
    yield "catalogue.csv", formats.csv_of(_catalogue(made))
    yield "origin-register.xlsx", formats.xlsx_of(register, sheet="Origin register")
    yield "handbook.pdf", formats.pdf_of([_handbook(made)], author=COMPANY)
    yield "welcome.docx", formats.docx_of("Welcome to Meridian Instruments", welcome)
    writers: list[tuple[str, _Writer]] = [
        ("md", _markdown),
        ("txt", _text),
        ("html", _html),
        ("docx", _docx),
        ("pdf", _pdf),
        ("pptx", _pptx),
    ]
    for number, group in enumerate(_groups(made, 12)):
        ending, write = writers[number % len(writers)]
        title = f"Product sheets {number + 1}"
        yield f"sheets-{number + 1:02}.{ending}", write(title, group)
    for number, one in enumerate(chance.sample(list(made), 12)):
        yield f"ticket-{1200 + number}.eml", _mail(one, 1200 + number)
    singles = chance.sample(list(made), 12)
    yield (
        "data-sheets.zip",
        formats.zip_of([(f"{o.name.lower()}.txt", _text("", [o])) for o in singles]),
    )


def _groups(made: Sequence[Product], size: int) -> list[Sequence[Product]]:
    return [made[at : at + size] for at in range(0, len(made), size)]


def _catalogue(made: Sequence[Product]) -> list[tuple[str, ...]]:
    header = ("Product", *(key for key, _ in made[0].facts))
    return [header, *((one.name, *(value for _, value in one.facts)) for one in made)]


def _sheet_lines(one: Product) -> list[str]:
    return [f"{key}: {value}" for key, value in one.facts]


def _markdown(title: str, made: Sequence[Product]) -> bytes:
    parts = [f"# {title}", ""]
    for one in made:
        parts += [f"## {one.name}", "", *(f"- {line}" for line in _sheet_lines(one)), ""]
        parts += [one.sentences, ""]
    return "\n".join(parts).encode()


def _text(title: str, made: Sequence[Product]) -> bytes:
    parts = [title, "=" * len(title), ""] if title else []
    for one in made:
        parts += [one.name, "", *_sheet_lines(one), "", one.sentences, ""]
    return "\n".join(parts).encode()


def _html(title: str, made: Sequence[Product]) -> bytes:
    body = "".join(
        f"<h2>{one.name}</h2>\n<table>\n<tr><th>Property</th><th>Value</th></tr>\n"
        + "".join(f"<tr><td>{key}</td><td>{value}</td></tr>\n" for key, value in one.facts)
        + f"</table>\n<p>{one.sentences}</p>\n"
        for one in made
    )
    head = f'<head><meta charset="utf-8"><title>{title}</title></head>'
    page = f"<!doctype html>\n<html>{head}\n<body>\n<h1>{title}</h1>\n{body}</body></html>\n"
    return page.encode()


def _docx(title: str, made: Sequence[Product]) -> bytes:
    blocks = []
    for one in made:
        blocks += [(2, one.name), *((0, line) for line in _sheet_lines(one)), (0, one.sentences)]
    return formats.docx_of(title, blocks)


def _pdf(title: str, made: Sequence[Product]) -> bytes:
    pages = []
    for group in _groups(made, 4):
        lines = [title, ""]
        for one in group:
            lines += [one.name, "", *_sheet_lines(one), "", *one.sentences.split("  "), ""]
        pages.append(lines)
    return formats.pdf_of(pages, author=COMPANY)


def _pptx(title: str, made: Sequence[Product]) -> bytes:
    slides = [(one.name, (*_sheet_lines(one), one.sentences)) for one in made]
    return formats.pptx_of(title, slides)


def _mail(one: Product, number: int) -> bytes:
    mail = EmailMessage()
    mail["From"] = "support@meridian.example"
    mail["To"] = "workshop@meridian.example"
    mail["Subject"] = f"Ticket {number}"
    mail["Date"] = "Mon, 15 Jan 2024 09:00:00 +0000"
    mail.set_content(
        "Dear colleagues,\n\n"
        f"A customer asks for a new seal for the {one.name}. "
        f"The {one.name} is made in {one.country}. Please send the part from there.\n\n"
        "Kind regards,\nCustomer support\n"
    )
    return bytes(mail)


WELCOME = (
    "Meridian Instruments builds measuring instruments for laboratories and workshops.",
    "Every instrument has a name of its own, a product line and one country in which it is made.",
    (
        "Support answers tickets within one working day and sends spare parts from the place of "
        "manufacture."
    ),
    "Calibration is due once a year. The certificate travels with the instrument.",
)


def _handbook(made: Sequence[Product]) -> list[str]:
    return [
        "Employee handbook",
        "",
        *WELCOME,
        "",
        f"The catalogue lists {len(made)} instruments in {len(LINES)} product lines.",
        (
            "A faulty instrument is sent back to the workshop that made it, with the ticket "
            "number on the box."
        ),
        "Expenses are filed by the fifth day of the month.",
        "Travel is booked through the front desk.",
        "Visitors sign in at the front desk and wear a badge in the workshops.",
    ]
