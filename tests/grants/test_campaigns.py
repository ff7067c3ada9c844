"""Campaigns: the verbs, and `/grant-campaigns` through HTTP."""

from datetime import timedelta

import pytest
from vlunaai.generated import admin_models as wire

from billing.services.plans import upsert_plan
from config.kernel.errors import Invalid
from config.tenancy.models import DomainEvent
from grants.models import CampaignStatus, GrantCampaign
from grants.services.campaigns import (
    CampaignEnded,
    CampaignNameTaken,
    CampaignStatusRefused,
    change_campaign,
)
from tests.billing.answers import explained, invalid, paged, read, refusal
from tests.billing.races import race
from tests.grants.make import grants, make_campaign, make_event_campaign, make_program

BODY = {
    "name": "Spring",
    "window_start": "2026-03-01T00:00:00Z",
    "window_end": "2026-04-01T00:00:00Z",
    "event_type": "billing_user.activated",
    "payload_match": {"plan": {"code": "pro"}},
    "assignment_trigger": "first_match",
    "metadata": grants("welcome"),
}


@pytest.fixture
def program(realm, at, by):
    return make_program(realm, at=at, by=by)


@pytest.fixture
def campaign(realm, program, at, by):
    return make_campaign(realm, at=at, by=by)


def created(api, **changed):
    answer = api.post("grant-campaigns", {**BODY, **changed})
    return read(answer, wire.GrantCampaignEnvelope, 201)


def test_campaign_by_event_is_created_as_the_client_knows_it(api, realm, program):
    data = created(api)

    shown = api.get(f"grant-campaigns/{data['campaign_id']}")
    assert read(shown, wire.GrantCampaignEnvelope) == data
    assert data.pop("created_at") and data.pop("updated_at")
    assert data == {
        **BODY,
        "campaign_id": data["campaign_id"],
        "realm_id": realm.pk,
        "status": "scheduled",
        "window_start": "2026-03-01T00:00:00.000000Z",
        "window_end": "2026-04-01T00:00:00.000000Z",
        "target_filter": {},
        "ended_at": None,
    }


def test_campaign_by_target_has_no_event(api, program, account):
    targets = {"billing_account_ids": [str(account.pk)]}
    body = {
        "name": "All",
        "window_start": BODY["window_start"],
        "target_filter": targets,
        "metadata": BODY["metadata"],
        "status": "active",
    }

    answer = api.post("grant-campaigns", body)

    data = answer.json()["data"]
    assert answer.status_code == 201
    assert (data["event_type"], data["assignment_trigger"]) == (None, None)
    assert (data["status"], data["target_filter"]) == ("active", targets)


NOBODY = "0190aaaa-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": "  "}, "name"),
        ({"status": "paused"}, "status"),
        ({"status": "ended"}, "status"),
        ({"status": "x"}, "status"),
        ({"window_end": BODY["window_start"]}, "window_end"),
        ({"window_start": "yesterday"}, "window_start"),
        ({"event_type": None}, "event_type"),
        ({"event_type": None, "assignment_trigger": None}, "event_type"),
        ({"assignment_trigger": None}, "assignment_trigger"),
        ({"assignment_trigger": "always"}, "assignment_trigger"),
        ({"event_type": "a b"}, "event_type"),
        ({"event_type": "a" * 129}, "event_type"),
        ({"event_type": "grant.issued"}, "event_type"),
        ({"payload_match": []}, "payload_match"),
        ({"target_filter": {"q": 1}}, "target_filter.q"),
        (
            {"target_filter": {"billing_account_ids": "x"}},
            "target_filter.billing_account_ids",
        ),
        (
            {"target_filter": {"billing_account_ids": ["x"]}},
            "target_filter.billing_account_ids.0",
        ),
        (
            {"target_filter": {"billing_account_ids": [NOBODY]}},
            "target_filter.billing_account_ids.0",
        ),
        ({"metadata": {}}, "metadata.grants"),
        ({"metadata": {"grants": []}}, "metadata.grants"),
        ({"metadata": {"grants": 7}}, "metadata.grants"),
        (
            {"metadata": grants("welcome", "nothing")},
            "metadata.grants.1.grant_program_code",
        ),
        (
            {"metadata": grants("welcome", "Welcome")},
            "metadata.grants.1.grant_program_code",
        ),
        (
            {"metadata": grants("welcome", amount_xusd=None)},
            "metadata.grants.0.amount_xusd",
        ),
        (
            {"metadata": grants("welcome", amount_xusd="-1")},
            "metadata.grants.0.amount_xusd",
        ),
        (
            {"metadata": grants("welcome", binding_window_end="2026-02-01T00:00:00Z")},
            "metadata.grants.0.binding_window_end",
        ),
        (
            {"metadata": {**grants("welcome"), "billing_plan_code": "ghost"}},
            "metadata.billing_plan_code",
        ),
        (
            {"metadata": {**grants("welcome"), "billing_plan_window_seconds": 0}},
            "metadata.billing_plan_window_seconds",
        ),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_bad_campaign_is_refused(api, realm, program, changed, field):
    answer = api.post("grant-campaigns", {**BODY, **changed})

    assert refusal(answer) == invalid(field)
    assert not GrantCampaign.objects.in_realm(realm).exists()


