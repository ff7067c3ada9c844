"""The desk over the API: lists, sums, and ends with their reason."""

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.services.users import change_user
from config.kernel.clock import now
from config.kernel.windows import format_instant
from config.tenancy.services.realms import change_realm
from config.tenancy.services.service_keys import create_service_key
from gating.models import Lease, LeaseEnd, Rating
from tests.billing.answers import refusal
from tests.gating.gate import Gate
from tests.tools.client import SignedClient

WHY = {"operator": "mia", "reason": "the worker crashed", "ticket_id": "SUP-9"}


@pytest.fixture
def gate(realm, account, user, by):
    """A gate of a minute ago: the API acts now."""
    gate = Gate(realm, account, user, now() - timedelta(minutes=1), by)
    gate.feature(price=10, cost=4)
    gate.credit(10_000)
    gate.quota(500, unit="token", seconds=10**8)
    return gate


def held(gate, *args, **given):
    return gate.row(gate.lease(*args, **given))


def listed(api, **query):
    answer = api.get("gate/holds", **query)
    assert answer.status_code == 200, answer.content
    return [row["lease_id"] for row in answer.json()["data"]["items"]]


def ids(*leases):
    return [str(lease.pk) for lease in leases]


# --- read ----------------------------------------------------------------------


def test_hold_tells_all_that_the_desk_shows(api, gate):
    lease = held(gate, 75, lease="job-1", labels={"team": "a"})

    told = api.get(f"gate/holds/{lease.pk}").json()["data"]

    assert told.pop("age_seconds") in {60, 61, 62, 63, 64}
    assert told == {
        "lease_id": str(lease.pk),
        "lease": "job-1",
        "state": "active",
        "billing_account_id": str(gate.account.pk),
        "principal_id": "acme",
        "billing_user_id": str(gate.user.pk),
        "user_id": "u-1",
        "feature_code": "chat",
        "feature_family_code": "ai",
        "billing_mode": "prepaid",
        "reserved_minor": "75",
        "unit": "token",
        "reserved_xusd": "750",
        "budget": None,
        "window_start": format_instant(lease.window_start),
        "window_end": format_instant(lease.window_end),
        "authorized_at": format_instant(gate.at),
        "expires_at": format_instant(gate.at + timedelta(hours=12)),
        "committable_until": format_instant(gate.at + timedelta(hours=12, minutes=1)),
        "ended_at": None,
        "labels": {"team": "a"},
        "idempotency_key": lease.idempotency_key,
        "trace_id": lease.trace_id,
        "commit_id": None,
        "orphaned": [],
        "ended_by": None,
    }


def test_unknown_hold_is_not_found(api, gate):
    for name in ("nonsense", gate.account.pk):
        assert refusal(api.get(f"gate/holds/{name}"))[:2] == (404, "RESOURCE.NOT_FOUND")


def test_list_holds_the_live_ones_the_oldest_first(api, gate):
    first, second, closed = (held(gate, size) for size in (1, 2, 3))
    gate.commit(closed.lease, 3)

    assert listed(api) == ids(first, second)
    assert listed(api, state="active") == ids(first, second)


def test_list_is_read_page_by_page(api, gate):
    leases = [held(gate, 1) for _ in range(3)]
    page = api.get("gate/holds", limit=2).json()["data"]

    rest = api.get("gate/holds", limit=2, cursor=page["next_cursor"]).json()["data"]

    assert [row["lease_id"] for row in (*page["items"], *rest["items"])] == ids(*leases)
    assert "next_cursor" not in rest
    other = api.get("gate/holds", cursor=page["next_cursor"], orphaned="true")
    assert refusal(other) == (422, "VALIDATION.INVALID_INPUT", "cursor")


