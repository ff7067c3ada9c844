"""The hold desk: what is held, what is stuck, and ending it with a reason."""

import csv
import io
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import strip_tags

from billing.services.users import change_user
from catalog.services.meters import upsert_meter
from config.kernel.ids import new_id
from config.tenancy.models import DomainEvent
from config.tenancy.roles import ROLES
from gating.admin import hold_bulk
from gating.admin.hold_words import caller_text, expiry_text, labels_text
from gating.models import Counter, Lease, LeaseEnd, LeaseState, Rating
from grants.models import GrantLot
from tests.admin.pages import (
    change_url,
    command_url,
    errors_of,
    form_of,
    messages_of,
    why,
)
from tests.gating.gate import Gate

LEASES = "/admin/gating/lease/"


@pytest.fixture
def gate(realm, account, user, by):
    """A gate of now, with a price, a plan of its own bundle, and credit to spend."""
    gate = Gate(realm, account, user, timezone.now() - timedelta(minutes=5), by)
    gate.feature("chat", price=2_000_000, per=1000, cost=400, unit="token")
    pro = gate.bundle("pro", name="Pro limits")
    gate.pro = pro
    gate.quota(1000, bundle=pro, unit="token", name="Daily tokens", seconds=10**8)
    gate.plan("pro", bundle="pro", mode="prepaid")
    gate.credit(10_000_000)
    return gate


@pytest.fixture
def ops(staff):
    return staff("Ops")


@pytest.fixture
def held(gate):
    """A hold of 200 tokens."""
    return gate.row(gate.lease(200))


def text_of(page):
    return " ".join(strip_tags(page.text.replace("<", " <")).split())


def listed(client, **query):
    return list(client.get(LEASES, query).context["cl"].result_list)


def ran_out(gate, lease):
    """Let a hold run out, in the past; its grace is over too."""
    Lease.objects.filter(pk=lease.pk).update(
        authorized_at=gate.at - timedelta(days=2),
        expires_at=gate.at - timedelta(hours=2),
    )


# --- the list ------------------------------------------------------------------


def test_list_shows_what_is_held_now_the_oldest_first(ops, gate):
    first, second = gate.row(gate.lease(1)), gate.row(gate.lease(2))
    closed = gate.row(gate.lease(3))
    gate.commit(closed.lease, 3)

    assert listed(ops) == [first, second]
    assert listed(ops, show="nonsense") == [first, second]
    assert listed(ops, show="all") == [closed, second, first]
    assert listed(ops, show="closed") == [closed]
    assert listed(ops, show="canceled") == listed(ops, show="expired") == []
    assert listed(ops, q=closed.lease) == [closed]
    assert listed(ops, q=closed.lease, show="live") == []


def test_holds_are_found_by_their_age(ops, gate, held):
    older = gate.row(gate.lease(1))
    Lease.objects.filter(pk=older.pk).update(
        authorized_at=gate.at - timedelta(minutes=61)
    )

    assert listed(ops, show="hour") == [older]
    assert listed(ops, show="day") == listed(ops, show="overdue") == []
    Lease.objects.filter(pk=older.pk).update(expires_at=gate.at)
    assert listed(ops, show="overdue") == [older]
    assert "Overdue" in text_of(ops.get(LEASES))
    assert "Holds past their expiry 1" in text_of(ops.get("/admin/"))


def test_holds_are_found_by_account_and_feature(ops, gate, held):
    other = gate.of_principal("globex")
    other.plan("other", bundle="pro", mode="postpaid")
    gate.feature("draw", price=1)
    gate.quota(10, feature="draw", bundle=gate.pro)
    drawn = gate.row(gate.lease(1, feature="draw"))
    theirs = other.row(other.lease(1))

    assert listed(ops, principal="GLOB") == [theirs]
    assert listed(ops, feature="draw") == [drawn]
    assert listed(ops, feature="draw", principal="globex") == []
    assert set(listed(ops, principal="  ")) == {held, drawn, theirs}


def test_row_reads_in_words(ops, gate):
    gate.lease(200, lease="job-77", labels={"team": "a", "app": "web"})

    page = text_of(ops.get(LEASES))

    assert "5 minutes" in page
    assert "200 tokens $0.40 in 11 hours 5" in page
    assert "job-77, app: web, team: a" in page


