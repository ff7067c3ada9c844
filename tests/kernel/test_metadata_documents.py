import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.kernel.errors import Invalid
from config.kernel.metadata import AccountMetadata, check_metadata
from tests.kernel.test_metadata import CONTRACTS, refused


@pytest.mark.parametrize(
    ("document", "field", "sentence"),
    [
        (None, "metadata", "metadata must be a JSON object."),
        ([], "metadata", "metadata must be a JSON object."),
        ("{}", "metadata", "metadata must be a JSON object."),
        ({1: 2}, "metadata", "metadata must have strings as keys."),
        ({"a": {None: 2}}, "metadata.a", "metadata.a must have strings as keys."),
        ({"a": "x\0"}, "metadata.a", "metadata.a must not contain NUL (U+0000)."),
        (
            {"a": ["\ud800"]},
            "metadata.a.0",
            "metadata.a.0 must not contain a lone surrogate.",
        ),
        (
            {"a\0": 1},
            "metadata.a\\u0000",
            "metadata.a\\u0000 as a key must not contain NUL (U+0000).",
        ),
        (
            {"\udfff": 1},
            "metadata.\\udfff",
            "metadata.\\udfff as a key must not contain a lone surrogate.",
        ),
        (
            {"a": 2**63},
            "metadata.a",
            "metadata.a must be an integer of at most 64 bits.",
        ),
        ({"a": float("nan")}, "metadata.a", "metadata.a must be a finite number."),
        (
            {"a": {"b": [0, float("-inf")]}},
            "metadata.a.b.1",
            "metadata.a.b.1 must be a finite number.",
        ),
        (
            {"a": datetime(2026, 1, 1, tzinfo=UTC)},
            "metadata.a",
            "metadata.a must be a JSON value, not datetime.",
        ),
        ({"a": (1,)}, "metadata.a", "metadata.a must be a JSON value, not tuple."),
        (
            {"a": "x" * 65_536},
            "metadata",
            "metadata must have at most 65536 bytes as JSON.",
        ),
        (
            {"a": [0] * 40_000},
            "metadata",
            "metadata must have at most 65536 bytes as JSON.",
        ),
        (
            {"a": [0] * 10**6},
            "metadata",
            "metadata must have at most 65536 bytes as JSON.",
        ),
        (
            {"é" * 20_000: "é" * 20_000},
            "metadata",
            "metadata must have at most 65536 bytes as JSON.",
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_document_that_no_row_could_keep_is_refused(document, field, sentence):
    refusal = refused(AccountMetadata, document)

    assert (refusal.field, refusal.message) == (field, sentence)
    json.dumps(refusal.message, ensure_ascii=False).encode()


def test_a_document_at_the_limits_is_kept():
    check_metadata(
        AccountMetadata, {"a": 2**63 - 1, "b": -(2**63), "c": 1e308, "d": "\U0001f600"}
    )
    check_metadata(AccountMetadata, {"a": "x" * (65_536 - len('{"a":""}'))})


@pytest.mark.parametrize("wrap", [lambda inner: {"a": inner}, lambda inner: [inner]])
def test_depth_is_limited_to_sixteen(wrap):
    def nested(levels):
        value = "x"
        for _ in range(levels - 1):
            value = wrap(value)
        return {"a": value}

    check_metadata(AccountMetadata, nested(16))
    for levels in (17, 100_000):
        assert (
            "is nested deeper than 16 levels"
            in refused(AccountMetadata, nested(levels)).message
        )


def test_a_document_that_contains_itself_is_refused():
    endless = {}
    endless["a"] = [endless, endless]

    refused(AccountMetadata, endless)


json_values = st.recursive(
    st.sampled_from([None, True, 0, -1, 5, 2**63, 1.5, float("nan"), "", "a", "5", "prepaid", "\0", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "mode", "limit", "period", "grant_program_code"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(
    st.sampled_from(CONTRACTS),
    st.dictionaries(
        st.sampled_from(
            [
                "gate_bundle_key",
                "grants",
                "billing_defaults",
                "billing",
                "seat_limit",
                "params",
                "x",
            ]
        ),
        json_values,
    ),
)
def test_any_document_is_kept_unchanged_or_refused_with_a_path(contract, document):
    before = repr(document)

    try:
        checked = check_metadata(contract, document)
    except Invalid as refusal:
        assert refusal.field.split(".")[0] == "metadata"
        assert refusal.message.startswith(refusal.field)
    else:
        assert checked.document is document
    assert repr(document) == before
