"""What a sentence speaks of and what it says of it; half a subject or half a saying is nothing."""

from __future__ import annotations

import pytest

from calm_engine.selfstudy.predication import predication_of, shortened


@pytest.mark.parametrize(
    ("sentence", "subject", "link", "said"),
    [
        (
            "The /dev directory is the location of special files.",
            "The /dev directory",
            "is",
            "the location of special files",
        ),
        (
            "Manual pages must not be stored under /var/man.",
            "Manual pages",
            "must not be",
            "stored under /var/man",
        ),
        (
            "More on mailing lists can be found at the front desk.",
            "More on mailing lists",
            "can be",
            "found at the front desk",
        ),
        (
            "The second edition was released on October 9, 1994, and is out of print.",
            "The second edition",
            "was",
            "released on October 9, 1994",
        ),
        (
            "The tracker is found at http://bugs.example, and open to all.",
            "The tracker",
            "is",
            "found at http://bugs.example",
        ),
        (
            'Examples contain "debchange" (or its alias, "dch") with a date; others do not.',
            "Examples",
            "contain",
            '"debchange" (or its alias, "dch") with a date',
        ),
    ],
)
def test_a_sentence_is_parted(sentence: str, subject: str, link: str, said: str) -> None:
    found = predication_of(sentence)
    assert found is not None
    assert (found.subject, found.link, found.said) == (subject, link, said)
    assert sentence == f"{found.subject} {found.link} {found.rest}"


@pytest.mark.parametrize(
    "sentence",
    [
        "It is required for every upload.",
        "Once the upload has been accepted into the archive.",
        "Programs which are too buggy to be used go.",
        "Linux systems that have the proc filesystem mounted use it.",
        "Enumerating cases where there has been historical conflict.",
        "The release team might have given you some input.",
        "The separation allows local control of backup strategies.",
        "The pool holds a list (the index, sorted) and contains every current package.",
        "Orphaned packages and are kept for one year.",
        "The latter is a pool in the archive.",
        'The "main section is always complete and official.',
        "The gate of the archive of the workshop of the north is open on work days.",
    ],
)
def test_half_a_subject_names_nothing(sentence: str) -> None:
    assert predication_of(sentence) is None


@pytest.mark.parametrize(
    "told",
    [
        "any package for",
        "the process by which the maintainers of a package of the archive that nobody wants change",
        "segregated because static files stay",
        'in the form "RM and a name',
        "too short",
        "",
    ],
)
def test_half_a_saying_is_none(told: str) -> None:
    assert shortened(told) == ""


def test_a_saying_ends_before_its_first_clause_unless_it_is_half_then() -> None:
    assert shortened("a port of the north, and of the south.") == "a port of the north"
    whole = "a string for which the original changed"
    assert shortened(f"{whole}, as others do.") == whole
    assert shortened("named after the port of, say, Kiel.") == "named after the port of, say"