def test_caller_that_says_nothing_is_told_by_its_trace(gate, held):
    assert caller_text(held) == f"Trace {held.trace_id[:8]}…"
    held.labels = {"x" * 40: "y" * 40}
    assert len(caller_text(held)) == 60
    assert labels_text(held) == f"{'x' * 40}: {'y' * 40}"


def test_expiry_reads_in_words(gate, held):
    at = held.expires_at

    assert expiry_text(held, at) == "in 0 seconds"
    assert expiry_text(held, at - timedelta(minutes=90)) == "in 1 hour 30 minutes"
    assert expiry_text(held, at + timedelta(minutes=2)) == "2 minutes ago"
    held.state = LeaseState.EXPIRED
    assert expiry_text(held, at) == "Ended"


def test_filters_count_what_they_would_show(ops, gate, held):
    gate.commit(gate.lease(1), 1)
    ran_out(gate, gate.row(gate.lease(1)))

    page = text_of(ops.get(LEASES, {"_facets": "True"}))

    for told in (
        "Held now (2)",
        "Overdue: past its expiry (1)",
        "Orphaned: nobody is likely to commit it (1)",
        "Held for over 1 hour (1)",
        "Committed (1)",
        "Everything, also what has ended (3)",
    ):
        assert told in page


def test_empty_desk_says_what_to_do(ops, realm):
    page = ops.get(LEASES)

    assert "Nothing is held like that." in page.text
    assert "Everything" in page.text


# --- orphans -------------------------------------------------------------------


def test_orphans_are_listed_with_the_reason(ops, gate, held):
    change_user(user=gate.user, status="disabled", at=gate.at, by=gate.by)
    other = gate.of_user("u-2")
    other.credit(1_000_000)
    fine = other.row(other.lease(1))

    page = ops.get(LEASES, {"show": "orphaned"})

    assert list(page.context["cl"].result_list) == [held]
    assert "Its user is disabled, so nobody may commit it." in text_of(page)
    assert "Orphaned holds 1" in text_of(ops.get("/admin/"))
    sentence = "Orphan Its user is disabled, so nobody may commit it."
    assert sentence in text_of(ops.get(change_url(held)))
    assert "No: its service may still commit it" in text_of(ops.get(change_url(fine)))


def exported(client, **query):
    address = f"{LEASES}export/?" + "&".join(f"{k}={v}" for k, v in query.items())
    page = client.post(address, {"format": "0", "resource": ""})
    return list(csv.DictReader(io.StringIO(page.content.decode())))


def test_orphan_report_is_taken_away(staff, gate, held):
    gate.lease(1, labels={"team": "a"})
    ran_out(gate, held)

    [row] = exported(staff("Auditor"), show="orphaned")

    assert (row["id"], row["reserved_minor"], row["unit"]) == (
        str(held.pk),
        "200",
        "token",
    )
    assert row["orphaned_because"].startswith("It ran out 2 hours")
    assert [r["labels"] for r in exported(staff("Auditor"))] == ["", "team: a"]


def test_export_says_who_ended_a_hold(staff, gate, held):
    gate.cancel(held.lease)

    [row] = exported(staff("Auditor"), show="all")

    assert (
        row["how_it_ended"]
        == f"Released by {gate.by.operator}: {gate.by.reason} (T-1001)"
    )


def test_orphan_report_is_taken_away_as_a_spreadsheet(staff, gate, held):
    ran_out(gate, held)

    page = staff("Ops").post(
        f"{LEASES}export/?show=orphaned", {"format": "1", "resource": ""}
    )

    assert page.content[:2] == b"PK"


def test_desk_asks_the_same_for_one_hold_and_three(ops, gate, held):
    def queries(path):
        ops.get(path)
        with CaptureQueriesContext(connection) as captured:
            ops.get(path)
        return len(captured)

    pages = [LEASES, f"{LEASES}?show=orphaned", f"{LEASES}?show=all"]
    ran_out(gate, held)
    one = [queries(path) for path in pages]
    for name in ("u-2", "u-3"):
        other = gate.of_user(name)
        other.credit(1_000_000)
        ran_out(gate, other.row(other.lease(1)))

    assert [queries(path) for path in pages] == one


# --- release -------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_support_and_ops_end_holds(staff, gate, held, role):
    client = staff(role)
    may = role in {"Support", "Ops"}

    page = client.get(change_url(held))
    looked = client.get(command_url(held, "commit"))
    pressed = client.post(command_url(held, "release"), why())

    assert ("do/release/" in page.text, "do/commit/" in page.text) == (may, may)
    assert looked.status_code == (200 if may else 403)
    assert pressed.status_code == (302 if may else 403)
    held.refresh_from_db()
    assert held.state == (LeaseState.CANCELED if may else LeaseState.ACTIVE)