def test_plan_of_a_campaign_is_an_active_one(api, realm, program, at, by):
    for code, active in (("pro", True), ("old", False)):
        upsert_plan(
            realm=realm, plan_code=code, name=code, kind="promo", active=active,
            at=at, by=by,
        )  # fmt: skip

    with_plan = {**grants("welcome"), "billing_plan_code": "pro"}
    assert created(api, metadata=with_plan)["metadata"] == with_plan
    answer = api.post(
        "grant-campaigns",
        {**BODY, "name": "b", "metadata": {**with_plan, "billing_plan_code": "old"}},
    )
    assert refusal(answer) == invalid("metadata.billing_plan_code")


@pytest.mark.parametrize("name", ["Spring", "SPRING", "spring "])
def test_name_that_exists_is_refused_whatever_its_case(api, program, name):
    created(api)

    again = api.post("grant-campaigns", {**BODY, "name": name})

    assert refusal(again) == (409, "GRANT.CAMPAIGN_NAME_TAKEN", "name")


def test_one_name_created_by_many_at_once_is_created_once(committed_realm, at, by):
    make_program(committed_realm, at=at, by=by)

    def create(number):
        try:
            make_campaign(
                committed_realm, "Spring" if number % 2 else "SPRING", at=at, by=by
            )
        except CampaignNameTaken:
            return 0
        return 1

    assert sum(race(create, threads=8)) == 1
    assert GrantCampaign.objects.in_realm(committed_realm).count() == 1


def test_change_of_a_name_to_one_that_exists_is_refused(api, program, campaign):
    created(api, name="Summer")

    answer = api.patch(f"grant-campaigns/{campaign.pk}", {"name": "sUMMER"})
    own = api.patch(f"grant-campaigns/{campaign.pk}", {"name": "SPRING"})

    assert refusal(answer) == (409, "GRANT.CAMPAIGN_NAME_TAKEN", "name")
    assert own.status_code == 200


def test_every_field_can_change(api, program, account):
    path = f"grant-campaigns/{created(api)['campaign_id']}"
    changes = {
        "name": "Autumn",
        "status": "active",
        "window_start": "2026-03-02T00:00:00.000000Z",
        "window_end": None,
        "event_type": "billing_account.created",
        "payload_match": {"a": [1]},
        "assignment_trigger": "every_match",
        "target_filter": {"billing_account_ids": [str(account.pk)]},
        "metadata": grants("welcome", amount_xusd="9"),
    }

    data = read(api.patch(path, changes), wire.GrantCampaignEnvelope)
    target = api.patch(
        path, {"event_type": None, "assignment_trigger": None, "payload_match": {}}
    )

    assert {name: data[name] for name in changes} == changes
    assert target.json()["data"]["event_type"] is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": None}, "name"),
        ({"window_end": "2026-01-01T00:00:00Z"}, "window_end"),
        ({"event_type": "x.y"}, "assignment_trigger"),
        ({"metadata": {"grants": []}}, "metadata.grants"),
        ({"ended_at": "2026-01-01T00:00:00Z"}, "ended_at"),
    ],
)
def test_bad_change_is_refused(api, campaign, changes, field):
    answer = api.patch(f"grant-campaigns/{campaign.pk}", changes)

    assert refusal(answer) == invalid(field)


ALLOWED = {
    ("scheduled", "active"), ("scheduled", "paused"), ("scheduled", "ended"),
    ("active", "paused"), ("active", "ended"),
    ("paused", "active"), ("paused", "ended"),
}  # fmt: skip


