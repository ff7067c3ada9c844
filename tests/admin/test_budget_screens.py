"""The screens of budgets."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import strip_tags

from config.tenancy.roles import ROLES
from grants.models import Budget
from tests.admin.pages import change_url, command_url, history_url, messages_of, why
from tests.gating.gate import Gate

BUDGETS = "/admin/grants/budget/"


@pytest.fixture
def gate(realm, account, user, at, by):
    return Gate(realm, account, user, at, by)


@pytest.fixture
def ops(staff):
    return staff("Ops")


def text_of(page):
    return " ".join(strip_tags(page.text.replace("<", " <")).split())


def queries_of(client, path):
    client.get(path)
    with CaptureQueriesContext(connection) as captured:
        page = client.get(path)
    assert page.status_code == 200
    return len(captured)


def used(gate):
    """A budget of $5, with $0.75 consumed and $0.50 held."""
    gate.feature(price=10_000)
    gate.credit(10_000_000)
    gate.quota(None)
    budget = gate.budget(5_000_000, name="Trip to Rome")
    gate.commit(gate.lease(75, budget="trip"), 75)
    gate.lease(50, budget="trip")
    return budget


def test_empty_list_says_where_budgets_come_from(ops, realm):
    assert "No budget yet." in ops.get(BUDGETS).text


def test_list_reads_the_same_for_one_row_and_three(ops, gate):
    gate.budget()
    one = queries_of(ops, BUDGETS)

    gate.of_user("u-2").budget()
    gate.of_principal("globex").budget()

    assert queries_of(ops, BUDGETS) == one


def test_a_budget_shows_its_use_its_limit_and_what_is_left(ops, gate):
    budget = used(gate)

    listed, page = text_of(ops.get(BUDGETS)), text_of(ops.get(change_url(budget)))

    for told in (listed, page):
        for amount in ("$0.75", "$0.50", "$3.75"):
            assert amount in told
    assert "Trip to Rome" in listed
    assert "It never ends by itself" in page


def test_usage_beyond_the_limit_is_told(ops, gate):
    gate.feature(price=10_000)
    gate.plan(mode="postpaid")
    budget = gate.budget(500_000)
    gate.commit(gate.lease(75, budget="trip"), 75)

    page = text_of(ops.get(change_url(budget)))

    assert "$0.25: usage that is paid after it is made counts in full." in page


def test_an_unlimited_budget_says_so(ops, gate):
    page = text_of(ops.get(change_url(gate.budget(None))))

    assert page.count("Unlimited") >= 2


def test_budgets_are_narrowed_by_how_they_stand(ops, gate):
    now = timezone.now()
    gate.budget(reference="open")
    gate.budget(reference="over", window_end=now - timedelta(hours=1))
    gate.budget(reference="to-come", window_start=now + timedelta(hours=1))
    gate.budget(reference="shut")
    gate.close_budget("shut")

    def shown(status):
        rows = ops.get(f"{BUDGETS}?status={status}").context["cl"].result_list
        return sorted(row.reference for row in rows)

    assert shown("active") == ["open", "to-come"]
    assert shown("expired") == ["over"]
    assert shown("closed") == ["shut"]
    listed = ops.get(BUDGETS).text
    assert "Begins later" in listed and "Expired" in listed and "Closed" in listed


@pytest.mark.parametrize("words", ["trip", "Rome", "acme", "u-1"])
def test_budgets_are_found_by_what_people_say(ops, gate, words):
    used(gate)
    gate.of_principal("globex", "u-9").budget(reference="other")

    rows = ops.get(f"{BUDGETS}?q={words}").context["cl"].result_list

    assert [row.reference for row in rows] == ["trip"]


@pytest.mark.parametrize("role", ROLES)
def test_every_role_looks_and_three_close(staff, gate, role):
    client, budget = staff(role), used(gate)
    may = role in {"Support", "Finance", "Ops"}

    page = client.get(change_url(budget))
    pressed = client.post(command_url(budget, "close"), why())
    typed_over = client.post(change_url(budget), {"limit_xusd": "1"})

    assert [client.get(BUDGETS).status_code, page.status_code] == [200, 200]
    assert ("Close budget" in page.text) == may
    assert pressed.status_code == (302 if may else 403)
    assert typed_over.status_code == 403
    budget.refresh_from_db()
    assert (budget.closed_at is not None) == may


def test_closing_asks_why_and_says_what_came_of_it(ops, gate):
    budget = used(gate)

    asked = ops.post(command_url(budget, "close"), {})
    done = ops.post(command_url(budget, "close"), why(reason="the trip is over"))

    assert asked.status_code == 200
    assert messages_of(done) == [
        ("success", "Trip to Rome is closed, with $0.75 consumed.")
    ]
    again = ops.post(command_url(budget, "close"), why(), follow=True)
    assert "is not possible for Trip to Rome now" in again.text
    assert "the trip is over" in ops.get(history_url(budget)).text
    assert Budget.objects.get().reserved_xusd == 500_000


def test_holds_and_ratings_lead_to_their_budget(ops, gate):
    budget = used(gate)
    link = f'href="{change_url(budget)}"'

    for row in (budget.ratings.get(), gate.row(_held(gate))):
        assert link in ops.get(change_url(row)).text
    found = ops.get("/admin/gating/rating/?q=trip").context["cl"].result_list
    assert len(found) == 1


def _held(gate):
    from gating.models import Lease

    return Lease.objects.get(user=gate.user, state="active").lease


def test_the_users_page_leads_to_the_budgets(ops, gate):
    gate.budget()

    assert f"{BUDGETS}?user={gate.user.pk}" in ops.get(change_url(gate.user)).text


def test_lists_leave_with_those_who_may_export(staff, gate):
    used(gate)

    row = staff("Finance").post(f"{BUDGETS}export/", {"format": "0", "resource": ""})

    assert "trip,Trip to Rome,global,,5000000,750000,500000" in row.content.decode()