def test_hold_gives_back_what_it_holds_and_keeps_the_reason(staff, gate, held):
    support = staff("Support")
    assert GrantLot.objects.get().reserved_xusd == 400_000

    response = support.post(command_url(held, "release"), why(), follow=True)

    page = text_of(response)
    assert f"{held} is released: what it held is free again." in page
    assert f"How it ended Released by {support.user.username}: asked for (T-7)" in page
    assert "State Released" in page
    assert GrantLot.objects.get().reserved_xusd == 0
    assert Counter.objects.get(kind="quota").reserved_minor == 0
    end = LeaseEnd.objects.get(lease=held)
    assert (end.actor_kind, end.actor_id) == ("user", support.user.username)
    event = DomainEvent.objects.get(kind="lease.canceled")
    assert (event.subject_id, event.payload["ticket_id"]) == (str(held.pk), "T-7")


@pytest.mark.parametrize("command", ["release", "commit"])
@pytest.mark.parametrize("missing", ["reason", "ticket_id"])
def test_hold_is_not_ended_without_reason_and_ticket(staff, held, command, missing):
    answers = why(quantity_minor="5", **{missing: ""})

    response = staff("Support").post(command_url(held, command), answers)

    assert list(errors_of(response)) == [missing]
    held.refresh_from_db()
    assert held.state == LeaseState.ACTIVE


def test_ended_hold_offers_no_end(ops, gate, held):
    gate.commit(held.lease, 50)

    assert "do/release/" not in ops.get(change_url(held)).text
    refused = [
        ops.post(command_url(held, name), why()) for name in ("release", "commit")
    ]
    assert [messages_of(page)[-1][1] for page in refused] == [
        f"“Release” is not possible for {held} now.",
        f"“Commit” is not possible for {held} now.",
    ]
    assert "How it ended Committed by its service" in text_of(ops.get(change_url(held)))


def test_hold_that_ran_out_meanwhile_is_told_so(ops, gate, held):
    ran_out(gate, held)

    response = ops.post(command_url(held, "release"), why())

    [(level, sentence)] = messages_of(response)
    assert level == "success"
    assert sentence.endswith("had ended by itself: nothing was held any more.")
    held.refresh_from_db()
    assert held.state == LeaseState.EXPIRED
    assert not LeaseEnd.objects.exists()
    assert "How it ended Expired: nobody committed it" in text_of(
        ops.get(change_url(held))
    )


def test_hold_is_read_in_words(ops, gate):
    held = gate.row(gate.lease(200, lease="job-77", labels={"team": "a"}))

    page = text_of(ops.get(change_url(held)))

    assert "Quantity held 200 tokens" in page
    assert "Money held $0.40" in page
    assert "Lease job-77 The reference that callers know it by. Labels team: a" in page
    assert "Ended Not yet How it ended Not yet" in page
    assert "Admitted by policy Daily tokens" in page


# --- commit --------------------------------------------------------------------


def confirmed(client, address, data):
    """Send a form, and again with the mark of its preview; return both pages."""
    shown = client.post(address, data)
    mark = re.search(r'name="_confirm" value="(\w+)"', shown.text)
    assert mark, errors_of(shown)
    return shown, client.post(address, {**data, "_confirm": mark[1]}, follow=True)


def test_commit_shows_what_it_comes_to_before_it_is_saved(staff, gate, held):
    support = staff("Support")
    address = command_url(held, "commit")

    asked = text_of(support.get(address))
    shown, done = confirmed(support, address, why(quantity_minor="150"))

    assert "in the unit of the policy: token" in asked
    assert "200 tokens held" in asked
    assert " Preview Cancel " in asked
    assert " Confirm: Commit Cancel " in text_of(shown)
    preview = text_of(shown)
    assert "Nothing is saved yet" in preview
    assert "Quantity 200 tokens 150 tokens 50 tokens" in preview
    assert "Money $0.40 $0.30 $0.10" in preview
    assert "Price of all that was used $0.30" in preview
    assert "Owed $0.00" in preview
    assert "Available $9.60 $9.70" in preview
    page = text_of(done)
    assert f"{held} is committed: $0.30 charged." in page
    assert (
        f"Committed for the caller by {support.user.username}: asked for (T-7)" in page
    )
    held.refresh_from_db()
    assert held.state == LeaseState.CLOSED
    assert GrantLot.objects.get().consumed_xusd == 300_000
    rating = Rating.objects.get(pk=held.rating_id)
    told = text_of(support.get(change_url(rating)))
    assert f"Reported by {support.user.username}: asked for (T-7)" in told


