"""The demo's product: Orbit, an assistant API sold in three plans."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from billing.models import Plan
from billing.services.entitlements import Target, append_entitlements
from billing.services.plans import (
    change_plan_definition,
    default_plan,
    upsert_plan,
)
from catalog.services.entries import MeterEntry
from catalog.services.families import upsert_feature_family
from catalog.services.features import upsert_feature
from catalog.services.prices import PriceTerms
from config.kernel.audit import AuditContext
from config.tenancy.models import Realm

FAMILIES = (
    ("assistant", "Assistant", "Chat and vision models"),
    ("search", "Search", "Search over a customer's documents"),
    ("workspace", "Workspace", "Exports, sign-on and support"),
)


@dataclass(frozen=True)
class Sold:
    """A feature and its price: XUSD for so many units, and what they cost us."""

    family: str
    code: str
    name: str
    unit: str
    price_xusd: int = 0
    per_units: int = 1
    cost_xusd: int = 0


FEATURES = (
    Sold("assistant", "chat.completion", "Chat completions", "token", 3_000_000,
         1_000_000, 1_100_000),
    Sold("assistant", "chat.vision", "Image understanding", "image", 4_000, 1, 1_500),
    Sold("search", "search.query", "Search queries", "query", 500, 1, 120),
    Sold("workspace", "export.csv", "CSV exports", "export"),
    Sold("workspace", "sso.login", "Single sign-on", "login"),
    Sold("workspace", "support.priority", "Priority support", "case"),
)  # fmt: skip


@dataclass(frozen=True)
class Offered:
    """A plan of the demo: its place, what it allows, and what it brings.

    `grants` are pairs of a program and its amount (10^-6 USD).
    """

    code: str
    name: str
    kind: str
    priority: int
    families: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    bundle: str | None = None
    billing_mode: str | None = None
    grants: tuple[tuple[str, int], ...] = ()

    @property
    def metadata(self) -> dict[str, Any]:
        """Return the plan's metadata."""
        document: dict[str, Any] = {}
        if self.bundle:
            document["gate_bundle_key"] = self.bundle
        if self.billing_mode:
            document["billing_defaults"] = {
                "period": {"billing_mode": self.billing_mode}
            }
        if self.grants:
            document["grants"] = [
                {"grant_program_code": code, "amount_xusd": amount}
                for code, amount in self.grants
            ]
        return document


STARTER_BUNDLE, PRO_BUNDLE = "starter-limits", "pro-limits"

PLANS = (
    Offered("starter", "Starter", "base", 10, features=("chat.completion",
            "search.query"), bundle=STARTER_BUNDLE, billing_mode="prepaid",
            grants=(("monthly_xusd", 2_000_000),)),
    Offered("pro", "Pro", "base", 20, families=("assistant", "search"),
            features=("export.csv",), bundle=PRO_BUNDLE, billing_mode="prepaid",
            grants=(("monthly_xusd", 15_000_000), ("daily_xusd", 250_000))),
    Offered("business", "Business", "base", 30, families=("assistant", "search",
            "workspace"), bundle=PRO_BUNDLE, billing_mode="postpaid"),
    Offered("vision-pack", "Vision pack", "addon", 15, features=("chat.vision",)),
    Offered("spring-trial", "Spring trial", "promo", 5, families=("workspace",)),
    Offered("legal-hold", "Legal hold", "promo", 90, denied=("export.csv",)),
)  # fmt: skip


def create_catalog(realm: Realm, *, at: datetime, by: AuditContext) -> dict[str, Plan]:
    """Create families, features with prices, and plans; return the plans by code.

    The realm's default plan, which allows everything, is switched off: Orbit sells.
    """
    free = default_plan(realm)
    if free is not None:
        change_plan_definition(plan=free, changes={"active": False}, at=at, by=by)
    for code, name, description in FAMILIES:
        upsert_feature_family(
            realm=realm,
            feature_family_code=code,
            name=name,
            description=description,
            at=at,
            by=by,
        )
    for sold in FEATURES:
        _create_feature(realm, sold, at=at, by=by)
    made = [_create_plan(realm, offered, at=at, by=by) for offered in PLANS]
    return {plan.plan_code: plan for plan in made}


def raise_starter(plan: Plan, *, at: datetime, by: AuditContext) -> None:
    """Give new holders of Starter more than those who hold it are given.

    What the button “Apply to holders” has to show.
    """
    grants = [{"grant_program_code": "monthly_xusd", "amount_xusd": 3_000_000}]
    metadata = {**plan.metadata, "grants": grants}
    change_plan_definition(plan=plan, changes={"metadata": metadata}, at=at, by=by)


def _create_feature(
    realm: Realm, sold: Sold, *, at: datetime, by: AuditContext
) -> None:
    price = PriceTerms(
        unit_price_xusd=sold.price_xusd,
        unit_quantity_minor=sold.per_units,
        unit_cost_xusd=sold.cost_xusd,
        cost_unit_quantity_minor=sold.per_units,
    )
    meter = MeterEntry(
        meter_code=sold.code,
        values={"unit": sold.unit, "semantic_kind": "activity"},
        price=price,
    )
    upsert_feature(
        realm=realm,
        feature_family_code=sold.family,
        feature_code=sold.code,
        name=sold.name,
        meters=[meter],
        at=at,
        by=by,
    )


def _create_plan(
    realm: Realm, offered: Offered, *, at: datetime, by: AuditContext
) -> Plan:
    plan, _created = upsert_plan(
        realm=realm,
        plan_code=offered.code,
        name=offered.name,
        kind=offered.kind,
        priority=offered.priority,
        metadata=offered.metadata,
        feature_codes=list(offered.features),
        feature_family_codes=list(offered.families),
        at=at,
        by=by,
    )
    if offered.denied:
        denies = [Target("deny", feature_code=code) for code in offered.denied]
        append_entitlements(plan=plan, targets=denies, at=at, by=by)
    return plan
