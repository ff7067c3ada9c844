"""What a worker remembers of who is governed by which rules: it saves work, no more."""

import pytest

from config.kernel.money import INT64_MAX
from gating.models import Counter
from gating.services import admitting, closing, known
from gating.services.strides import Admitted
from gating.services.subjects import Subject
from tests.tools.tables import rows


@pytest.fixture
def taken(monkeypatch):
    """The calls of `gate_admit` and `gate_close`, by whether all of it was plain."""
    told = {"admit": [], "close": []}

    def watched(name, real):
        def call(arguments, *, at):
            answer = real(arguments, at=at)
            told[name].append(answer is not None)
            return answer

        return call

    monkeypatch.setattr(admitting, "gate_admit", watched("admit", admitting.gate_admit))
    monkeypatch.setattr(closing, "gate_close", watched("close", closing.gate_close))
    return told


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch):
    monkeypatch.setattr(known, "_known", {})
    monkeypatch.setattr(known, "_common", {})


def test_the_first_use_of_another_user_is_plain_where_the_same_rules_govern(
    priced, taken
):
    other = priced.of_user("u-2")
    other.credit(1000)

    other.preflight(1)  # Which resolves what governs the user.

    priced.authorize(1)
    lease = other.lease(2)
    other.commit(lease, 2)

    assert taken == {"admit": [True], "close": [True]}
    assert other.row(lease).user_id == other.user.pk


def test_another_rule_set_is_decided_the_long_way_once_and_then_known(priced, taken):
    other = priced.of_principal("b")
    priced.quota(7, bundle=priced.bundle("tight"))
    other.plan("free", bundle="tight")
    other.credit(1000)
    other.preflight(1)
    priced.authorize(1)

    for _ in range(2):
        other.authorize(2)
    priced.authorize(1)

    assert taken["admit"] == [False, True, True]
    assert other.used() == (0, 4)


def test_a_counters_key_of_any_text_is_counted_on(gate, taken):
    gate.feature()
    gate.quota(100, metadata={"counter_key": 'q"\\{},NULL é'})
    gate.authorize(3)

    gate.authorize(4)

    assert taken["admit"] == [True]
    assert gate.used() == (0, 7)


def test_who_met_under_other_rules_than_was_thought_is_left_out(priced):
    other = priced.of_principal("b")
    priced.quota(7, bundle=priced.bundle("tight"))
    other.plan("free", bundle="tight")
    for gate in (priced, other):
        gate.credit(1000)
        gate.preflight(1)
    priced.authorize(1)
    other.know(str(known.likely_rules(known_as(priced))))

    own, others = priced.meet(["b"], 2)

    assert (own["o"], own["user"], others) == ("admitted", priced.user.pk, None)
    assert priced.used() == (0, 3)
    assert not Counter.objects.filter(account=other.account).exists()


def known_as(gate):
    return Subject.of(gate.account, gate.user).item("chat")


def test_the_answer_names_account_and_user(priced, monkeypatch):
    seen = []
    real = admitting.gate_admit
    monkeypatch.setattr(
        admitting, "gate_admit", lambda *a, **k: seen.append(real(*a, **k)) or seen[-1]
    )
    priced.authorize(1)
    priced.authorize(2)

    assert seen == [
        Admitted(
            fits=True,
            account_id=priced.account.pk,
            user_id=priced.user.pk,
            available_xusd=9990,
            seen=[0, 1, 1, 0],
        )
    ]


def test_calls_of_the_gates_functions_are_prepared(priced):
    for _ in range(3):
        lease = priced.lease(1)
        priced.commit(lease, 1)

    calls = dict(
        rows(
            "SELECT substring(statement FROM '^SELECT (gate_\\w+)'),"
            " sum(generic_plans + custom_plans) FROM pg_prepared_statements GROUP BY 1"
        )
    )
    assert calls["gate_admit"] >= 2
    assert calls["gate_close"] >= 2


def test_a_batch_whose_sum_is_beyond_64_bits_goes_the_long_way(gate, monkeypatch):
    """Each amount fits, and both do not."""
    gate.feature(price=INT64_MAX // 3 * 2)
    gate.plan(mode="postpaid")
    gate.quota(None)
    told = []
    real = closing.gate_close_all
    monkeypatch.setattr(
        closing,
        "gate_close_all",
        lambda *a, **k: told.append(real(*a, **k)) or told[-1],
    )
    leases = [gate.lease(1) for _ in range(2)]

    outcomes = gate.commit_each(leases, 1)

    assert told == [None]
    amounts = [each.data["amount_xusd"] for each in outcomes]
    assert amounts == [str(INT64_MAX // 3 * 2)] * 2


def test_a_batch_of_more_than_64_bits_asks_the_long_way_at_once(gate, monkeypatch):
    gate.feature()
    gate.quota(None)
    monkeypatch.setattr(closing, "gate_close_all", None)  # Not to be called.
    leases = [gate.lease(1) for _ in range(2)]

    outcomes = gate.commit_each(leases, INT64_MAX // 3 * 2)

    statuses = [each.data["application_status"] for each in outcomes]
    assert statuses[0] == "applied"


def test_a_repeat_does_not_tell_what_governs_now(priced, taken):
    priced.authorize(1, key="before")
    priced.quota(400)
    priced.authorize(1)

    assert priced.authorize(1, key="before").replayed
    priced.authorize(1)

    # The new rules, asked for twice; the repeat; and what was learned of the new ones.
    assert taken["admit"] == [False, False, False, True]
