"""For whom a gate call is: by the names callers use, resolved only when need be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from billing.models import BillingAccount, BillingUser
from gating.services.functions import Document, Function, GateMoved
from gating.services.projections import project

Bound = tuple[BillingAccount, BillingUser]

TRIES = 8
"""How often a projection that went stale meanwhile is resolved again."""


@dataclass(slots=True)
class Subject:
    """A user of an account, as the caller names them.

    The gate's functions know them by these names. Where they do not, `bind` returns
    the rows, making a new user's, or refuses; a `bound` subject has been checked, and
    is served whatever its status. `version` is that of the credentials its caller was
    known by, None where they were read for this call; `together` lets the call be sent
    with those of other threads; `may_register` says whether its use may add to the
    catalog, which holds for the whole realm (`gating.services.registry`). `answered`
    says that something was decided for it: it must not be asked again from the start.
    """

    realm_id: str
    principal_id: str
    business_user_id: str
    bind: Callable[[], Bound]
    bound: bool = False
    version: int | None = None
    together: bool = False
    may_register: bool = True
    answered: bool = False

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

    def asked(
        self,
        function: Function,
        features: Sequence[str],
        asked: Sequence[Document],
        *,
        at: datetime,
    ) -> list[Document | None]:
        """Return the function's answer to each item, of the feature beside it.

        None where the realm has no such feature. Where something went stale, nothing is
        decided: it is projected again, and all are asked anew, in their order; refuses
        (`GateMoved`) after eight times.
        """
        answers: list[Document | None] = [None] * len(asked)
        places = list(range(len(asked)))
        for _ in range(TRIES):
            items = [self.item(features[place]) | asked[place] for place in places]
            told = self._at_once(function, items, at=at)
            stale = {
                features[place]
                for place, answer in zip(places, told, strict=True)
                if answer["o"] == "stale"
            }
            if not stale:
                for place, answer in zip(places, told, strict=True):
                    answers[place] = answer
                self.answered = True
                return answers
            known = {code: self.project(code, at=at) for code in sorted(stale)}
            places = [place for place in places if known.get(features[place], True)]
            if not places:
                return answers
        raise GateMoved("What governs the account")

    def _at_once(
        self, function: Function, items: Sequence[Document], *, at: datetime
    ) -> list[Document]:
        """Ask for all items; what is done for some is undone where others are stale.

        Items of one feature go stale together.
        """
        if len({item["feature"] for item in items}) < 2:  # noqa: PLR2004
            return function(items, at=at, version=self.version)
        with transaction.atomic():
            told = function(items, at=at, version=self.version)
            if any(answer["o"] == "stale" for answer in told):
                transaction.set_rollback(True)
        return told

    def project(self, feature_code: str, *, at: datetime) -> bool:
        """Let the functions know the subject; False where there is no such feature."""
        account, user = self.bind()
        self.bound = True
        return project(account=account, user=user, feature_code=feature_code, at=at)
