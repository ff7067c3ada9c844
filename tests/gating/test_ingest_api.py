"""`POST /gate/ingest` on the wire."""

from datetime import timedelta

import pytest
from vlunaai.generated import gate_models as wire

from billing.services.users import change_user
from config.kernel.clock import now
from config.kernel.windows import format_instant
from config.tenancy.models import Scope
from config.tenancy.services.service_keys import (
    create_service_key,
    set_service_key_status,
)
from gating.models import Rating
from tests.gating.answers import bad, good
from tests.gating.gate import row_counts
from tests.tools.client import SignedClient

PATH = "gate/ingest"
MINUTE = timedelta(minutes=1)


def usage(**changes):
    document = {"feature_code": "chat", "quantity_minor": "60"}
    return {name: value for name, value in {**document, **changes}.items() if value}


def test_usage_is_told_as_a_commit_is(priced, signed):
    document = good(
        signed.post(
            PATH,
            usage(
                feature_code=" Chat ",
                labels={"team": " a ", "empty": " ", "n": 1},
                metadata={"run": 7},
                occurred_at=format_instant(now() - MINUTE),
            ),
        ),
        wire.CommitEnvelope,
    )

    data = document["data"]
    assert set(data) == {
        "commit_id", "amount_xusd", "cost_xusd", "application_status", "reason_codes",
        "lines",
    }  # fmt: skip
    assert (data["amount_xusd"], data["cost_xusd"]) == ("600", "240")
    rating = Rating.objects.get(pk=data["commit_id"])
    assert rating.labels == {"team": "a", "n": "1"}
    assert rating.metadata["run"] == 7


def test_a_repeat_is_the_same_bytes(priced, signed):
    body = usage(meters=[{"meter_code": "chat", "quantity_minor": "60"}])

    first = signed.post(PATH, body, key="once")
    again = signed.post(PATH, body, key="once")

    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert priced.balance() == (10_000 - 600, 0, 600)


@pytest.mark.parametrize(
    "other",
    [
        {"quantity_minor": "61"}, {"meters": [{"meter_code": "chat", "quantity_minor": "60"}]},
        {"occurred_at": format_instant(now())}, {"labels": {"a": "b"}}, {"metadata": {"a": 1}}, {"budget": "b"},
    ],
)  # fmt: skip
def test_a_key_with_another_body_is_a_conflict(priced, signed, other):
    signed.post(PATH, usage(), key="once")

    bad(signed.post(PATH, usage(**other), key="once"), 409, "WRITE.INVALID_PAYLOAD")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (usage(quantity_minor=None), "quantity_minor"),
        (usage(quantity_minor=None) | {"meters": []}, "meters"),
        (usage(quantity_minor=None, meters=[{"meter_code": "chat", "quantity_minor": 0}]), "meters"),
        (usage(quantity_minor="-1"), "quantity_minor"),
        (usage() | {"quantity_minor": "0"}, "quantity_minor"),
        (usage(occurred_at="yesterday"), "occurred_at"),
        (usage(occurred_at="2026-01-01T00:00:00"), "occurred_at"),
        (usage(budget=" "), "budget"),
        (usage(metadata={"ingest": {}}), "metadata.ingest"),
        (usage(lease="lease.x"), "lease"),
        (usage(meters=[{"meter_code": "chat", "quantity_minor": "1"}] * 101), "meters"),
    ],
)  # fmt: skip
def test_what_is_no_usage_is_refused(priced, signed, body, field):
    before = row_counts()

    answer = bad(signed.post(PATH, body), 422, "VALIDATION.INVALID_INPUT")

    assert answer["meta"]["field"] == field
    assert row_counts() == before


@pytest.mark.parametrize(
    ("when", "code"),
    [(timedelta(minutes=6), "INGEST.OCCURRED_IN_FUTURE"), (timedelta(days=-91), "INGEST.OCCURRED_TOO_EARLY")],
)  # fmt: skip
def test_an_instant_that_is_not_taken_is_refused(priced, signed, when, code):
    body = usage(occurred_at=format_instant(now() + when))

    assert bad(signed.post(PATH, body), 422, code)["meta"]["field"] == "occurred_at"


def test_a_foreign_meter_is_refused(priced, signed):
    body = usage(meters=[{"meter_code": "made-up", "quantity_minor": "1"}])

    answer = bad(signed.post(PATH, body), 422, "VALIDATION.INVALID_INPUT")

    assert answer["error"]["type"] == "meter_not_allowed_for_feature"
    assert answer["hints"][0]["type"] == "feature.meter_not_allowed"


def test_a_budget_is_named_by_its_reference(priced, signed):
    priced.budget(500)

    data = good(signed.post(PATH, usage(budget="trip")), wire.CommitEnvelope)["data"]
    unknown = bad(signed.post(PATH, usage(budget="b")), 422, "RESOURCE.NOT_FOUND")

    assert (data["amount_xusd"], data["budget_remaining_xusd"]) == ("500", "0")
    assert unknown["meta"]["reason"] == "budget_not_found"


def test_a_user_that_is_disabled_reports_nothing(priced, signed, user, at, by):
    signed.post(PATH, usage())
    change_user(user=user, status="disabled", at=at, by=by)

    bad(signed.post(PATH, usage()), 403, "AUTH.BILLING_USER_DISABLED")


def test_names_are_needed_and_the_scope(priced, api, realm, at, by):
    bad(api.post(PATH, usage()), 401, "AUTH.MISSING_RUNTIME_BINDINGS")
    key = create_service_key(realm=realm, scopes=[Scope.RUNTIME], at=at, by=by)
    client = SignedClient(realm, key, principal_id="acme", user_id="u-1")

    good(client.post(PATH, usage()), wire.CommitEnvelope)


def test_a_key_that_was_disabled_reports_nothing_more(
    priced, signed, service_key, at, by
):
    good(signed.post(PATH, usage()), wire.CommitEnvelope)
    set_service_key_status(key=service_key, status="disabled", at=at, by=by)

    bad(signed.post(PATH, usage()), 403, "AUTH.SERVICE_KEY_DISABLED")


def test_what_changed_meanwhile_of_credentials_is_read_again(
    priced, signed, realm, at, by
):
    good(signed.post(PATH, usage()), wire.CommitEnvelope)
    create_service_key(realm=realm, at=at, by=by)

    good(signed.post(PATH, usage()), wire.CommitEnvelope)


def test_a_new_principal_gets_its_account(priced, api):
    client = api.bound(principal_id="new", user_id="someone")

    document = good(client.post(PATH, usage()), wire.CommitEnvelope)

    assert document["data"]["application_status"] == "applied_clipped"
    rating = Rating.objects.get(pk=document["data"]["commit_id"])
    assert rating.account.billing_principal_id == "new"
