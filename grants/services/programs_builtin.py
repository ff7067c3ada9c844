"""The programs that every realm has. Their amounts come from what binds to them."""

from datetime import datetime
from typing import Any

from config.kernel.audit import AuditContext
from config.tenancy.history import auditing
from config.tenancy.models import Realm
from grants.models import (
    FALLBACK_PROGRAM,
    Cadence,
    GrantProgram,
    IssueAnchor,
    LotKind,
    WindowKind,
)

YEAR_SECONDS = 365 * 86_400
OVERAGE_PRIORITY = -100_000

BUILT_IN: tuple[dict[str, Any], ...] = (
    {
        "program_code": "one_time_xusd",
        "name": "One-time credit",
        "cadence": Cadence.ONCE,
        "issue_anchor": IssueAnchor.BINDING_START,
        "window_kind": WindowKind.FIXED,
        "window_default_seconds": YEAR_SECONDS,
        "priority": 10,
        "on_ledger": True,
    },
    {
        "program_code": "daily_xusd",
        "name": "Daily credit",
        "cadence": Cadence.DAILY,
        "priority": 50,
    },
    {
        "program_code": "weekly_xusd",
        "name": "Weekly credit",
        "cadence": Cadence.WEEKLY,
        "priority": 50,
    },
    {
        "program_code": "monthly_xusd",
        "name": "Monthly credit",
        "cadence": Cadence.MONTHLY,
        "priority": 20,
        "on_ledger": True,
        "metadata": {"expiry_policy": "forfeit"},
    },
    {
        "program_code": "period_xusd",
        "name": "Credit of a billing period",
        "cadence": Cadence.BILLING_PERIOD,
        "priority": 20,
        "on_ledger": True,
    },
    {
        "program_code": "quarterly_xusd",
        "name": "Quarterly credit",
        "cadence": Cadence.QUARTERLY,
        "priority": 20,
        "on_ledger": True,
    },
    {
        "program_code": "yearly_xusd",
        "name": "Yearly credit",
        "cadence": Cadence.YEARLY,
        "priority": 50,
        "on_ledger": True,
    },
    {
        "program_code": FALLBACK_PROGRAM,
        "name": "Overage",
        "cadence": Cadence.ONCE,
        "window_kind": WindowKind.FOREVER,
        "grant_kind": LotKind.FALLBACK,
        "priority": OVERAGE_PRIORITY,
    },
)
BUILT_IN_CODES = tuple(program["program_code"] for program in BUILT_IN)


def create_builtin_programs(
    *, subject: Realm, at: datetime, by: AuditContext, **_: Any
) -> None:
    """Give a realm the built-in programs that it lacks (`realm.created`)."""
    programs = [GrantProgram(realm=subject, **terms) for terms in BUILT_IN]
    with auditing(by, at=at):
        GrantProgram.objects.bulk_create(programs, ignore_conflicts=True)