def test_list_is_filtered(api, gate):
    gate.feature("draw", price=1)
    other = gate.of_principal("globex", "w-1")
    other.credit(1000)
    mine, drawn, theirs = held(gate, 1), held(gate, 1, feature="draw"), held(other, 1)
    Lease.objects.filter(pk=mine.pk).update(
        authorized_at=gate.at - timedelta(hours=1),
        expires_at=gate.at + timedelta(minutes=10),
    )
    soon = format_instant(gate.at + timedelta(minutes=11)).replace("+", "%2B")

    assert listed(api, billing_account_id=other.account.pk) == ids(theirs)
    assert listed(api, billing_user_id=other.user.pk) == ids(theirs)
    assert listed(api, feature_code="Draw") == ids(drawn)
    assert listed(api, older_than_seconds=3600) == ids(mine)
    assert listed(api, older_than_seconds=3660 + 60) == []
    assert listed(api, expiring_before=soon) == ids(mine)
    assert listed(api, feature_code="draw", billing_account_id=other.account.pk) == []


def test_ended_holds_are_listed_of_an_account_or_user(api, gate):
    closed, canceled = held(gate, 1), held(gate, 1)
    gate.commit(closed.lease, 1)
    gate.cancel(canceled.lease)
    of = {"billing_account_id": gate.account.pk}

    assert listed(api, state="closed", **of) == ids(closed)
    assert listed(api, state="canceled", billing_user_id=gate.user.pk) == ids(canceled)
    assert listed(api, state="expired", **of) == []
    assert refusal(api.get("gate/holds", state="closed")) == (
        422,
        "VALIDATION.INVALID_INPUT",
        "billing_account_id",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("older_than_seconds", "-1"),
        ("older_than_seconds", "1.5"),
        ("older_than_seconds", str(2**31)),
        ("older_than_seconds", "1e3"),
        ("expiring_before", "tomorrow"),
        ("orphaned", "yes"),
        ("state", "lost"),
        ("billing_account_id", "acme"),
        ("cursor", "x"),
        ("other", "1"),
    ],
)
def test_filter_that_cannot_be_is_refused(api, gate, name, value):
    assert refusal(api.get("gate/holds", **{name: value})) == (
        422,
        "VALIDATION.INVALID_INPUT",
        name,
    )


def test_orphan_says_why_in_a_sentence(api, gate):
    orphan = held(gate, 5)
    change_user(user=gate.user, status="disabled", at=gate.at, by=gate.by)

    [row] = api.get("gate/holds", orphaned="true").json()["data"]["items"]
    assert row["lease_id"] == str(orphan.pk)
    assert row["orphaned"] == [
        {
            "reason": "user_inactive",
            "sentence": "Its user is disabled, so nobody may commit it.",
        }
    ]
    assert listed(api, orphaned="false") == []


def test_summary_adds_up_what_is_held(api, gate):
    held(gate, 75)
    held(gate, 25)
    change_user(user=gate.user, status="disabled", at=gate.at, by=gate.by)

    told = api.get("gate/holds/summary").json()["data"]

    [row] = told["items"]
    ages = {row.pop("oldest_age_seconds"), told["total"].pop("oldest_age_seconds")}
    assert ages <= {60, 61, 62, 63, 64}
    assert row == {
        "billing_account_id": str(gate.account.pk),
        "principal_id": "acme",
        "feature_code": "chat",
        "unit": "token",
        "count": 2,
        "orphaned_count": 2,
        "oldest_authorized_at": format_instant(gate.at),
        "reserved_minor": "100",
        "reserved_xusd": "1000",
    }
    assert told["total"] == {
        "count": 2,
        "orphaned_count": 2,
        "oldest_authorized_at": format_instant(gate.at),
        "reserved_xusd": "1000",
    }


def test_summary_of_nothing(api, gate):
    told = api.get("gate/holds/summary", feature_code="chat").json()["data"]

    assert told == {
        "items": [],
        "total": {
            "count": 0,
            "orphaned_count": 0,
            "oldest_authorized_at": None,
            "oldest_age_seconds": None,
            "reserved_xusd": "0",
        },
    }


@pytest.mark.parametrize("path", ["gate/holds", "gate/holds/summary"])
def test_reads_ask_the_same_for_one_hold_and_three(api, gate, path):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert api.get(path).status_code == 200
        return len(captured)

    held(gate, 1)
    queries()
    one = queries()
    for name in ("b", "c"):
        other = gate.of_principal(name)
        other.credit(1000)
        held(other, 1)

    assert queries() == one


