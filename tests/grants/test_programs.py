"""Grant programs: the verbs, and `/grant-programs` through HTTP."""

import pytest
from vlunaai.generated import admin_models as wire

from config.kernel.errors import Invalid
from config.tenancy.models import DomainEvent
from grants.models import FALLBACK_PROGRAM, GrantProgram
from grants.selectors.programs import list_programs
from grants.services.programs import (
    ProgramCodeTaken,
    ProgramFixed,
    SystemProgram,
    change_program,
)
from tests.billing.answers import explained, invalid, paged, queries_of, read, refusal
from tests.billing.races import race
from tests.conftest import make_realm
from tests.grants.make import grants, make_campaign, make_program

INT64_MAX = 2**63 - 1
BODY = {
    "program_code": "Trial",
    "cadence": "monthly",
    "issue_anchor": "binding_start",
    "amount_xusd": "100000",
    "window_kind": "period",
    "outstanding_application_policy": "never",
    "issuance_mode": "eager",
}


@pytest.fixture
def program(realm, at, by):
    return make_program(realm, at=at, by=by)


def created(api, **changed):
    answer = api.post("grant-programs", {**BODY, **changed})
    return read(answer, wire.GrantProgramEnvelope, 201)


def test_program_is_created_with_defaults(api, realm):
    data = created(api)

    shown = read(
        api.get(f"grant-programs/{data['program_id']}"), wire.GrantProgramEnvelope
    )
    assert shown == data
    assert data.pop("created_at") and data.pop("updated_at")
    assert data == {
        "program_id": data["program_id"],
        "realm_id": realm.pk,
        "program_code": "trial",
        "name": "",
        "active": True,
        "cadence": "monthly",
        "issue_anchor": "binding_start",
        "grant_kind": "grant",
        "amount_xusd": "100000",
        "window_kind": "period",
        "window_default_seconds": None,
        "priority": 0,
        "on_ledger": False,
        "outstanding_application_policy": "never",
        "issuance_mode": "eager",
        "periodic_accounting": False,
        "accrual_mode": None,
        "eligibility_kind": "manual",
        "eligibility_kind_exact": "manual",
        "eligibility_payload": {},
        "metadata": {},
    }


def test_program_keeps_every_field(api):
    given = {
        "name": "Trial month",
        "active": False,
        "grant_kind": "promo",
        "window_kind": "relative_duration",
        "window_default_seconds": 86_400,
        "priority": -7,
        "on_ledger": True,
        "outstanding_application_policy": "apply_to_outstanding",
        "issuance_mode": "lazy",
        "periodic_accounting": True,
        "accrual_mode": "earn_daily",
        "eligibility_kind": "all_accounts",
        "eligibility_payload": {"note": "x"},
        "metadata": {"team": "growth"},
        "amount_xusd": str(INT64_MAX),
    }

    data = created(api, **given)

    assert {name: data[name] for name in given} == given


def test_group_eligibility_is_shown_beside_what_the_client_knows(api):
    data = created(
        api,
        eligibility_kind="subscription_group",
        eligibility_payload={"group_key": "pro"},
    )

    assert (data["eligibility_kind"], data["eligibility_kind_exact"]) == (
        None,
        "subscription_group",
    )


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"amount_xusd": "-1"}, "amount_xusd"),
        ({"amount_xusd": str(INT64_MAX + 1)}, "amount_xusd"),
        ({"amount_xusd": "1.5"}, "amount_xusd"),
        ({"cadence": "hourly"}, "cadence"),
        ({"program_code": " "}, "program_code"),
        ({"priority": 2**31}, "priority"),
        ({"priority": -(2**31)}, "priority"),
        ({"cadence": "billing_period", "window_kind": "forever"}, "window_kind"),
        ({"window_kind": "relative_duration"}, "window_default_seconds"),
        ({"window_default_seconds": 0}, "window_default_seconds"),
        ({"window_default_seconds": 2**31 - 1, "window_kind": "x"}, "window_kind"),
        ({"grant_kind": "fallback"}, "grant_kind"),
        ({"grant_kind": "rollover"}, "grant_kind"),
        ({"cadence": "once", "accrual_mode": "earn_daily"}, "accrual_mode"),
        ({"eligibility_kind": "subscription_group"}, "eligibility_payload"),
        ({"eligibility_payload": {"group_key": 1}}, "eligibility_payload.group_key"),
        ({"metadata": {"a": "x" * 70_000}}, "metadata"),
        ({"metadata": []}, "metadata"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_bad_program_is_refused(api, realm, changed, field):
    before = GrantProgram.objects.in_realm(realm).count()

    answer = api.post("grant-programs", {**BODY, **changed})

    assert refusal(answer) == invalid(field)
    assert GrantProgram.objects.in_realm(realm).count() == before


def test_code_that_exists_is_refused_whatever_its_case(api):
    created(api)

    again = api.post("grant-programs", {**BODY, "program_code": "TRIAL"})

    assert refusal(again) == (409, "GRANT.PROGRAM_CODE_TAKEN", "program_code")


def test_one_code_created_by_many_at_once_is_created_once(committed_realm, at, by):
    def create(_):
        try:
            make_program(committed_realm, at=at, by=by)
        except ProgramCodeTaken:
            return 0
        return 1

    assert sum(race(create, threads=8)) == 1
    found = GrantProgram.objects.in_realm(committed_realm)
    assert found.filter(program_code="welcome").count() == 1


def test_change_is_explained_and_announced(program, at, by):
    changed = change_program(
        program=program, changes={"amount_xusd": 9, "priority": 3}, at=at, by=by
    )

    assert (changed.amount_xusd, changed.priority) == (9, 3)
    assert len(explained(program)) == 2
    events = DomainEvent.objects.filter(subject_id=str(program.pk))
    assert [event.kind for event in events.order_by("id")] == [
        "grant_program.created",
        "grant_program.changed",
    ]


def test_change_of_nothing_leaves_no_trace(program, at, by):
    change_program(program=program, changes={"amount_xusd": 5000}, at=at, by=by)

    assert len(explained(program)) == 1


def test_patch_changes_what_is_given(api, program):
    path = f"grant-programs/{program.pk}"
    changes = {
        "name": "Hello",
        "active": False,
        "amount_xusd": "12",
        "window_default_seconds": 60,
        "priority": 4,
        "outstanding_application_policy": "apply_to_outstanding",
        "issuance_mode": "hybrid",
        "metadata": {"a": 1},
    }

    data = read(api.patch(path, changes), wire.GrantProgramEnvelope)
    again = read(
        api.patch(path, {"window_default_seconds": None}), wire.GrantProgramEnvelope
    )

    assert {name: data[name] for name in changes} == changes
    assert again["window_default_seconds"] is None
    assert again["amount_xusd"] == "12"


@pytest.mark.parametrize(
    "field",
    ["cadence", "issue_anchor", "window_kind", "on_ledger", "grant_kind",
     "accrual_mode", "eligibility_kind", "program_code"],
)  # fmt: skip
def test_what_a_program_is_made_of_cannot_change(api, program, field, at, by):
    answer = api.patch(f"grant-programs/{program.pk}", {field: "x"})

    assert refusal(answer) == invalid(field)
    with pytest.raises(ProgramFixed) as refused:
        change_program(program=program, changes={field: "x"}, at=at, by=by)
    assert (refused.value.code, refused.value.field) == ("GRANT.PROGRAM_FIXED", field)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount_xusd": "-5"}, "amount_xusd"),
        ({"amount_xusd": None}, "amount_xusd"),
        ({"name": None}, "name"),
        ({"window_default_seconds": 0}, "window_default_seconds"),
        ({"issuance_mode": "never"}, "issuance_mode"),
        ({"metadata": "x"}, "metadata"),
    ],
)
def test_bad_change_is_refused(api, program, changes, field):
    answer = api.patch(f"grant-programs/{program.pk}", changes)

    assert refusal(answer) == invalid(field)