@pytest.mark.parametrize("before", ["scheduled", "active", "paused", "ended"])
@pytest.mark.parametrize("after", ["scheduled", "active", "paused", "ended"])
def test_statuses_follow_one_another(realm, program, before, after, at, by):
    row = make_campaign(realm, status="scheduled", at=at, by=by)
    if before != "scheduled":
        change_campaign(campaign=row, changes={"status": before}, at=at, by=by)

    def follow():
        return change_campaign(
            campaign=row, changes={"status": after}, at=at + timedelta(hours=1), by=by
        )

    if before == after:
        assert follow().status == before
    elif before == "ended":
        with pytest.raises(CampaignEnded):
            follow()
    elif (before, after) in ALLOWED:
        changed = follow()
        assert changed.status == after
        ended_at = at + timedelta(hours=1) if after == "ended" else None
        assert changed.ended_at == ended_at
    else:
        with pytest.raises(CampaignStatusRefused):
            follow()


def test_ended_campaign_changes_in_nothing(api, campaign):
    path = f"grant-campaigns/{campaign.pk}"
    ended = api.patch(path, {"status": "ended"}).json()["data"]

    renamed = api.patch(path, {"name": "x"})

    assert ended["ended_at"] is not None
    assert refusal(renamed)[:2] == (409, "GRANT.CAMPAIGN_ENDED")
    assert api.patch(path, {"status": "ended"}).json()["data"] == ended


def test_changes_are_explained_and_announced(campaign, at, by):
    change_campaign(campaign=campaign, changes={"name": "x"}, at=at, by=by)
    change_campaign(campaign=campaign, changes={"name": "x"}, at=at, by=by)

    assert len(explained(campaign)) == 2
    kinds = DomainEvent.objects.filter(subject_id=str(campaign.pk)).order_by("id")
    assert [event.kind for event in kinds] == [
        "grant_campaign.created",
        "grant_campaign.changed",
    ]


def test_campaign_that_gave_nothing_is_deleted(api, campaign, realm):
    path = f"grant-campaigns/{campaign.pk}"

    data = read(api.request("DELETE", path, {}), wire.GrantCampaignDeleteEnvelope)

    assert data == {"deleted": True, "soft_deleted": False}
    assert refusal(api.get(path))[:2] == (404, "RESOURCE.NOT_FOUND")
    assert refusal(api.request("DELETE", path, {}))[0] == 404
    assert GrantCampaign.history.filter(id=campaign.pk, history_type="-").count() == 1


def test_verb_refuses_a_campaign_of_bad_name(realm, program, at, by):
    with pytest.raises(Invalid) as refused:
        make_campaign(realm, " ", at=at, by=by)
    assert refused.value.field == "name"


def test_list_pages_and_filters(api, realm, program, at, by):
    for name in ("Alpha", "Beta", "Gamma"):
        make_campaign(realm, name, at=at, by=by)
    make_event_campaign(realm, "a.b", name="Delta", status="scheduled", at=at, by=by)

    def found(**query):
        return sorted(paged(api, "grant-campaigns", "name", **query))

    assert found() == ["Alpha", "Beta", "Delta", "Gamma"]
    assert found(status="scheduled") == ["Delta"]
    assert found(event_type="a.b") == ["Delta"]
    assert found(q="A") == ["Alpha", "Beta", "Delta", "Gamma"]
    assert found(q="mm") == ["Gamma"]
    assert refusal(api.get("grant-campaigns", status="x")) == invalid("status")


def test_another_realms_campaign_is_unknown(api, other_realm, at, by):
    make_program(other_realm, at=at, by=by)
    foreign = make_campaign(other_realm, at=at, by=by)

    for answer in (
        api.get(f"grant-campaigns/{foreign.pk}"),
        api.patch(f"grant-campaigns/{foreign.pk}", {"name": "x"}),
        api.request("DELETE", f"grant-campaigns/{foreign.pk}", {}),
        api.get("grant-campaigns/nonsense"),
    ):
        assert refusal(answer)[:2] == (404, "RESOURCE.NOT_FOUND")
    assert GrantCampaign.objects.filter(pk=foreign.pk).exists()


def test_status_words_are_those_of_the_wire():
    assert {*CampaignStatus.values} == {s.value for s in wire.Status3}
