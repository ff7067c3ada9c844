import pytest

from catalog.services.features import delete_feature
from gating.decide import decide
from gating.evidence import read_ask, read_facts
from gating.models import Lease
from gating.selectors.decisions import admission_of
from gating.services.admissions import KeyReused
from gating.services.authorize import LeaseTaken
from tests.gating.refusals import refusal

# Keys


def test_the_same_request_again_has_the_same_answer(gate):
    gate.feature()
    gate.quota(100)

    first = gate.authorize(75, key="k")
    again = gate.authorize(75, key="k")

    assert (again.data, again.hints) == (first.data, first.hints)
    assert again.replayed
    assert gate.used() == (0, 75)


def test_a_success_stays_a_success_when_nothing_is_left(gate):
    gate.feature(price=10)
    gate.credit(750)
    first = gate.authorize(75, key="k")
    gate.commit(first.data["lease"], 75)
    gate.quota(0)

    assert refusal(gate.authorize, 75)
    assert gate.authorize(75, key="k").data == first.data


def test_a_key_with_another_body_is_a_conflict(gate):
    gate.feature()
    gate.feature("video")
    gate.authorize(75, key="k", labels={"team": "a"})

    for other in (
        {"estimate": 76},
        {"feature": "video"},
        {"labels": {"team": "b"}},
        {"lease": "mine"},
        {"feature_family_code": "ai"},
    ):
        given = {"estimate": 75, "labels": {"team": "a"}, **other}
        with pytest.raises(KeyReused) as caught:
            gate.authorize(given.pop("estimate"), key="k", **given)
        assert (caught.value.status, caught.value.code, caught.value.error_type) == (
            409,
            "WRITE.INVALID_PAYLOAD",
            "conflict",
        )
    assert Lease.objects.filter(realm=gate.realm).count() == 1


def test_a_success_stays_a_success_when_its_feature_is_gone(gate):
    feature = gate.feature()
    first = gate.authorize(75, key="k")
    assert delete_feature(feature=feature, at=gate.at, by=gate.by)

    again = gate.authorize(75, key="k")

    assert (again.data, list(again.hints)) == (first.data, list(first.hints))
    with pytest.raises(KeyReused):
        gate.authorize(76, key="k")
    assert refusal(gate.authorize, 75).meta["reason"] == "feature_not_found"


def test_another_users_key_is_another_request(gate):
    gate.feature()

    mine, theirs = gate.lease(1, key="k"), gate.of_user("u-2").lease(1, key="k")
    elsewhere = gate.of_principal("other").lease(1, key="k")

    assert len({mine, theirs, elsewhere}) == 3


def test_a_denial_is_not_kept_for_its_key(gate):
    gate.feature(price=10)
    refusal(gate.authorize, 75, key="k")

    gate.credit(750)

    assert gate.authorize(75, key="k")


def test_the_caller_may_name_the_lease_once(gate):
    gate.feature()

    assert gate.lease(1, lease="job/7") == "job/7"
    with pytest.raises(LeaseTaken):
        gate.authorize(1, lease="job/7")
    assert gate.of_user("u-2").lease(1, lease="job/7") == "job/7"


# Evidence


def test_a_denial_keeps_its_evidence_and_can_be_made_again(gate):
    gate.feature()
    gate.quota(500)
    for _ in range(6):
        gate.authorize(75)

    denied = refusal(gate.authorize, 75)

    kept = gate.denials()[0]
    assert (kept.reason, kept.feature_code, kept.count, kept.status) == (
        "quota_exhausted",
        "chat",
        1,
        402,
    )
    assert kept.sentence == denied.message
    verdict = decide(read_ask(kept.evidence["ask"]), read_facts(kept.evidence["facts"]))
    assert verdict.denial.sentence == denied.message
    assert kept.trace_id == gate.by.trace_id


def test_a_flood_of_denials_is_one_row_a_minute(gate):
    gate.feature()
    gate.quota(0)

    for _ in range(20):
        refusal(gate.authorize)
    refusal(gate.later(minutes=1).authorize)

    assert [row.count for row in gate.denials()] == [20, 1]


def test_a_flood_of_unknown_features_is_one_row_a_minute(gate):
    for number in range(20):
        refusal(gate.authorize, feature=f"made-up-{number}")

    assert [
        (row.count, row.feature_code, row.evidence["ask"]["feature_code"])
        for row in gate.denials()
    ] == [(20, "", "made-up-0")]


def test_a_lease_keeps_the_facts_that_admitted_it(gate):
    gate.feature(price=10)
    gate.credit(1000)
    gate.quota(500)

    verdict = decide(*admission_of(gate.row(gate.lease(75))))

    assert verdict.allowed
    assert verdict.wallet_xusd == 750
