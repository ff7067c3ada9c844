"""A dozen customers, each in a state that support meets."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from billing.models import (
    BillingAccount,
    BillingUser,
    Plan,
    PlanAssignment,
    TermKind,
)
from billing.policies.contract_pricing import SCHEMA_V2
from billing.services import assignment_changes as verbs
from billing.services.accounts import ensure_account, set_seat_limit
from billing.services.assignments import Identity, assign_plan
from billing.services.contract_terms import add_contract_term
from billing.services.contracts import upsert_contract
from billing.services.users import change_user, create_user
from config.kernel.audit import AuditContext
from config.kernel.windows import Window
from config.tenancy.models import Realm
from grants.services.credits import credit_balance

CHAT = "chat.completion"


@dataclass
class Customer:
    """One customer under construction: shorthand for the verbs, at chosen times.

    Days are counted from now: -30 is thirty days ago.
    """

    realm: Realm
    plans: dict[str, Plan]
    present: datetime
    by: AuditContext
    account: BillingAccount
    users: list[BillingUser]

    def when(self, days: float) -> datetime:
        """Return the instant so many days from now."""
        return self.present + timedelta(days=days)

    def why(self, reason: str, ticket: str, at: datetime) -> AuditContext:
        """Return the explanation of a change."""
        return replace(self.by, reason=reason, ticket_id=ticket, effective_at=at)

    def assign(
        self,
        plan: str,
        start: float,
        end: float | None = None,
        *,
        ref: str,
        user: BillingUser | None = None,
        made: float | None = None,
        source: str = "ops.manual",
        reason: str = "signed contract",
    ) -> PlanAssignment:
        """Assign a plan from day `start` to day `end`, recorded on day `made`."""
        at = self.when(min(start, 0) if made is None else made)
        assignment, _outcome = assign_plan(
            identity=Identity(self.account, user, self.plans[plan], source, ref),
            window=Window(self.when(start), None if end is None else self.when(end)),
            at=at,
            by=self.why(reason, ref, at),
        )
        return assignment

    def agree(self, name: str, ref: str, multipliers: dict[float, str]) -> None:
        """Agree on a contract that multiplies the price of chat from each day on."""
        start = self.when(min(multipliers))
        contract, _created = upsert_contract(
            account=self.account,
            effective_at=start,
            values={"name": name},
            at=start,
            by=self.why("signed contract", ref, start),
        )
        for day, multiplier in multipliers.items():
            at = self.when(day)
            step = {"op": "multiplier", "multiplier": multiplier}
            add_contract_term(
                contract=contract,
                kind=TermKind.PRICING,
                term_key=CHAT,
                effective_at=at,
                value={
                    "schema": SCHEMA_V2,
                    "meter_code": CHAT,
                    "price": {"adjustments": [step]},
                },
                at=at,
                by=self.why(f"price agreed: {multiplier} of the list price", ref, at),
            )

    def credit(self, dollars: int, ref: str) -> None:
        """Give the first user credit."""
        at = self.when(-20)
        credit_balance(
            user=self.users[0],
            amount_xusd=dollars * 1_000_000,
            source_ref=ref,
            at=at,
            by=self.why("prepaid credit", ref, at),
        )


Story = tuple[str, tuple[tuple[str, str], ...], Callable[[Customer], None]]


def _in_good_order(c: Customer) -> None:
    c.assign("pro", -90, ref="CN-2041")
    c.assign("vision-pack", -30, ref="CN-2041-A1")
    c.credit(50, "INV-9001")


def _upgraded(c: Customer) -> None:
    starter = c.assign("starter", -120, ref="CN-1877")
    at = c.when(-14)
    verbs.upgrade_plan(
        assignment=starter, plan=c.plans["pro"], source_kind="ops.manual",
        source_ref="CN-2102", switch_at=at, at=at,
        by=c.why("outgrew Starter", "SUP-311", at),
    )  # fmt: skip
    c.credit(20, "INV-9002")


def _ends_soon(c: Customer) -> None:
    c.assign("business", -355, 9, ref="CN-0930", reason="yearly contract")
    c.agree("Cobalt Enterprise", "CN-0930", {-355: "0.9", -60: "0.8"})


def _promised(c: Customer) -> None:
    c.assign("pro", -60, ref="CN-1990")
    c.assign(
        "business", -5, 40, ref="SUP-402", made=-5,
        reason="sales promised Business until the new contract",
    )  # fmt: skip


def _paused(c: Customer) -> None:
    pro = c.assign("pro", -75, ref="CN-1764")
    at = c.when(-6)
    verbs.pause_assignment(
        assignment=pro, at=at, by=c.why("invoice disputed", "FIN-88", at)
    )


def _trial(c: Customer) -> None:
    c.assign("starter", -10, ref="signup-7731", reason="self-service sign-up")
    c.assign("spring-trial", -10, 4, ref="spring-2026", source="ops.campaign",
             reason="spring campaign")  # fmt: skip
    c.credit(2, "welcome-7731")


def _legal_hold(c: Customer) -> None:
    c.assign("business", -200, ref="CN-1201")
    c.assign("legal-hold", -3, ref="LEGAL-12", reason="export blocked by court order")


def _scheduled_downgrade(c: Customer) -> None:
    pro = c.assign("pro", -40, ref="CN-2077")
    at = c.when(-1)
    verbs.downgrade_plan(
        assignment=pro, plan=c.plans["starter"], source_kind="ops.manual",
        source_ref="SUP-455", switch_at=c.when(12), at=at,
        by=c.why("downgrade at the end of the cycle", "SUP-455", at),
    )  # fmt: skip
    c.credit(8, "INV-9010")


def _gone(c: Customer) -> None:
    pro = c.assign("pro", -300, ref="CN-0888")
    at = c.when(-50)
    verbs.end_assignment(
        assignment=pro, end_at=c.when(-45), at=at,
        by=c.why("customer left", "SUP-290", at),
    )  # fmt: skip


def _one_user_better(c: Customer) -> None:
    c.assign("starter", -70, ref="CN-1650")
    c.assign("pro", -20, ref="SUP-380", user=c.users[1], reason="pilot for one user")
    c.credit(5, "INV-9013")


def _full(c: Customer) -> None:
    c.assign("pro", -33, ref="CN-2095")
    at = c.when(-30)
    set_seat_limit(
        account=c.account, seat_limit=3, at=at, by=c.why("three seats", "CN-2095", at)
    )
    at = c.when(-2)
    change_user(
        user=c.users[2], status="disabled", at=at, by=c.why("left", "SUP-460", at)
    )
    c.credit(1, "INV-9020")


def _without_plan(_: Customer) -> None:
    """Leave the customer without any plan: every call is denied."""


STORIES: tuple[Story, ...] = (
    ("aurora-labs", (("mia", "Mia Aurora"), ("leo", "Leo Park")), _in_good_order),
    ("brightmail", (("sam", "Sam Bright"),), _upgraded),
    ("cobalt-health", (("ines", "Ines Cobalt"), ("raj", "Raj Patel")), _ends_soon),
    ("deltaworks", (("ola", "Ola Delta"),), _promised),
    ("everline", (("kim", "Kim Ever"),), _paused),
    ("fable-studio", (("noa", "Noa Fable"),), _trial),
    ("granite-law", (("tess", "Tess Granite"),), _legal_hold),
    ("harbor-foods", (("jon", "Jon Harbor"),), _scheduled_downgrade),
    ("ivory-coast-tours", (("ada", "Ada Ivory"),), _gone),
    ("juniper-school", (("pat", "Pat Juniper"), ("dee", "Dee Chen")), _one_user_better),
    ("kestrel-air", (("bo", "Bo Kestrel"), ("cy", "Cy Moss"), ("di", "Di Webb")),
     _full),
    ("lumen-print", (("gus", "Gus Lumen"),), _without_plan),
)  # fmt: skip


def create_customers(
    realm: Realm,
    plans: dict[str, Plan],
    *,
    present: datetime,
    by: AuditContext,
    progress: Callable[[int, int, str], None],
) -> list[Customer]:
    """Create the customers of `STORIES`, each with its users and its history."""
    customers = []
    for number, (principal, people, story) in enumerate(STORIES, start=1):
        at = present - timedelta(days=400)
        account = ensure_account(realm=realm, principal_id=principal, at=at, by=by)
        users = [
            create_user(
                account=account,
                business_user_id=user_id,
                metadata={
                    "display_name": name,
                    "email": f"{user_id}@{principal}.example",
                },
                at=at,
                by=by,
            )
            for user_id, name in people
        ]
        customer = Customer(realm, plans, present, by, account, users)
        story(customer)
        customers.append(customer)
        progress(number, len(STORIES), principal)
    return customers
