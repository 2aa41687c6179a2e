"""The list of synonyms has its shape, and texts are read as they are meant."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from researchflow_runners.codes.reading import Tier, read_text
from researchflow_runners.codes.synonyms import meanings, phrases, said
from researchflow_runners.codes.words import Vocabulary, distance, words_of

KINDS = {
    *("condition", "allergy", "lab", "vital", "class", "drug", "procedure", "vaccine"),
    "encounter",
}
#: How a source begins: a published vocabulary, and the concept in it.
SOURCES = ("MeSH ", "ATC ", "LOINC ", "CVX ", "RxNorm ", "SNOMED CT ", "HL7 ")


def test_every_line_of_the_list_has_its_kind_terms_and_source() -> None:
    assert len(meanings()) >= 400
    assert {one.kind for one in meanings()} == KINDS
    wrong = [one for one in meanings() if not one.terms or not one.source.startswith(SOURCES)]
    assert wrong == []
    alone = [one for one in meanings() if len(one.terms + one.short + one.members) < 2]
    assert [one.terms for one in alone if one.kind != "condition"] == []


def test_nothing_said_is_listed_twice() -> None:
    every = [text for one in meanings() for text in one.terms + one.short]
    counted = Counter(said(words_of(text)) for text in every)
    assert [words for words, count in counted.items() if count > 1] == []
    assert len(phrases()) == len(counted)


def test_a_short_form_is_said_and_never_looked_for() -> None:
    looked_for = {text for one in meanings() for text in one.looked_for}
    assert looked_for.isdisjoint({short for one in meanings() for short in one.short})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ménière's disease", ("meniere", "s", "disease")),
        ("Glu\u200bcose [Mass/volume]", ("glucose", "mass", "volume")),
        ("HbA1c\xa0(NGSP)", ("hba1c", "ngsp")),
        ("高血圧", ("高血圧",)),
        ("?!", ()),
    ],
)
def test_words_compare_whatever_their_signs(text: str, words: tuple[str, ...]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("one", "other", "far"),
    [
        ("hypertention", "hypertension", 1),
        ("hypertesnion", "hypertension", 1),
        ("diabtes", "diabetes", 1),
        ("abc", "abc", 0),
        ("asthma", "gout", 3),
        ("", "ab", 2),
    ],
)
def test_distance_counts_letters_missing_changed_and_swapped(
    one: str, other: str, far: int
) -> None:
    assert distance(one, other, 2) == far
    assert distance(other, one, 2) == far


def test_beginnings_of_an_abbreviation_come_after_what_it_stands_for() -> None:
    vocabulary = Vocabulary(["minute", "myocardial", "infarction", "fluoxetine", "influenza"])
    tiers = [one.tier for one in read_text("flu", vocabulary).readings]
    assert tiers == sorted(tiers)
    assert Tier.SYNONYM in tiers
    assert tiers.index(Tier.SYNONYM) < tiers.index(Tier.WEAK_BEGINNING)
    (only,) = [one for one in read_text("MI", vocabulary).readings if one.tier == Tier.SYNONYM]
    assert only.fits({"acute", "myocardial", "infarction"})
    assert not only.fits({"minute"})


def test_a_word_of_the_list_is_never_taken_for_a_typo() -> None:
    readings = read_text("stroke", Vocabulary(["strike", "strokes"])).readings
    assert not any(one.fits({"strike"}) for one in readings)


def test_reading_a_text_over_many_words_is_quick() -> None:
    letters = "abcdefghijklmnopqrst"
    words = [f"{letters[n % 20]}{letters[n // 20 % 20]}{n:06}x" for n in range(50_000)]
    vocabulary = Vocabulary([*words, "hypertension"])
    took = []
    for _run in range(5):
        began_s = time.process_time()
        read_text("hypertention of the kidny", vocabulary)
        took.append(time.process_time() - began_s)
    assert min(took) < 0.15