def test_preview_of_a_commit_saves_nothing(staff, gate, held):
    shown = staff("Support").post(
        command_url(held, "commit"), why(quantity_minor="150")
    )

    assert "This is what will happen" in shown.text
    assert not Rating.objects.exists()
    assert not LeaseEnd.objects.exists()
    held.refresh_from_db()
    assert held.state == LeaseState.ACTIVE


def test_preview_tells_that_more_was_used_than_fits(staff, gate, held):
    shown = staff("Support").post(
        command_url(held, "commit"), why(quantity_minor="1500")
    )

    page = text_of(shown)
    assert "Quantity 200 tokens 1,000 tokens 0 tokens" in page
    assert "Because Not all of it fitted" in page
    assert "More than was held: 1,500 tokens, and the hold is of 200 tokens." in page


def test_preview_tells_that_nothing_will_be_charged(staff, gate):
    gate.feature("paint", price=1)
    gate.quota(10, feature="paint", bundle=gate.pro)
    upsert_meter(
        realm=gate.realm, meter_code="ink", feature_code="paint", at=gate.at, by=gate.by
    )
    held = gate.row(gate.lease(1, feature="paint"))

    shown = staff("Support").post(
        command_url(held, "commit"), why(quantity_minor="1", meter_1="3")
    )

    assert "Nothing will be counted or charged: No price is set." in text_of(shown)


def test_commit_of_several_meters_is_priced_by_them(staff, gate):
    for code in ("in", "out"):
        upsert_meter(
            realm=gate.realm,
            meter_code=code,
            feature_code="chat",
            unit="token",
            at=gate.at,
            by=gate.by,
        )
        gate.price(code, 5)
    held = gate.row(gate.lease(200))
    support, address = staff("Support"), command_url(held, "commit")

    asked = text_of(support.get(address))
    _, done = confirmed(
        support, address, why(quantity_minor="10", meter_1="4", meter_2="0")
    )

    assert "Of that on in" in asked
    assert "is committed: $0.00002 charged." in text_of(done)
    assert [line.meter_code for line in Rating.objects.get().lines.all()] == [
        "in",
        "out",
    ]


@pytest.mark.parametrize("typed", ["0", "-1", "1.5", "", str(2**63), "x"])
def test_quantity_that_cannot_be_is_refused_on_its_field(staff, held, typed):
    page = staff("Support").post(command_url(held, "commit"), why(quantity_minor=typed))

    assert list(errors_of(page)) == ["quantity_minor"]


def test_amount_beyond_64_bits_is_refused_on_the_form(staff, held):
    page = staff("Support").post(
        command_url(held, "commit"), why(quantity_minor=str(2**63 - 1))
    )

    assert errors_of(page) == {"__all__": ["amount_xusd must fit 64 bits; this usage comes to more."]}  # fmt: skip


def test_commit_of_a_hold_that_ended_meanwhile_is_refused(staff, gate, held):
    ran_out(gate, held)

    page = staff("Support").post(command_url(held, "commit"), why(quantity_minor="5"))

    [sentence] = errors_of(page)["__all__"]
    assert sentence.startswith("This hold ran out: it could be committed until ")
    assert not Rating.objects.exists()


# --- many at once --------------------------------------------------------------


def ticked(*holds, **more):
    return {
        "action": "release_selected",
        "_selected_action": [str(hold.pk) for hold in holds],
        **more,
    }


def test_many_are_released_one_by_one_each_with_its_result(staff, gate):
    support = staff("Support")
    first, second, gone = (gate.row(gate.lease(size)) for size in (10, 20, 30))

    asked = support.post(LEASES, ticked(first, second, gone, index="0"))
    gate.commit(gone.lease, 1)
    shown, done = confirmed(support, LEASES, ticked(first, second, gone, **why()))

    assert "3 holds chosen." in text_of(asked)
    assert " Preview Cancel " in text_of(asked)
    assert " Confirm: Release selected holds Cancel " in text_of(shown)
    assert form_of(asked).fields["reason"].required
    preview = text_of(shown)
    assert preview.count("Will be released") == 2
    assert "20 tokens $0.04" in preview
    assert "Has ended by itself" in preview
    page = text_of(done)
    assert "Release selected holds: done" in page
    assert page.count(" Released ") == 2
    assert "Has ended by itself: nothing is held any more" in page
    assert set(LeaseEnd.objects.values_list("lease_id", "operator", "reason")) == {
        (hold.pk, support.user.username, "asked for") for hold in (first, second)
    }
    assert Counter.objects.get(kind="quota").reserved_minor == 0


