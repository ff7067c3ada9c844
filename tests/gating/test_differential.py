"""The gate's functions say and do what `gating.decide`, `settle` and `pricing` specify.

Random rules, counters, balances, seats and requests, in batches and alone, through the
functions and through the specification (`twin`). A story is named by its seed and
number, and can be told again: `differences(…, seed=seed, stories=number + 1)`.
"""

import random

import pytest

from tests.gating.differ import differences, people
from tests.gating.mutants import mutated, preflight_of, texts
from tests.tools.verification import note

REACHED = {
    "admitted", "replayed", "key_reused", "lease_taken",
    "feature_in_other_family", "feature_inactive", "entitlement_denied", "entitlement_required",
    "default_bundle_missing", "policy_not_found", "quota_missing", "seats_taken",
    "quota_exhausted", "rate_exceeded", "budget_not_found", "budget_exhausted", "funding_exhausted",
    "committed", "lease_unknown", "other_feature", "meter_not_allowed", "overflow", "amount_xusd",
    "applied", "applied_clipped", "quarantined", "overshoot", "cash_funding_applied",
    "budget_consumed", "budget_limit_exceeded",
    "lease_closed_at_commit", "late_commit", "late_commit_exceeded",
    "meter_not_allowed_for_feature", "pricing_not_configured",
    "plain admitted", "plain denied", "plain committed",
    "plain admitted together", "plain committed together",
    "met admitted", "met admitted with others", "met denied", "met denied with others",
    "met committed", "met committed with others",
    "left out by admit_many", "left out by close_many",
}  # fmt: skip


@pytest.fixture
def everyone(realm, at, by):
    return people(realm, at, by)


@pytest.mark.parametrize("stories", [150, pytest.param(4500, marks=pytest.mark.soak)])
def test_the_functions_do_what_is_specified(realm, everyone, stories):
    seed, told = random.SystemRandom().randrange(10**9), stories
    tally, difference = differences(realm, everyone, seed=seed, stories=stories)
    # What comes seldom may take some more.
    while difference is None and REACHED - set(tally) and told < 5 * stories:
        more, difference = differences(
            realm, everyone, seed=f"{seed}, from {told}", stories=stories
        )
        tally, told = tally + more, told + stories

    note(
        "gate functions beside their specification",
        f"seed {seed}, {tally['items']} items in {told} stories, differences {int(difference is not None)}",
    )
    print(
        {
            word: n
            for word, n in tally.items()
            if word.startswith(("plain", "met", "left"))
        }
    )
    assert difference is None, difference
    assert sorted(REACHED - set(tally)) == []


def swapped(old, new, count=1):
    def change(text):
        assert text.count(old) >= 1, f"no {old!r}"
        return text.replace(old, new, count)

    return change