def test_relative_window_keeps_its_seconds(realm, at, by):
    program = make_program(
        realm,
        window_kind="relative_duration",
        window_default_seconds=60,
        at=at,
        by=by,
    )

    with pytest.raises(Invalid) as refused:
        change_program(
            program=program, changes={"window_default_seconds": None}, at=at, by=by
        )
    assert refused.value.field == "window_default_seconds"


def test_program_of_what_is_owed_stays_as_it_is(realm, at, by):
    found = GrantProgram.objects.filter(realm=realm, program_code=FALLBACK_PROGRAM)
    own = found.first() or make_program(realm, FALLBACK_PROGRAM, at=at, by=by)

    with pytest.raises(SystemProgram):
        change_program(program=own, changes={"amount_xusd": 1}, at=at, by=by)


def test_list_pages_and_filters(api, realm, at, by):
    codes = ["a", "b", "c"]
    for code in codes:
        make_program(realm, code, at=at, by=by, active=code != "b")
    created(api, program_code="d", issuance_mode="lazy")

    def found(**query):
        return {*paged(api, "grant-programs", "program_code", **query)}

    assert found() >= {"a", "b", "c", "d"}
    assert found(active="false") >= {"b"}
    assert not found(active="false") & {"a", "c", "d"}
    assert found(cadence="monthly", issuance_mode="lazy") == {"d"}
    assert found(program_code="C") == {"c"}
    answer = api.get("grant-programs", cadence="hourly")
    assert refusal(answer) == invalid("cadence")


def test_list_finds_the_programs_of_a_campaign(api, realm, at, by):
    for code in ("a", "b", "c"):
        make_program(realm, code, at=at, by=by)
    campaign = make_campaign(realm, metadata=grants("a", "c"), at=at, by=by)

    found = paged(api, "grant-programs", "program_code", campaign_id=str(campaign.pk))

    assert sorted(found) == ["a", "c"]
    assert not list_programs(realm, campaign_id="nonsense").exists()
    other = make_realm(at, by)
    assert not list_programs(other, campaign_id=str(campaign.pk)).exists()


def test_list_takes_as_many_queries_for_many_as_for_one(api, realm, at, by):
    make_program(realm, "a", at=at, by=by)
    api.get("grant-programs")
    one = queries_of(lambda: api.get("grant-programs"))
    for number in range(5):
        make_program(realm, f"p{number}", at=at, by=by)

    assert queries_of(lambda: api.get("grant-programs")) == one


def test_another_realms_program_is_unknown(api, other_realm, at, by):
    foreign = make_program(other_realm, at=at, by=by)

    for answer in (
        api.get(f"grant-programs/{foreign.pk}"),
        api.patch(f"grant-programs/{foreign.pk}", {"name": "x"}),
        api.get("grant-programs/nonsense"),
    ):
        assert refusal(answer)[:2] == (404, "RESOURCE.NOT_FOUND")