def test_preview_of_many_releases_none(staff, gate, held):
    page = staff("Support").post(LEASES, ticked(held, **why()))

    assert "Will be released" in text_of(page)
    assert not LeaseEnd.objects.exists()
    held.refresh_from_db()
    assert held.state == LeaseState.ACTIVE


def test_many_are_not_released_without_a_reason(staff, gate, held):
    page = staff("Support").post(LEASES, ticked(held, **why(reason=" ")))

    assert list(errors_of(page)) == ["reason"]
    assert not LeaseEnd.objects.exists()


def test_one_that_is_refused_does_not_stop_the_others(staff, gate, monkeypatch):
    from gating.services.functions import GateMoved

    holds = [gate.row(gate.lease(1)) for _ in range(3)]
    real = hold_bulk.release_hold

    def release(*, lease, at, by):
        if lease.pk == holds[1].pk:
            raise GateMoved("The lease")
        return real(lease=lease, at=at, by=by)

    monkeypatch.setattr(hold_bulk, "release_hold", release)
    _, done = confirmed(staff("Support"), LEASES, ticked(*holds, **why()))

    page = text_of(done)
    assert "Not released: The lease changed meanwhile." in page
    assert page.count(" Released ") == 2
    assert set(LeaseEnd.objects.values_list("lease_id", flat=True)) == {
        holds[0].pk,
        holds[2].pk,
    }


def test_one_run_is_bounded_and_the_next_goes_on(staff, gate, monkeypatch):
    monkeypatch.setattr(hold_bulk, "MOST", 2)
    support = staff("Support")
    holds = [gate.row(gate.lease(1)) for _ in range(3)]

    asked = support.post(LEASES, ticked(*holds, select_across="1", index="0"))
    chosen = form_of(asked)["_selected_action"].value()
    confirmed(support, LEASES, ticked(*holds[:2], **why()))
    rest = support.post(LEASES, ticked(*holds, index="0"))

    assert "The 2 oldest of 3 chosen holds: do the other 1 afterwards." in text_of(
        asked
    )
    assert chosen == [str(hold.pk) for hold in holds[:2]]
    assert "1 hold chosen." in text_of(rest)
    assert form_of(rest)["_selected_action"].value() == [str(holds[2].pk)]


def test_nothing_left_to_release_is_told(staff, gate, held):
    gate.cancel(held.lease)

    page = staff("Support").post(f"{LEASES}?show=all", ticked(held, index="0"))

    assert messages_of(page) == [("warning", "None of the chosen holds holds anything any more.")]  # fmt: skip


def test_form_sent_twice_releases_once(staff, gate, held):
    support = staff("Support")
    data = ticked(held, **why(_once="mark"))
    shown = support.post(LEASES, data)
    mark = re.search(r'name="_confirm" value="(\w+)"', shown.text)[1]
    support.post(LEASES, {**data, "_confirm": mark})

    again = support.post(LEASES, {**data, "_confirm": mark})

    assert "already sent once" in errors_of(again)["__all__"][0]
    assert LeaseEnd.objects.count() == 1


@pytest.mark.parametrize("role", ROLES)
def test_support_and_ops_release_many(staff, gate, held, role):
    client = staff(role)
    may = role in {"Support", "Ops"}

    page = client.get(LEASES)
    sent = client.post(LEASES, ticked(held, index="0", **why()))

    assert ("Release selected holds" in page.text) == may
    assert ("Will be released" in sent.text) == may
    assert LeaseEnd.objects.count() == 0


def test_what_is_no_hold_is_not_released(staff, gate, held):
    support = staff("Support")

    bad = support.post(LEASES, ticked(**why()) | {"_selected_action": ["nonsense"]})
    unknown = support.post(LEASES, ticked(**why()) | {"_selected_action": [new_id()]})

    assert bad.status_code == 400
    assert messages_of(unknown)[-1][1].startswith("None of the chosen holds")