@pytest.fixture
def limited(realm, gate):
    """A key that may act for the account only."""
    key = create_service_key(
        realm=realm, allowed_accounts=[str(gate.account.pk)], at=gate.at, by=gate.by
    )
    return SignedClient(realm, key)


def test_limited_key_sees_and_ends_its_own_holds_only(limited, gate):
    other = gate.of_principal("globex")
    other.credit(1000)
    mine, theirs = held(gate, 1), held(other, 1)
    forbidden = (403, "AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN", None)

    assert listed(limited) == ids(mine)
    assert limited.get("gate/holds/summary").json()["data"]["total"]["count"] == 1
    assert refusal(limited.get(f"gate/holds/{theirs.pk}")) == forbidden
    for verb, body in (("release", {}), ("commit", {"quantity_minor": "1"})):
        path = f"gate/holds/{theirs.pk}/{verb}"
        assert refusal(limited.post(path, body)) == forbidden
    assert limited.post(f"gate/holds/{mine.pk}/release", {}).status_code == 200
    assert other.row(theirs.lease).state == "active"


# --- release -------------------------------------------------------------------


def test_release_gives_back_and_keeps_the_reason(api, gate):
    lease = held(gate, 75)

    answer = api.post(f"gate/holds/{lease.pk}/release", {"audit": WHY}).json()["data"]

    assert (answer["released"], answer["released_minor"], answer["released_xusd"]) == (
        True,
        "75",
        "750",
    )
    assert answer["hold"]["state"] == "canceled"
    end = answer["hold"]["ended_by"]
    assert end["actor"] == f"service_key:{api.key.key_id}"
    assert {name: end[name] for name in WHY} == WHY
    assert (end["kind"], len(end["trace_id"])) == ("released", 32)
    assert api.get(f"gate/holds/{lease.pk}").json()["data"]["ended_by"] == end
    assert gate.used() == (0, 0)
    assert gate.balance() == (10_000, 0, 0)


def test_release_is_answered_once_for_its_key(api, gate):
    lease = held(gate, 75)
    path = f"gate/holds/{lease.pk}/release"

    first = api.post(path, {"audit": WHY}, key="k")
    again = api.post(path, {"audit": WHY}, key="k")
    other = api.post(path, {"audit": WHY}, key="l").json()["data"]

    assert again.content == first.content
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (other["released"], other["released_minor"], other["released_xusd"]) == (
        False,
        "0",
        "0",
    )
    assert other["hold"]["ended_by"]["reason"] == WHY["reason"]
    assert LeaseEnd.objects.filter(realm=gate.realm).count() == 1


def test_release_without_a_reason_is_explained_by_its_call(api, gate):
    lease = held(gate, 75)

    api.post(f"gate/holds/{lease.pk}/release", key="k")

    end = LeaseEnd.objects.get(realm=gate.realm)
    assert (end.operator, end.reason, end.ticket_id) == (
        api.key.key_id,
        "release_gate_hold",
        "k",
    )


def test_realm_that_wants_reasons_has_them(api, gate):
    change_realm(
        realm=gate.realm,
        name=gate.realm.name,
        metadata={"require_audit_fields": True},
        at=gate.at,
        by=gate.by,
    )
    lease = held(gate, 75)

    for verb, body in (("release", {}), ("commit", {"quantity_minor": "1"})):
        answer = api.post(f"gate/holds/{lease.pk}/{verb}", body)
        assert refusal(answer) == (422, "VALIDATION.INVALID_INPUT", "audit.operator")
    assert gate.row(lease.lease).state == "active"


def test_callers_commit_on_a_released_hold_is_quarantined(api, signed, gate):
    lease = held(gate, 75)
    api.post(f"gate/holds/{lease.pk}/release", {"audit": WHY})

    answer = signed.post(
        "gate/commits",
        {"lease": lease.lease, "feature_code": "chat", "quantity_minor": "75"},
    ).json()

    assert answer["data"]["application_status"] == "quarantined"
    assert answer["data"]["amount_xusd"] == "0"
    assert {"type": "lease.closed_at_commit", "state": "canceled"} in answer["hints"]


# --- commit --------------------------------------------------------------------


