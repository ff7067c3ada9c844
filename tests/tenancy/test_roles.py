"""What each role of the staff may do; everything not listed is refused."""

import pytest
from django.contrib.auth.models import Group, Permission, User

from config.tenancy.roles import APPROVER, AUDITOR, FINANCE, OPS, ROLES, SUPPORT

pytestmark = pytest.mark.django_db

MAY = {
    "billing.view_plan": {SUPPORT, FINANCE, OPS, APPROVER, AUDITOR},
    "tenancy.view_realm": {SUPPORT, FINANCE, OPS, APPROVER, AUDITOR},
    "billing.assign_plan": {SUPPORT, OPS, APPROVER},
    "billing.manage_users": {SUPPORT, OPS},
    "billing.manage_contracts": {FINANCE, OPS},
    "billing.view_billingcontract": {SUPPORT, FINANCE, OPS, APPROVER, AUDITOR},
    "billing.view_contractterm": {SUPPORT, FINANCE, OPS, APPROVER, AUDITOR},
    "gating.cancel_lease": {SUPPORT, OPS},
    "gating.commit_lease": {SUPPORT, OPS},
    "grants.approve_grant": {APPROVER},
    "grants.credit_wallet": {FINANCE, OPS, APPROVER},
    "grants.adjust_wallet": {FINANCE, APPROVER},
    "grants.reverse_posting": {FINANCE},
    "grants.manage_lots": {FINANCE, OPS},
    "grants.apply_plan_grants": {OPS},
    "grants.give_grant": {OPS, APPROVER},
    "grants.view_wallet": {SUPPORT, FINANCE, OPS, APPROVER, AUDITOR},
    "grants.add_grantprogram": {OPS},
    "grants.change_grantprogram": {OPS},
    "grants.add_grantcampaign": {OPS},
    "grants.change_grantcampaign": {OPS},
    "tenancy.view_jobrun": {OPS, AUDITOR},
    "grants.close_budget": {SUPPORT, FINANCE, OPS},
    "grants.export_posting": {FINANCE, OPS, APPROVER, AUDITOR},
    "billing.add_plan": {OPS},
    "billing.change_plan": {OPS},
    "catalog.change_meter": {OPS},
    "gating.change_gatepolicy": {OPS},
    "gating.add_gatepolicybundle": {OPS},
    "tenancy.change_servicekey": {OPS},
    "tenancy.change_realm": {OPS},
    "billing.view_planassignment": {SUPPORT, FINANCE, OPS, APPROVER, AUDITOR},
    "tenancy.view_servicekey": {OPS, AUDITOR},
    "billing.view_platformtoken": {OPS, AUDITOR},
    "axes.view_accessattempt": {OPS, AUDITOR},
    "auth.view_user": {AUDITOR},
    "grants.export_wallet": {FINANCE, OPS, APPROVER, AUDITOR},
    # Nobody's: accounts of the staff, and rows that only verbs may write.
    "auth.change_user": set(),
    "auth.add_group": set(),
    "billing.delete_plan": set(),
    "billing.change_planassignment": set(),
    "billing.change_billingcontract": set(),
    "billing.delete_contractterm": set(),
    "billing.delete_billingaccount": set(),
    "grants.change_wallet": set(),
    "grants.delete_posting": set(),
    "grants.change_grantlot": set(),
    "grants.delete_grantprogram": set(),
    "gating.change_rating": set(),
    "gating.delete_lease": set(),
    "sessions.delete_session": set(),
}


def member(role=None, **options):
    """A user in a role."""
    user = User.objects.create_user(
        f"{role or 'nobody'}-{len(options)}", password="a long password", **options
    )
    if role:
        user.groups.add(Group.objects.get(name=role))
    return User.objects.get(pk=user.pk)


def test_roles_are_made_by_migration():
    assert set(Group.objects.values_list("name", flat=True)) >= set(ROLES)
    assert {SUPPORT, FINANCE, OPS, APPROVER, AUDITOR} == set(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_role_may_do_what_is_listed(role):
    user = member(role, is_staff=True)

    found = {permission: user.has_perm(permission) for permission in MAY}

    print(f"\n{role}: {sum(found.values())} of {len(MAY)}")
    assert found == {permission: role in roles for permission, roles in MAY.items()}


def test_two_roles_may_do_what_either_may():
    user = member(SUPPORT, is_staff=True)
    user.groups.add(Group.objects.get(name=FINANCE))
    user = User.objects.get(pk=user.pk)

    found = {permission for permission in MAY if user.has_perm(permission)}

    assert found == {
        permission for permission, roles in MAY.items() if roles & {SUPPORT, FINANCE}
    }


@pytest.mark.parametrize("permission", MAY)
def test_nobody_without_a_role_may_do_anything(permission):
    assert member(is_staff=True).has_perm(permission) is False


@pytest.mark.parametrize("role", ROLES)
def test_role_of_someone_who_left_is_worth_nothing(role):
    user = member(role, is_staff=True, is_active=False)

    assert not any(user.has_perm(permission) for permission in MAY)
    assert user.has_module_perms("billing") is False


def test_change_of_roles_counts_at_the_next_request(staff):
    client = staff(SUPPORT)
    plans = "/admin/billing/plan/add/"
    before = client.get(plans).status_code
    client.user.groups.set([Group.objects.get(name=OPS)])

    assert (before, client.get(plans).status_code) == (403, 200)


def test_no_role_holds_a_stored_permission():
    """Access is reviewed in one file; a permission row would bypass it."""
    assert Permission.objects.filter(group__name__in=ROLES).count() == 0
