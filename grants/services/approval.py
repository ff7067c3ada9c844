"""The bound on what a person may give without approval."""

from config.kernel.errors import Forbidden
from config.kernel.money import format_xusd
from grants.models import GrantAssignment
from grants.options import approval_limit_xusd
from grants.selectors.terms import LotTerms, terms_of


class ApprovalRequired(Forbidden):
    """The amount is above what may be given without approval (403)."""

    default_code = "GRANT.APPROVAL_REQUIRED"


def require_approval(amount_xusd: int, *, may_approve: bool) -> None:
    """Refuse (`ApprovalRequired`) an amount (10^-6 USD) above the deployment's limit.

    `may_approve` says that the caller is a member of staff with the permission
    `grants.approve_grant`, for whom there is no limit.
    """
    limit = approval_limit_xusd()
    if limit is None or amount_xusd <= limit or may_approve:
        return
    raise ApprovalRequired(
        f"{format_xusd(amount_xusd)} is above {format_xusd(limit)}, the most that may "
        "be given without approval.",
        field="amount_xusd",
        meta={
            "details": {
                "amount_xusd": str(amount_xusd),
                "approval_limit_xusd": str(limit),
                "permission": "grants.approve_grant",
            }
        },
    )


def require_approval_of(
    after: GrantAssignment, *, before: GrantAssignment | None, may_approve: bool
) -> None:
    """Refuse (`ApprovalRequired`) that a person makes an assignment give too much.

    What counts is what its lots will be worth, wherever the amount is said: on the
    assignment, in `metadata.grant_override`, by the program, times the quantity. What
    it gave `before` (None: it is new) was judged then. `after` need not be stored.
    """
    if approval_limit_xusd() is None or may_approve:
        return
    given = terms_of(after)
    if before is not None and _gives(given) == _gives(terms_of(before)):
        return
    require_approval(given.amount_xusd, may_approve=may_approve)


def _gives(terms: LotTerms) -> tuple[int, int]:
    """Return what makes a gift another one.

    Under another number the period that was given for is given for again.
    """
    return terms.amount_xusd, terms.alloc_seq
