"""No assignment names a bundle that is gone: whoever comes first, the other is told."""

import threading

import pytest
from django.db import connection, transaction

from billing.models import PlanAssignment
from billing.services.accounts import ensure_account
from billing.services.assignments import Identity, assign_plan, change_assignment
from billing.services.plans import upsert_plan
from config.kernel.errors import DomainError
from config.kernel.windows import Window
from config.tenancy.history import auditing
from gating.models import GatePolicyBundle
from gating.services.bundles import delete_bundle, upsert_bundle

NAMED = {"gate_bundle_key": "gold"}


@pytest.fixture
def bundle(committed_realm, at, by):
    return upsert_bundle(realm=committed_realm, bundle_key="gold", at=at, by=by)[0]


@pytest.fixture
def assignment(committed_realm, at, by):
    account = ensure_account(realm=committed_realm, principal_id="acme", at=at, by=by)
    plan, _ = upsert_plan(
        realm=committed_realm, plan_code="pro", name="Pro", kind="base", at=at, by=by
    )
    return assign_plan(
        identity=Identity(account, None, plan, "ops.manual", "c-1"),
        window=Window(at),
        at=at,
        by=by,
    )[0]


def overlapping(first, second):
    """Run `second` after `first` and before its transaction ends; return both results."""
    done, results = threading.Event(), {}

    def tell(name, work):
        try:
            with transaction.atomic():
                work()
                if name == "first":
                    done.set()
                    follower.join(timeout=0.7)
            results[name] = "done"
        except DomainError as refusal:
            results[name] = type(refusal).__name__
        finally:
            if name == "second":
                connection.close()

    def follow():
        assert done.wait(timeout=10)
        tell("second", second)

    follower = threading.Thread(target=follow)
    follower.start()
    tell("first", first)
    follower.join(timeout=30)
    return results["first"], results["second"]


def dangles(assignment, bundle):
    named = PlanAssignment.objects.get(pk=assignment.pk).metadata == NAMED
    return named and not GatePolicyBundle.objects.filter(pk=bundle.pk).exists()


def test_bundle_named_meanwhile_is_not_deleted(assignment, bundle, at, by):
    found = overlapping(
        lambda: change_assignment(
            assignment=assignment, changes={"metadata": NAMED}, at=at, by=by
        ),
        lambda: delete_bundle(bundle=bundle, at=at, by=by),
    )

    assert found == ("done", "BundleInUse")
    assert not dangles(assignment, bundle)


def test_bundle_deleted_meanwhile_is_not_named(assignment, bundle, at, by):
    found = overlapping(
        lambda: delete_bundle(bundle=bundle, at=at, by=by),
        lambda: change_assignment(
            assignment=assignment, changes={"metadata": NAMED}, at=at, by=by
        ),
    )

    assert found == ("done", "Invalid")
    assert not dangles(assignment, bundle)


def test_without_the_lock_a_dangling_key_is_left(assignment, bundle, at, by):
    """The control: the same change, by a writer who does not take hold of the bundle."""

    def name_it():
        with auditing(by, at=at):
            PlanAssignment.objects.filter(pk=assignment.pk).update(metadata=NAMED)

    found = overlapping(name_it, lambda: delete_bundle(bundle=bundle, at=at, by=by))

    assert found == ("done", "done")
    assert dangles(assignment, bundle)