def test_commit_charges_and_keeps_the_reason(api, gate):
    lease = held(gate, 75)
    body = {"quantity_minor": "50", "labels": {"by": "desk"}, "audit": WHY}

    answer = api.post(f"gate/holds/{lease.pk}/commit", body).json()["data"]

    assert (
        answer["commit"]["amount_xusd"],
        answer["commit"]["application_status"],
    ) == (
        "500",
        "applied",
    )
    hold = answer["hold"]
    assert (hold["state"], hold["commit_id"]) == (
        "closed",
        answer["commit"]["commit_id"],
    )
    assert hold["ended_by"]["kind"] == "committed"
    assert {name: hold["ended_by"][name] for name in WHY} == WHY
    assert gate.used() == (50, 0)
    assert gate.balance() == (9_500, 0, 500)
    assert Rating.objects.get(realm=gate.realm).labels == {"by": "desk"}


def test_commit_names_the_meters(api, gate):
    lease = held(gate, 75)
    meters = [{"meter_code": "chat", "quantity_minor": "7"}]

    answer = api.post(
        f"gate/holds/{lease.pk}/commit", {"quantity_minor": "50", "meters": meters}
    ).json()["data"]

    assert answer["commit"]["amount_xusd"] == "70"


def test_commit_tells_what_did_not_fit(api, gate):
    lease = held(gate, 75)

    answer = api.post(f"gate/holds/{lease.pk}/commit", {"quantity_minor": "501"}).json()

    assert answer["data"]["commit"]["reason_codes"] == ["overshoot"]
    assert {"type": "quota.remaining", "max_quantity_minor": 500} in answer["hints"]


def test_commit_is_answered_once_for_its_key(api, gate):
    lease = held(gate, 75)
    path, body = f"gate/holds/{lease.pk}/commit", {"quantity_minor": "50"}

    first = api.post(path, body, key="k")
    again = api.post(path, body, key="k")

    assert again.content == first.content
    assert refusal(api.post(path, {"quantity_minor": "51"}, key="k"))[:2] == (
        409,
        "WRITE.INVALID_PAYLOAD",
    )
    assert refusal(api.post(path, body, key="l")) == (409, "HOLD.ENDED", None)
    assert Rating.objects.filter(realm=gate.realm).count() == 1
    assert LeaseEnd.objects.filter(realm=gate.realm).count() == 1


def test_commit_of_an_ended_hold_is_refused(api, gate):
    lease = held(gate, 75)
    gate.cancel(lease.lease)

    answer = api.post(f"gate/holds/{lease.pk}/commit", {"quantity_minor": "50"})

    assert answer.status_code == 409
    told = answer.json()
    assert (told["code"], told["meta"]["state"]) == ("HOLD.ENDED", "canceled")
    assert "This hold was released at " in told["message"]
    assert not Rating.objects.filter(realm=gate.realm).exists()


@pytest.mark.parametrize("quantity", [None, "0", "-1", "1.5", str(2**63)])
def test_quantity_that_cannot_be_is_refused(api, gate, quantity):
    lease = held(gate, 75)
    body = {} if quantity is None else {"quantity_minor": quantity}

    answer = api.post(f"gate/holds/{lease.pk}/commit", body)

    assert refusal(answer) == (422, "VALIDATION.INVALID_INPUT", "quantity_minor")


@pytest.mark.parametrize("verb", ["release", "commit"])
def test_end_does_not_hold_only_later(api, gate, verb):
    lease = held(gate, 75)
    body = {"audit": {**WHY, "effective_at": "2099-01-01T00:00:00Z"}}
    if verb == "commit":
        body["quantity_minor"] = "1"

    assert refusal(api.post(f"gate/holds/{lease.pk}/{verb}", body)) == (
        422,
        "AUDIT.EFFECTIVE_IN_FUTURE",
        "audit.effective_at",
    )
    assert gate.row(lease.lease).state == "active"


def test_log_line_of_a_trace_names_the_service_key(api, gate, capsys):
    answer = api.get("gate/holds")

    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["trace_id"] == answer.json()["trace_id"]
    assert line["caller"] == f"service_key:{api.key.key_id}"
