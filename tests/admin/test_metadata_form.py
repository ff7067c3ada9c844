import json

import pytest
from django import forms
from hypothesis import given
from hypothesis import strategies as st

from config.admin.metadata import known_fields, metadata_form, simple_keys
from config.admin.widgets import dress, is_dressed
from config.kernel.errors import Invalid
from config.kernel.metadata import (
    Contract,
    PlanMetadata,
    PolicyMetadata,
    RealmMetadata,
    check_metadata,
)
from config.kernel.metadata.fields import known
from config.kernel.metadata.grants import Grants

CADENCE = "metadata__billing_defaults__period__cadence"
GRACE = "metadata__billing_defaults__period__grace_window_seconds"
PLAN_ID = "0190aaaa-0000-7000-8000-000000000001"


def form_for(contract, stored, data=None):
    kind = metadata_form(contract, base=forms.Form)
    return kind(data, initial={"metadata": stored})


def untouched(form):
    """Return what a browser sends back when nobody types anything."""
    return {
        name: "" if (value := form[name].value()) is None else str(value)
        for name in form.fields
    }


def saved(contract, stored, **typed):
    """Return the form after `typed` was typed into the stored document's form."""
    data = untouched(form_for(contract, stored)) | typed
    form = form_for(contract, stored, data)
    form.is_valid()
    return form


def test_form_has_a_field_per_simple_key_and_the_rest_last():
    names = known_fields(PlanMetadata)

    assert names == (
        "metadata__gate_bundle_key",
        "metadata__billing_defaults__period__billing_mode",
        "metadata__billing_defaults__period__issue_anchor",
        "metadata__billing_defaults__period__kind",
        CADENCE,
        "metadata__billing_defaults__period__fixed_days",
        GRACE,
        "metadata",
    )
    assert tuple(form_for(PlanMetadata, {}).fields) == names


class Listed(Contract):
    """A contract of nothing but a list."""

    grants: Grants = known("The grants.", default=())


def test_structured_keys_have_no_box_of_their_own():
    assert simple_keys(Listed) == ()
    assert known_fields(Listed) == ("metadata",)


def test_stored_known_keys_show_in_their_boxes_and_not_in_the_rest():
    stored = {
        "require_audit_fields": False,
        "team": "payments",
        "billing_defaults": {"period": {"cadence": "monthly", "note": 1}},
    }

    form = form_for(RealmMetadata, stored)

    assert form[CADENCE].value() == "monthly"
    assert form["metadata__require_audit_fields"].value() == "false"
    assert form["metadata__default_plan_id"].value() is None
    assert json.loads(form["metadata"].value()) == {
        "team": "payments",
        "billing_defaults": {"period": {"note": 1}},
    }


def test_typed_boxes_become_typed_values():
    form = saved(
        RealmMetadata,
        {"team": "payments"},
        **{
            CADENCE: "weekly",
            GRACE: "0",
            "metadata__require_audit_fields": "true",
            "metadata__default_plan_id": PLAN_ID,
        },
    )

    assert form.errors == {}
    assert form.cleaned_data["metadata"] == {
        "team": "payments",
        "billing_defaults": {
            "period": {"cadence": "weekly", "grace_window_seconds": 0}
        },
        "require_audit_fields": True,
        "default_plan_id": PLAN_ID,
    }


def test_emptied_boxes_remove_their_keys_and_the_parents_they_leave_empty():
    stored = {"billing_defaults": {"period": {"cadence": "weekly"}}, "a": 1}

    form = saved(RealmMetadata, stored, **{CADENCE: ""})

    assert form.cleaned_data["metadata"] == {"a": 1}


def test_emptied_rest_is_an_empty_object():
    form = saved(RealmMetadata, {"a": 1}, metadata="")

    assert form.errors == {}
    assert form.cleaned_data["metadata"] == {}


