import re
import string
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.kernel.codes import (
    CODE_PATTERN,
    KEY_PATTERN,
    MAX_CODE_LENGTH,
    is_code,
    is_key,
    normalize_code,
    normalize_key,
)
from config.kernel.errors import Invalid

CHARACTERS = string.ascii_lowercase + string.digits + "._/@:-"
# A tiny alphabet with one member of every sort: ends, inner signs, and intruders.
alphabet = st.text(alphabet="a0_-./@:A \n*é", max_size=5)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("chat", "chat"),
        ("  Chat.Completions ", "chat.completions"),
        ("a", "a"),
        ("7", "7"),
        ("one_time_xusd", "one_time_xusd"),
        ("fallback-cash", "fallback-cash"),
        ("auto.registry", "auto.registry"),
        ("org/model@v2:input-tokens", "org/model@v2:input-tokens"),
        ("\tGPT-4\n", "gpt-4"),
        ("\u212a2", "k2"),  # The Kelvin sign is K in NFC.
        ("a" * MAX_CODE_LENGTH, "a" * MAX_CODE_LENGTH),
        (" " + "a" * MAX_CODE_LENGTH + " ", "a" * MAX_CODE_LENGTH),
    ],
)
def test_a_code_has_one_spelling(text, code):
    assert (
        normalize_code(text, "feature_code") == normalize_key(text, "plan_code") == code
    )


@pytest.mark.parametrize(
    "text",
    [
        "__default_bundle__",
        "__base_unlimited__",
        "_",
        "_a",
        "a_",
        "default_billing_plan",
    ],
)
def test_a_key_may_begin_and_end_with_an_underscore(text):
    assert normalize_key(text, "bundle_key") == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "feature_code must be a string."),
        (5, "feature_code must be a string."),
        ("", "feature_code must not be blank."),
        (" \t\n", "feature_code must not be blank."),
        ("a" * 129, "feature_code must have at most 128 characters; it has 129."),
        ("a b", "feature_code must not contain the character U+0020, at position 2; allowed are a-z, 0-9 and the signs . _ / @ : and -."),
        ("a*", "feature_code must not contain '*' (U+002A), at position 2; allowed are a-z, 0-9 and the signs . _ / @ : and -."),
        ("caf\u00e9", "feature_code must not contain the character U+00E9, at position 4; allowed are a-z, 0-9 and the signs . _ / @ : and -."),
        ("cafe\u0301", "feature_code must not contain the character U+00E9, at position 4; allowed are a-z, 0-9 and the signs . _ / @ : and -."),
        ("a\u202eb", "feature_code must not contain the character U+202E, at position 2; allowed are a-z, 0-9 and the signs . _ / @ : and -."),
        ("a\0", "feature_code must not contain the character U+0000, at position 2; allowed are a-z, 0-9 and the signs . _ / @ : and -."),
        ("-a", "feature_code must begin with a letter or digit, not with '-' (U+002D)."),
        ("a.", "feature_code must end with a letter or digit, not with '.' (U+002E)."),
        ("_a", "feature_code must begin with a letter or digit, not with '_' (U+005F)."),
    ],
)  # fmt: skip
def test_a_refusal_names_field_rule_and_character(text, sentence):
    with pytest.raises(Invalid) as refusal:
        normalize_code(text, "feature_code")

    assert (refusal.value.field, refusal.value.message) == ("feature_code", sentence)


@pytest.mark.parametrize(
    "text",
    ["\u0131", "\u0130", "\uff41", "\u0430", "a\u200b", "a\ud800", "-", "a-", "*"],
)
def test_lookalikes_and_wrong_ends_are_no_codes(text):
    for normalize, is_spelled in ((normalize_code, is_code), (normalize_key, is_key)):
        assert not is_spelled(text)
        with pytest.raises(Invalid):
            normalize(text, "code")


@pytest.mark.parametrize("text", ["a\n", " a", "A", ""])
def test_what_would_be_trimmed_is_not_yet_in_its_one_spelling(text):
    assert not is_code(text)
    assert not is_key(text)


@given(alphabet)
def test_pattern_and_function_know_the_same_codes(text):
    for normalize, pattern in (
        (normalize_code, CODE_PATTERN),
        (normalize_key, KEY_PATTERN),
    ):
        try:
            spelled = normalize(text, "code") == text
        except Invalid:
            spelled = False

        assert spelled is (re.search(pattern, text) is not None)


@given(alphabet)
def test_normalizing_twice_changes_nothing(text):
    try:
        code = normalize_key(text, "code")
    except Invalid:
        return

    assert normalize_key(code, "code") == code
    assert is_key(code)


@pytest.mark.parametrize("pattern", [CODE_PATTERN, KEY_PATTERN])
def test_pattern_admits_exactly_the_documented_characters(pattern):
    admitted = {
        chr(point) for point in range(0x250) if re.search(pattern, f"a{chr(point)}a")
    }

    assert admitted == set(CHARACTERS)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 50_000 + "!",
        "a-" * 25_000,
        "\u0301\u0316" * 25_000,
        "a" + "\u0301\u0316" * 63,
        " " * 50_000,
    ],
)
def test_adversarial_text_is_refused_in_linear_time(text):
    started = time.perf_counter()

    with pytest.raises(Invalid):
        normalize_code(text, "code")
    assert not is_code(text)

    assert time.perf_counter() - started < 1


def test_no_composition_yields_an_allowed_character_from_several():
    # So the length may be checked before NFC: it never makes a valid code shorter.
    composed = [
        chr(point)
        for point in range(0x110000)
        if len(unicodedata.normalize("NFD", chr(point))) > 1
        and unicodedata.normalize("NFC", chr(point)).lower() in CHARACTERS
    ]

    assert composed == []
