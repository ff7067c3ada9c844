"""For whom a gate call is: by the names callers use, resolved only when need be."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from billing.models import BillingAccount, BillingUser
from gating.services.functions import Document
from gating.services.projections import project

Bound = tuple[BillingAccount, BillingUser]


@dataclass(slots=True)
class Subject:
    """A user of an account, as the caller names them.

    The gate's functions know them by these names. Where they do not, `bind` returns
    the rows, making a new user's, or refuses; a `bound` subject has been checked, and
    is served whatever its status. `version` is that of the credentials its caller was
    known by, None where they were read for this call; `together` lets the call be sent
    with those of other threads.
    """

    realm_id: str
    principal_id: str
    business_user_id: str
    bind: Callable[[], Bound]
    bound: bool = False
    version: int | None = None
    together: bool = False

    @classmethod
    def of(cls, account: BillingAccount, user: BillingUser) -> "Subject":
        """Return a subject that is known."""
        return cls(
            account.realm_id,
            account.billing_principal_id,
            user.business_user_id,
            lambda: (account, user),
            bound=True,
        )

    def item(self, feature_code: str) -> Document:
        """Return what every item of the gate's functions begins with."""
        return {
            "realm": self.realm_id,
            "principal": self.principal_id,
            "user": self.business_user_id,
            "bound": self.bound,
            "feature": feature_code,
        }

    def project(self, feature_code: str, *, at: datetime) -> bool:
        """Let the functions know the subject; False where there is no such feature."""
        account, user = self.bind()
        self.bound = True
        return project(account=account, user=user, feature_code=feature_code, at=at)