@pytest.mark.parametrize(
    ("typed", "field", "sentence"),
    [
        (
            {"metadata__default_plan_id": "nope"},
            "metadata__default_plan_id",
            "metadata.default_plan_id must be a UUID of 36 characters.",
        ),
        (
            {GRACE: "-1"},
            GRACE,
            "metadata.billing_defaults.period.grace_window_seconds must lie between 0 and 3155760000.",
        ),
        ({GRACE: "soon"}, GRACE, "Enter a whole number."),
        (
            {CADENCE: "hourly"},
            CADENCE,
            "Select a valid choice. hourly is not one of the available choices.",
        ),
        (
            {"metadata": '{"billing_defaults": 5}'},
            "metadata",
            "metadata.billing_defaults must be an object.",
        ),
        (
            {"metadata": '{"billing_defaults": 5}', CADENCE: "weekly"},
            "metadata",
            "`billing_defaults.period.cadence` is set above, so its parents must be objects here.",
        ),
        (
            {
                "metadata": '{"billing_defaults": {"period": {"cadence": "daily"}}}',
                CADENCE: "weekly",
            },
            "metadata",
            "`billing_defaults.period.cadence` has a field of its own above: set it there only.",
        ),
        ({"metadata": "[1]"}, "metadata", "metadata must be a JSON object."),
        (
            {"metadata": '{"a": 1, "a": 2}'},
            "metadata",
            "The key 'a' appears twice.",
        ),
        (
            {"metadata": "{"},
            "metadata",
            "The text is not valid JSON: Expecting property name enclosed in double quotes at character 1.",
        ),
    ],
)
def test_what_is_wrong_is_told_on_its_own_field(typed, field, sentence):
    form = saved(RealmMetadata, {}, **typed)

    assert form.errors[field] == [sentence]


def test_every_broken_key_is_told_at_once():
    form = saved(
        RealmMetadata, {}, **{GRACE: "-1", "metadata__default_plan_id": "nope"}
    )

    assert set(form.errors) == {GRACE, "metadata__default_plan_id"}


def test_fault_inside_a_structured_key_is_told_on_the_rest():
    form = saved(
        PlanMetadata,
        {},
        metadata='{"grants": [{"grant_program_code": "x", "amount_xusd": -1}]}',
    )

    assert list(form.errors) == ["metadata"]
    assert form.errors["metadata"][0].startswith("metadata.grants.0.amount_xusd ")


def test_refused_json_stays_as_it_was_typed():
    text = '{"a": 1,\n  "a": 2 }'

    form = saved(RealmMetadata, {}, metadata=text)

    assert form["metadata"].value() == text


def test_near_misses_are_noted_and_kept():
    form = saved(PlanMetadata, {}, metadata='{"gate_bundel_key": "pro"}')

    assert form.errors == {}
    assert form.cleaned_data["metadata"] == {"gate_bundel_key": "pro"}
    assert form.near_misses == (
        "`gate_bundel_key` is not a key the system reads. Did you mean `gate_bundle_key`?",
    )


def test_stored_values_that_no_box_can_hold_stay_in_the_rest():
    stored = {"require_audit_fields": "yes", "default_plan_id": None}

    form = form_for(RealmMetadata, stored)

    assert json.loads(form["metadata"].value()) == stored
    assert form["metadata__require_audit_fields"].value() is None


def test_same_key_in_two_places_has_two_labels():
    form = form_for(PolicyMetadata, {})

    assert form.fields["metadata__feature_code"].label == "Feature code"
    assert (
        form.fields["metadata__params__feature_code"].label == "Feature code (params)"
    )


def test_every_field_is_visible_in_the_theme():
    form = form_for(PolicyMetadata, {})

    dress(form)

    assert all(is_dressed(field.widget) for field in form.fields.values())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(["", "x", " x", "true", "1"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["a", "period"]), inner, max_size=2)
    ),
    max_leaves=4,
)
PERIOD = st.fixed_dictionaries(
    {},
    optional={
        "cadence": st.sampled_from(["daily", "monthly", "hourly"]) | JSON,
        "grace_window_seconds": st.integers(-1, 9) | JSON,
        "kind": st.sampled_from(["calendar", "two words", "a\nb", "é"]) | JSON,
        "note": JSON,
    },
)
REALM_DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "billing_defaults": st.fixed_dictionaries(
            {}, optional={"period": PERIOD | JSON}
        )
        | JSON,
        "default_plan_id": st.just(PLAN_ID) | JSON,
        "require_audit_fields": JSON,
        "note": JSON,
    },
)


@given(REALM_DOCUMENTS)
def test_saving_untouched_keeps_the_document_exactly(stored):
    form = saved(RealmMetadata, stored)

    try:
        check_metadata(RealmMetadata, stored)
    except Invalid:
        assert form.errors
    else:
        assert form.errors == {}
        assert json.dumps(form.cleaned_data["metadata"], sort_keys=True) == json.dumps(
            stored, sort_keys=True
        )