BUGS = {
    "room for one more": ("authorize", swapped("v_room < CASE", "v_room + 1 < CASE")),
    "a rate without end": ("authorize", swapped("OR v_room < 1", "OR v_room < 0")),
    "an optimistic quota that asks for the estimate": ("authorize", swapped("greatest(v_held, 1) ELSE 1 END", "greatest(v_held, 1) ELSE greatest(v_held, 1) END")),
    "a seat too many": ("authorize", swapped("v_a >= rule.policy_limits[i]", "v_a > rule.policy_limits[i]")),
    "an account's counter for each user": ("authorize", swapped("WHEN 'user' THEN rule.user_id ELSE rule.account_id END\n                || '|'", "WHEN 'user' THEN rule.user_id ELSE rule.user_id END\n                || '|'")),
    "a price rounded down": ("authorize", swapped("+ rule.price_quantity_minor - 1,\n                        rule.price_quantity_minor) END", ",\n                        rule.price_quantity_minor) END")),
    "blocks rounded down": ("authorize", swapped("v_held::numeric + rule.price_quantity_minor - 1,", "v_held::numeric,")),
    "the last penny": ("authorize", swapped("v_available < greatest(v_wallet, 1)", "v_available <= greatest(v_wallet, 1)")),
    "a hold of money that holds nothing": ("lots", swapped("SET reserved_xusd = reserved_xusd + v_take", "SET reserved_xusd = reserved_xusd")),
    "a batch that forgets what it took": ("authorize", swapped("c_reserved[v_place] := c_reserved[v_place] + v_take_held[i]", "c_reserved[v_place] := c_reserved[v_place]")),
    "funding before the quota": ("authorize", swapped("WHEN v_no_quota THEN 'quota_exhausted'\n", "")),
    "the greatest limit of a counter": ("authorize", swapped("least(v_quota_limits[v_place]", "greatest(v_quota_limits[v_place]")),
    "a cap of the last window": ("authorize", swapped("v_least := least(v_least, v_room)", "v_least := v_room")),
    "the last penny of a budget": ("authorize", swapped("v_budget_left < greatest(v_wallet, 1)", "v_budget_left <= greatest(v_wallet, 1)")),
    "a batch that forgets what it holds on a budget": ("authorize", swapped("to_jsonb(v_budget_held + v_wallet)", "to_jsonb(v_budget_held)")),
    "a budget an instant too long": ("authorize", swapped("p_at >= (v_budget->>'window_end')", "p_at > (v_budget->>'window_end')")),
    "a budget for any feature": ("authorize", swapped("\n                OR NOT v_budget->'feature_codes' ? item.feature", "")),
    "a budget that stops what is paid later": ("authorize", swapped("item.budget IS NOT NULL AND rule.billing_mode = 'prepaid'", "item.budget IS NOT NULL")),
    "room for one more, in one stride": ("admit", swapped("k.used + k.reserved <= k.most - k.need", "k.used + k.reserved <= k.most - k.need + 1")),
    "a rate that does not count, in one stride": ("admit", swapped("SET used_minor = c.used_minor + u.use * p_count,", "SET used_minor = c.used_minor,")),
    "a batch that does not see itself": ("admit", swapped("u.reserved + CASE WHEN u.reserves THEN i.before ELSE 0 END\n", "u.reserved\n")),
    "the balance of before": ("admit", swapped("v_available - i.spoken", "v_available")),
    "a cap of another policy": ("admit", swapped("WHERE k.use = 0 AND k.most", "WHERE k.most")),
    "no look at what is overdue": ("admit", swapped("LIMIT 1) < p_at - p_grace, false)", "LIMIT 1) < p_at - p_grace, false) OR true")),
    "a key of another answer": ("admit", swapped("AND l.idempotency_key = p_key)", "AND l.idempotency_key = p_key AND false)")),
    "room for one more, who met": ("admit_many", swapped("k.used + k.reserved <= k.most - k.need", "k.used + k.reserved <= k.most - k.need + 1")),
    "a rate that does not count, who met": ("admit_many", swapped("SET used_minor = c.used_minor + u.use,", "SET used_minor = c.used_minor,")),
    "the last penny, who met": ("admit_many", swapped("g.available >= greatest(", "g.available > greatest(")),
    "a cap of another policy, who met": ("admit_many", swapped("WHERE k.use = 0 AND k.most", "WHERE k.most")),
    "no look at what is overdue, who met": ("admit_many", swapped("LIMIT 1) < p_at - p_grace, false)", "LIMIT 1) < p_at - p_grace, false) OR true")),
    "a key of another answer, who met": ("admit_many", swapped("AND l.idempotency_key = s.key ", "AND l.idempotency_key = s.key AND false ")),
    "a reference of another lease, who met": ("admit_many", swapped("AND l.lease = s.lease ", "AND l.lease = s.lease AND false ")),
    "two of one account who met": ("admit_many", swapped("SELECT DISTINCT ON (p.account_id) i.n", "SELECT i.n")),
    "holds of those who met mixed up": ("admit_many", swapped("CASE WHEN t.reserves THEN v_held[v_ones[j]] ELSE 0 END AS hold", "CASE WHEN t.reserves THEN v_held[1] ELSE 0 END AS hold")),
    "a commit that fits what it does not": ("close", swapped("OR held.room < p_quantity", "")),
    "no remainder, in one stride": ("close", swapped("p_used::numeric * p_price + held.carried", "p_used::numeric * p_price")),
    "a remainder not kept, in one stride": ("close", swapped("IF v_next <> held.carried OR", "IF false AND v_next <> held.carried OR")),
    "a late commit, in one stride": ("close", swapped("AND p_at <= l.expires_at", "")),
    "more than the balance, in one stride": ("close", swapped("OR v_revenue > v_free::numeric + held.reserved_xusd\n", "\n")),
    "a hold kept, in one stride": ("close", swapped("reserved_minor = c.reserved_minor - u.held", "reserved_minor = c.reserved_minor")),
    "a commit that fits what it does not, who met": ("close_many", swapped("AND k.room >= a.quantity ", "")),
    "no remainder, who met": ("close_many", swapped("p_price + r.carried AS after", "p_price AS after")),
    "a remainder not kept, who met": ("close_many", swapped("WHERE p.next <> p.carried OR", "WHERE false AND p.next <> p.carried OR")),
    "a late commit, who met": ("close_many", swapped("AND p_at <= l.expires_at ", "")),
    "more than the balance, who met": ("close_many", swapped("AND r.revenue <= purse.o_free::numeric + r.reserved_xusd AS pays", "AS pays")),
    "a hold kept, who met": ("close_many", swapped("reserved_minor = c.reserved_minor - u.held", "reserved_minor = c.reserved_minor")),
    "a key used before, who met": ("close_many", swapped("AND r.idempotency_key = a.key\n", "AND r.idempotency_key = a.key AND false\n")),
    "another feature's lease, who met": ("close_many", swapped("AND l.feature_code = p_feature\n", "\n")),
    "two of one account who met, committing": ("close_many", swapped("SELECT DISTINCT ON (p.account_id) i.n", "SELECT i.n")),
    "leases on other counters, together": ("close_all", swapped("OR leases.alike IS NOT TRUE", "")),
    "a late commit, together": ("close_all", swapped("AND p_at <= l.expires_at", "")),
    "a key used before, together": ("close_all", swapped("AND r.idempotency_key = i.key", "AND r.idempotency_key = i.key AND false")),
    "no remainder, together": ("close_all", swapped("s.total * p_price + v_carried AS after", "s.total * p_price AS after")),
    "a remainder not kept, together": ("close_all", swapped("ARRAY[rated.last <> v_carried,", "ARRAY[false,")),
    "each item from the first one's remainder": ("close_all", swapped("(s.total - s.used) * p_price + v_carried AS before,\n                s.total * p_price", "v_carried::numeric AS before,\n                s.used::numeric * p_price")),
    "items that do not see each other's use": ("close_all", swapped("t.used + i.used_before AS used", "t.used + 0 AS used")),
    "items that do not see each other's holds go": ("close_all", swapped("THEN i.held_before ELSE 0", "THEN 0 ELSE 0")),
    "items that do not see each other's spending": ("close_all", swapped("sum(u.xusd - u.revenue) OVER so_far - u.xusd + u.revenue", "0 * u.xusd")),
    "more than fits, together": ("close_all", swapped("IF v_falls_short THEN", "IF false THEN")),
    "a hold kept, together": ("close_all", swapped("- CASE WHEN t.holds THEN leases.minor ELSE 0 END\n", "\n")),
    "nothing expired": ("authorize", swapped("IF v_overdue AND NOT p_dry THEN", "IF false THEN")),
    "expired too early": ("expire", swapped("expires_at < p_before", "expires_at <= p_before")),
    "an expiry that keeps the quantity": ("expire", swapped("c.reserved_minor - held.total", "c.reserved_minor - 0 * held.total")),
    "an expiry that keeps the money": ("expire", swapped("PERFORM grants_release(v_lots, v_lots_held, p_at);", "")),
    "an expiry that keeps what a budget holds": ("expire", swapped("v_held.total, 0, p_at", "0, 0, p_at")),
    "a commit that keeps what its budget holds": ("commit", swapped("c_all - u_consumed[v_budget]\n                    - u_reserved[v_budget]);", "c_all - u_consumed[v_budget]\n                    - u_reserved[v_budget]); held.reserved_xusd := 0;")),
    "a prepaid use beyond its budget": ("commit", swapped("0, coalesce(u_limits[v_budget], c_all)", "0, c_all")),
    "a budget that consumes the whole of what was clipped": ("commit", swapped("v_applied, held.reserved_xusd::numeric + c_all", "v_revenue, held.reserved_xusd::numeric + c_all")),
    "a batch of commits that forgets what a budget consumed": ("commit", swapped("u_consumed[v_budget] := u_consumed[v_budget] + v_budget_takes", "u_consumed[v_budget] := u_consumed[v_budget]")),
    "a late commit that keeps what its budget holds": ("commit", swapped("u_ended[v_budget] := u_ended[v_budget] + held.reserved_xusd", "u_ended[v_budget] := u_ended[v_budget]")),
    "no remainder": ("commit", swapped("v_carried := coalesce(v_carry_values[v_place], 0)", "v_carried := 0")),
    "a remainder not kept": ("commit", swapped("r_meters := v_carry_meters; r_changed := v_carry_changed;\n        END IF;", "END IF;")),
    "the cost at the price": ("commit", swapped("v_per := rule.meter_cost_quantities_minor[v_at]", "v_per := rule.meter_quantities_minor[v_at]")),
    "late a moment early": ("commit", swapped("v_late := p_at > held.expires_at", "v_late := p_at >= held.expires_at")),
    "grace without its last instant": ("commit", swapped("p_at - held.expires_at > p_grace", "p_at - held.expires_at >= p_grace")),
    "a share rounded up": ("commit", swapped("div(v_revenue * v_fits, item.quantity)", "ceil(v_revenue * v_fits / item.quantity)")),
    "a clip that charges all": ("commit", swapped("div(v_revenue * v_fits, item.quantity)", "v_revenue")),
    "a commit that keeps its hold": ("commit", swapped("c_add_reserved[v_place] := c_add_reserved[v_place] - v_window_held[i]", "c_add_reserved[v_place] := c_add_reserved[v_place]")),
    "a hold that is not the lease's": ("commit", swapped("CASE WHEN held.quota_held[i] THEN held.reserved_minor ELSE 0 END", "held.reserved_minor")),
    "a sum that wraps": ("commit", swapped("WHEN v_quantity > c_all THEN 'quantity_minor'", "")),
    "a free feature quarantined": ("commit", swapped("v_quarantined OR NOT held.zero_cost", "true")),
    "a spend beyond the balance": ("commit", swapped("v_funded := least(\n                v_applied, held.reserved_xusd::numeric - v_void + v_available);", "v_funded := v_applied;")),
    "a batch of commits that forgets what it spent": ("lots", swapped("consumed_xusd = consumed_xusd + p_spend", "consumed_xusd = consumed_xusd")),
    "remainders of another user": ("commit", swapped("IF rule.user_id || rule.rules::text IS DISTINCT FROM r_of", "IF r_of IS NULL")),
}  # fmt: skip


