"""Staff roles and what each may do. The groups are created by migration.

Permissions follow the app and the verb: `billing.assign_plan`. A role lists patterns;
everything not listed is refused. Kept in code, so that a review of access is a
review of this file.
"""

from fnmatch import fnmatchcase
from typing import Any

from django.contrib.auth.backends import BaseBackend

SUPPORT, FINANCE, OPS, APPROVER, AUDITOR = (
    "Support",
    "Finance",
    "Ops",
    "Approver",
    "Auditor",
)

_CUSTOMERS = (
    "catalog.view_*",
    "billing.view_billing*",
    "billing.view_contract*",
    "billing.view_plan*",
    "grants.view_*",
    "gating.view_*",
    "tenancy.view_realm",
)
"""To read what customers have and why; nothing about staff, keys and tokens."""

_READ = ("*.view_*",)
_TAKEN_AWAY = tuple(read.replace(".view_", ".export_") for read in _CUSTOMERS)
_DEFINITIONS = (
    "catalog.*",
    "billing.add_plan",
    "billing.change_plan",
    "billing.add_planentitlement",
    "billing.change_planentitlement",
    "billing.delete_planentitlement",
    "gating.*_gatepolicybundle",
    "gating.*_gatepolicy",
    "grants.add_grantprogram",
    "grants.change_grantprogram",
    "grants.add_grantcampaign",
    "grants.change_grantcampaign",
    "grants.delete_grantcampaign",
)

ROLE_PERMISSIONS: dict[str, tuple[str, ...]] = {
    SUPPORT: (
        *_CUSTOMERS,
        "billing.assign_plan",
        "billing.manage_users",
        "gating.cancel_lease",
        "gating.commit_lease",
        "grants.close_budget",
    ),
    FINANCE: (
        *_CUSTOMERS,
        *_TAKEN_AWAY,
        "billing.manage_contracts",
        "grants.credit_wallet",
        "grants.adjust_wallet",
        "grants.reverse_posting",
        "grants.manage_lots",
        "grants.close_budget",
    ),
    OPS: (
        *_CUSTOMERS,
        *_DEFINITIONS,
        *_TAKEN_AWAY,
        "billing.view_platformtoken",
        "procrastinate.view_*",
        "tenancy.view_jobrun",
        "axes.view_*",
        "billing.assign_plan",
        "billing.manage_contracts",
        "billing.manage_users",
        "gating.cancel_lease",
        "gating.commit_lease",
        "grants.credit_wallet",
        "grants.apply_plan_grants",
        "grants.give_grant",
        "grants.manage_lots",
        "grants.close_budget",
        "tenancy.*_realm",
        "tenancy.*_servicekey",
    ),
    APPROVER: (
        *_CUSTOMERS,
        *_TAKEN_AWAY,
        "billing.assign_plan",
        "grants.give_grant",
        "grants.credit_wallet",
        "grants.adjust_wallet",
        "grants.approve_grant",
    ),
    AUDITOR: (*_READ, "*.export_*"),
}
ROLES = tuple(ROLE_PERMISSIONS)


def roles_with(permission: str) -> tuple[str, ...]:
    """Return the roles that have a permission (`app.codename`)."""
    return tuple(
        role
        for role, patterns in ROLE_PERMISSIONS.items()
        if any(fnmatchcase(permission, pattern) for pattern in patterns)
    )


class RoleBackend(BaseBackend):
    """Answers `user.has_perm` from the user's roles."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        """Return whether one of the user's roles grants `perm` (`app.codename`)."""
        return user_obj.is_active and any(
            role in _roles_of(user_obj) for role in roles_with(perm)
        )

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        """Return whether the user may see the app at all."""
        return user_obj.is_active and bool(_roles_of(user_obj))


def _roles_of(user: Any) -> tuple[str, ...]:
    if not hasattr(user, "_plangate_roles"):
        names = user.groups.values_list("name", flat=True)
        user._plangate_roles = tuple(names)
    roles: tuple[str, ...] = user._plangate_roles
    return roles
