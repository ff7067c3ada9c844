"""What the demo's customers are given: by plans, a campaign, and people."""

from dataclasses import dataclass
from datetime import datetime

from config.kernel.audit import AuditContext
from config.kernel.windows import Window
from config.tenancy.models import Realm
from demo.accounts import Customer
from grants.models import GrantAssignment, GrantLot
from grants.services.adjustments import adjust_wallet, reverse_adjustment
from grants.services.assignment_changes import (
    create_manual_assignment,
    manual_identity,
    pause_assignment,
)
from grants.services.assignments import GrantTerms, program_named
from grants.services.binding_sweep import sweep_bindings
from grants.services.campaign_enrollment import sweep_campaigns
from grants.services.campaigns import CampaignTerms, create_campaign
from grants.services.closing import close_ended_lots
from grants.services.lots import revoke_lot, suspend_lot
from grants.services.programs import ProgramTerms, create_program
from grants.services.seals import seal_entries
from grants.services.settlement_sweep import settle_pending

GOODWILL = "goodwill"
USD = 1_000_000
TARGETED = ("fable-studio", "everline", "juniper-school")


@dataclass(frozen=True)
class Given:
    """A grant by hand: to whose first user, of which program, when, and why."""

    principal: str
    program: str
    dollars: int
    start: float
    end: float | None
    ref: str
    reason: str


GIVEN = (
    Given("brightmail", GOODWILL, 10, -25, 5, "SUP-501", "slow answers in spring"),
    Given("harbor-foods", GOODWILL, 12, -15, 60, "SUP-512", "billing mistake"),
    Given("kestrel-air", "weekly_xusd", 3, -20, None, "CN-2095-W", "weekly allowance"),
    Given("everline", "daily_xusd", 1, -10, 20, "SUP-533", "while the dispute runs"),
    Given("granite-law", GOODWILL, 40, -40, 90, "SUP-498", "migration help"),
)


def create_programs(realm: Realm, *, at: datetime, by: AuditContext) -> None:
    """Create the program that the demo's support gives by."""
    terms = ProgramTerms(
        cadence="once",
        name="Goodwill",
        window_kind="fixed",
        issue_anchor="binding_start",
        grant_kind="promo",
        priority=30,
    )
    create_program(realm=realm, program_code=GOODWILL, terms=terms, at=at, by=by)


def create_grants(customers: list[Customer]) -> None:
    """Give what `GIVEN` lists and the campaign, and change some of it as people do."""
    named = {each.account.billing_principal_id: each for each in customers}
    made = {given.ref: _give(named[given.principal], given) for given in GIVEN}
    _spring_campaign(named)
    first = customers[0]
    # All periods up to now, before the traffic of the last days.
    at = first.when(-4)
    sweep_bindings(limit=200, at=at, by=first.why("the period begins", "DEMO-1", at))
    _second_thoughts(named, made)


def settle_up(customers: list[Customer]) -> None:
    """Book what was used, end what is over, and seal it, as the worker would."""
    first = customers[0]
    at = first.when(-0.02)
    by = first.why("the demo's worker", "DEMO-1", at)
    settle_pending(at=at, by=by)
    close_ended_lots(at=at, by=by)
    seal_entries(at=at)


def _give(customer: Customer, given: Given) -> GrantAssignment:
    at = customer.when(given.start)
    by = customer.why(given.reason, given.ref, at)
    user = customer.users[0]
    end = None if given.end is None else customer.when(given.end)
    assignment, _created = create_manual_assignment(
        identity=manual_identity(
            user=user,
            program=program_named(customer.realm, given.program),
            source_ref=given.ref,
            by=by,
        ),
        window=Window(at, end),
        terms=GrantTerms(amount_xusd=given.dollars * USD),
        at=at,
        by=by,
    )
    return assignment


def _spring_campaign(named: dict[str, Customer]) -> None:
    """Give three customers $2 each, and plan another campaign for later."""
    targeted = [named[principal] for principal in TARGETED]
    first = targeted[0]
    at = first.when(-9)
    by = first.why("spring campaign", "MKT-12", at)
    grant = {"grant_program_code": "one_time_xusd", "amount_xusd": 2 * USD}
    terms = CampaignTerms(
        name="Spring welcome",
        window_start=at,
        window_end=first.when(30),
        target_filter={
            "billing_account_ids": [str(each.account.pk) for each in targeted]
        },
        metadata={"grants": [grant]},
    )
    create_campaign(realm=first.realm, terms=terms, at=at, by=by)
    later = CampaignTerms(
        name="Summer thank-you",
        window_start=first.when(45),
        window_end=first.when(75),
        metadata={"grants": [{**grant, "amount_xusd": 5 * USD}]},
    )
    create_campaign(realm=first.realm, terms=later, at=at, by=by)
    sweep_campaigns(at=at, by=by)


def _second_thoughts(
    named: dict[str, Customer], made: dict[str, GrantAssignment]
) -> None:
    """Suspend one grant, revoke another, pause a third, adjust a wallet and undo it."""
    harbor = named["harbor-foods"]
    at = harbor.when(-2)
    lot = GrantLot.objects.get(assignment=made["SUP-512"])
    why = harbor.why("the mistake is looked into again", "FIN-91", at)
    suspend_lot(lot=lot, at=at, by=why)
    granite = named["granite-law"]
    lot = GrantLot.objects.get(assignment=made["SUP-498"])
    why = granite.why("given to the wrong customer", "SUP-540", at)
    revoke_lot(lot=lot, at=at, by=why)
    kestrel = named["kestrel-air"]
    why = kestrel.why("until the contract is renewed", "SUP-544", at)
    pause_assignment(assignment=made["CN-2095-W"], at=at, by=why)
    bright = named["brightmail"]
    why = bright.why("a refund of the wrong invoice", "FIN-95", at)
    for amount, key in ((-3 * USD, "FIN-95"), (1 * USD, "FIN-96")):
        posting, _created = adjust_wallet(
            user=bright.users[0], amount_xusd=amount, key=key, at=at, by=why
        )
    at = bright.when(-1.5)
    undo = bright.why("it was the right invoice", "FIN-96", at)
    reverse_adjustment(posting=posting, at=at, by=undo)
