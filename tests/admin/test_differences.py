import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.admin.differences import ABSENT, Difference, differences

SCALARS = (
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "a", "b"])
)
KEYS = st.sampled_from(["a", "b", "c.d", "0"])
DOCUMENTS = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=3,
)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [(("a",), 1, 2)]),
        ({}, {"a": None}, [(("a",), ABSENT, None)]),
        ({"a": None}, {}, [(("a",), None, ABSENT)]),
        ({"a": True}, {"a": 1}, [(("a",), True, 1)]),
        ({"a": False}, {"a": 0}, [(("a",), False, 0)]),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, [(("a", "c"), 2, 3)]),
        ({"a": {}}, {}, [(("a",), {}, ABSENT)]),
        ({}, {"a": {"b": 1}}, [(("a",), ABSENT, {"b": 1})]),
        ({"a": {"b": 1}}, {"a": 5}, [(("a",), {"b": 1}, 5)]),
        ({"a": [1, 2]}, {"a": [1]}, [(("a", 1), 2, ABSENT)]),
        ({"a": [1]}, {"a": [1, {"b": 2}]}, [(("a", 1), ABSENT, {"b": 2})]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, [(("a", 0, "b"), 1, 2)]),
        ({"a": [1]}, {"a": {"0": 1}}, [(("a",), [1], {"0": 1})]),
    ],
)
def test_differences_name_each_place(before, after, expected):
    found = differences(before, after)

    assert found == tuple(Difference(*parts) for parts in expected)


def test_differences_follow_the_order_of_the_keys():
    found = differences({"b": 1, "a": 1}, {"a": 2, "c": 2, "b": 2})

    assert [difference.dotted for difference in found] == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("path", "dotted"),
    [
        (("name",), "name"),
        (
            ("metadata", "billing_defaults", "period"),
            "metadata.billing_defaults.period",
        ),
        (("metadata", "grants", 0, "amount_xusd"), "metadata.grants.0.amount_xusd"),
        (("metadata", "a.b", "c"), 'metadata."a.b".c'),
        (("metadata", "0"), 'metadata."0"'),
        (("metadata", ""), 'metadata.""'),
        (("metadata", "two words"), 'metadata."two words"'),
    ],
)
def test_dotted_path_can_be_read_one_way_only(path, dotted):
    assert Difference(path, 1, 2).dotted == dotted


@given(DOCUMENTS, DOCUMENTS)
def test_differences_applied_to_before_give_after(before, after):
    assert canonical(patched(before, differences(before, after))) == canonical(after)


@given(DOCUMENTS)
def test_a_document_does_not_differ_from_itself(document):
    assert differences(document, copy.deepcopy(document)) == ()


@given(DOCUMENTS, DOCUMENTS)
def test_the_way_back_swaps_before_and_after(before, after):
    there = {
        (d.path, repr(d.before), repr(d.after)) for d in differences(before, after)
    }
    back = {(d.path, repr(d.after), repr(d.before)) for d in differences(after, before)}

    assert there == back


@given(DOCUMENTS, DOCUMENTS)
def test_no_place_is_told_twice_or_inside_another(before, after):
    paths = [difference.path for difference in differences(before, after)]

    assert len(set(paths)) == len(paths)
    for path in paths:
        assert not any(path[:end] in paths for end in range(1, len(path)))


def canonical(value):
    """Return a form in which true and 1 differ, as in JSON."""
    if isinstance(value, dict):
        return {key: canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    return (isinstance(value, bool), value)


def patched(document, found):
    document = copy.deepcopy(document)
    # Removals from a list go last to first, so that positions hold.
    for difference in [d for d in found if d.after is not ABSENT] + [
        d for d in reversed(found) if d.after is ABSENT
    ]:
        *parents, last = difference.path
        place = document
        for step in parents:
            place = place[step]
        if difference.after is ABSENT:
            del place[last]
        elif isinstance(place, list) and last == len(place):
            place.append(difference.after)
        else:
            place[last] = difference.after
    return document
