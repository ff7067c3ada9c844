"""A page that was opened before somebody else's change does not undo it."""

import pytest

from billing.models import Effect
from billing.services.entitlements import Target, append_entitlements
from billing.services.plans import upsert_plan
from catalog.models import Feature
from config.admin.definitions import SEEN
from config.tenancy.services.realms import change_realm
from tests.admin.pages import (
    answers,
    change_url,
    command_url,
    errors_of,
    form_of,
    messages_of,
    why,
)
from tests.catalog.make import make_feature

NO_ROWS = {"entitlements-TOTAL_FORMS": "0", "entitlements-INITIAL_FORMS": "0"}


@pytest.fixture
def ops(staff):
    return staff("Ops")


@pytest.fixture
def plan(realm, at, by):
    return upsert_plan(
        realm=realm, plan_code="pro", name="Pro", kind="base", priority=1, at=at, by=by
    )[0]


def seen(client, row):
    """Open a row's page; return the version that it carries."""
    page = client.get(change_url(row))
    version = str(form_of(page).initial[SEEN])
    assert f'<input type="hidden" name="{SEEN}" value="{version}"' in page.text
    return {SEEN: version}


def plan_answers(**own):
    return answers(kind="base", active="on", metadata="{}", **NO_ROWS, **own)


def test_stale_page_does_not_undo_a_change(ops, staff, plan):
    opened, other = seen(ops, plan), staff("Ops")
    other.post(change_url(plan), plan_answers(name="Pro", priority="99"))

    refused = ops.post(
        change_url(plan), plan_answers(name="Professional", priority="1", **opened)
    )

    [told] = errors_of(refused)["__all__"]
    assert f"{other.user.username} changed this" in told
    assert "asked for (T-7)" in told
    assert messages_of(refused) == []
    plan.refresh_from_db()
    assert (plan.name, plan.priority) == ("Pro", 99)
    # Sent once more it is still the page that was opened too early.
    assert str(form_of(refused)[SEEN].value()) == opened[SEEN]


def test_page_opened_after_the_change_is_saved(ops, plan):
    ops.post(change_url(plan), plan_answers(name="Pro", priority="99"))

    done = ops.post(
        change_url(plan),
        plan_answers(name="Professional", priority="99", **seen(ops, plan)),
    )

    assert done.status_code == 302
    plan.refresh_from_db()
    assert (plan.name, plan.priority) == ("Professional", 99)


def test_page_without_a_change_undoes_nothing_and_says_nothing(ops, plan):
    opened = seen(ops, plan)

    done = ops.post(change_url(plan), plan_answers(name="Pro", priority="1", **opened))

    assert "Nothing to change" in messages_of(done)[0][1]


def test_realm_keeps_what_somebody_else_set(ops, realm, at, by):
    opened = seen(ops, realm)
    change_realm(realm=realm, name=realm.name, metadata={"team": "b"}, at=at, by=by)

    refused = ops.post(
        change_url(realm), answers(name="Renamed", metadata="{}", **opened)
    )

    assert "changed this on 2026-03-10" in errors_of(refused)["__all__"][0]
    realm.refresh_from_db()
    assert realm.metadata == {"team": "b"}


def test_new_definition_has_no_version(ops):
    page = ops.get("/admin/tenancy/realm/add/")

    assert form_of(page).initial.get(SEEN) is None


@pytest.fixture
def features(realm, at, by):
    for code in ("chat", "search"):
        make_feature(realm, at, by, code, "assistant")
    found = Feature.objects.in_realm(realm)
    return {feature.feature_code: str(feature.pk) for feature in found}


def test_stale_boxes_do_not_undo_a_change(ops, plan, features, at, by):
    url = command_url(plan, "set-entitlements")
    opened = form_of(ops.get(url)).initial["seen"]
    assert f'value="{opened}"' in ops.get(url).text
    rule = Target(Effect.DENY, feature_code="search")
    append_entitlements(plan=plan, targets=[rule], at=at, by=by)

    refused = ops.post(url, why(allow_features=[features["chat"]], seen=opened))

    assert "Somebody else changed" in errors_of(refused)["__all__"][0]
    assert [row.effect for row in plan.entitlements.all()] == [Effect.DENY]
