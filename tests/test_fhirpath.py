"""FHIRPath text and syntax tree say the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_runners.errors import FhirPathError
from researchflow_runners.fhirpath import Node, parse, print_expression
from researchflow_runners.fhirpath.ast import (
    Binary,
    Call,
    EmptyLiteral,
    External,
    Index,
    Literal,
    Member,
    Sign,
    This,
    TypeTest,
)
from researchflow_runners.fhirpath.parser import BINDING, INTEGER_MAX

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True) | st.text(min_size=1)
literals = st.one_of(
    st.builds(Literal, st.just("string"), st.text()),
    st.builds(Literal, st.just("integer"), st.integers(0, INTEGER_MAX).map(str)),
    st.builds(Literal, st.just("decimal"), st.integers(INTEGER_MAX + 2).map(str)),
    st.sampled_from(
        [
            Literal("decimal", "1.50"),
            Literal("boolean", "true"),
            Literal("date", "2024-02"),
            Literal("dateTime", "2024-02-01T10:00:00.5+02:00"),
            Literal("dateTime", "2024T"),
            Literal("time", "12:30"),
            Literal("quantity", "5", "mg"),
            Literal("quantity", "5", "days"),
            Literal("duration", "5", "days"),
            Literal("duration", "1", "year"),
            Literal("quantity", "10.5", "mg/dL"),
        ]
    ),
    st.builds(Literal, st.just("quantity"), st.just("2.50"), st.text(min_size=1)),
)
leaves = st.one_of(
    literals,
    st.just(EmptyLiteral()),
    st.just(This()),
    st.builds(External, names),
    st.builds(Member, st.none(), names),
)


def grown(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    operators = st.sampled_from(sorted(BINDING.keys() - {"is", "as"}))
    return st.one_of(
        st.builds(Member, inner, names),
        st.builds(Call, st.none() | inner, names, st.lists(inner, max_size=2).map(tuple)),
        st.builds(Index, inner, inner),
        st.builds(Sign, st.sampled_from("+-"), inner),
        st.builds(Binary, operators, inner, inner),
        st.builds(
            TypeTest,
            st.sampled_from(["is", "as"]),
            inner,
            st.sampled_from(["Patient", "FHIR.Quantity", "System.String"]),
        ),
    )


@given(st.recursive(leaves, grown, max_leaves=12))
def test_printed_expression_parses_to_the_same_tree(tree: Node) -> None:
    assert parse(print_expression(tree)) == tree


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a or b and c", "a or (b and c)"),
        ("a = b and c = d", "(a = b) and (c = d)"),
        ("1 + 2 * 3", "1 + (2 * 3)"),
        ("1 - 2 - 3", "(1 - 2) - 3"),
        ("a | b = c", "(a | b) = c"),
        ("a is Patient and b", "(a is Patient) and b"),
        ("-a.b", "-(a.b)"),
        ("a /* note */ . b // end", "a.b"),
        ("a implies b or c", "a implies (b or c)"),
    ],
)
def test_precedence(text: str, same: str) -> None:
    assert parse(text) == parse(same)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("", 0, 0),
        ("@@", 0, 1),
        ("a.", 2, 2),
        ("a b", 2, 3),
        ("f(1,", 4, 4),
        ("a and", 5, 5),
        ("'open", 0, 1),
        ("$foo", 0, 4),
        ("1 = = 2", 4, 5),
        ("a > @2021-02-30", 4, 15),
        ("@2020-13", 0, 8),
        ("@T24:00:00", 0, 10),
        ("@2020-01-01T10:60:00Z", 0, 21),
        ("@2020-01-01T10:00:00+15:00", 0, 26),
    ],
)
def test_syntax_error_has_the_place(text: str, start: int, end: int) -> None:
    with pytest.raises(FhirPathError) as caught:
        parse(text)
    assert caught.value.code == "syntax"
    assert caught.value.span is not None
    assert (caught.value.span.start, caught.value.span.end) == (start, end)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("2147483647", "integer"),
        ("2147483648", "decimal"),
        ("9" * 5_000, "decimal"),
        ("00002147483647", "integer"),
    ],
)
def test_a_whole_number_beyond_32_bits_is_a_decimal(text: str, kind: str) -> None:
    assert parse(text) == Literal(kind, text)


def test_the_least_integer_is_one() -> None:
    assert parse("-2147483648") == Sign("-", Literal("integer", "2147483648"))


@pytest.mark.parametrize(
    "text",
    ["(" * 4_000 + "1" + ")" * 4_000, "f(" * 1_000, ".".join("a" * 4_000), "-" * 4_000 + "1"],
)
def test_nesting_is_bounded(text: str) -> None:
    with pytest.raises(FhirPathError) as caught:
        parse(text)
    assert caught.value.code == "expression_too_deep"


def test_length_is_bounded() -> None:
    with pytest.raises(FhirPathError) as caught:
        parse("a" * 20_000)
    assert caught.value.code == "expression_too_long"