# Found as well, after longer.
LATE = {
    "the last penny", "expired too early", "an expiry that keeps the money",
    "grace without its last instant", "a share rounded up", "a sum that wraps",
    "blocks rounded down", "a seat too many", "a key used before, together", "a key used before, who met",
    "a batch that forgets what it holds on a budget", "an expiry that keeps what a budget holds",
    "a late commit that keeps what its budget holds", "a budget an instant too long",
}  # fmt: skip


@pytest.mark.parametrize(
    "bug", [pytest.param(bug, marks=[pytest.mark.soak] * (bug in LATE)) for bug in BUGS]
)
def test_a_bug_would_be_found(realm, everyone, bug):
    name, change = BUGS[bug]
    with mutated({name: change}):
        _, difference = differences(realm, everyone, seed=bug, stories=5000)

    print(f"\n{bug}: {str(difference)[:60]}")
    assert difference is not None


def test_a_bug_of_preflight_would_be_found(realm, everyone):
    usual = texts()["authorize"]

    def without_overdue(_):
        return preflight_of(usual).replace(
            "IF v_overdue AND p_dry", "IF false AND p_dry"
        )

    with mutated({"authorize": without_overdue}):
        _, difference = differences(realm, everyone, seed="preflight", stories=300)

    assert difference is not None
