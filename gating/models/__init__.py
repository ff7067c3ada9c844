from gating.models.counters import (
    Counter,
    CounterKind,
    GateState,
    Seat,
    SeatBilling,
)
from gating.models.denials import Denial
from gating.models.ends import EndKind, LeaseEnd
from gating.models.leases import BillingMode, Lease, LeaseState
from gating.models.lines import LineStatus, RatedRecord, ResidualBucket
from gating.models.policies import (
    DEFAULT_BUNDLE_KEY,
    UNLIMITED_POLICY_NAME,
    BundleStatus,
    EnforcementMode,
    GatePolicy,
    GatePolicyBundle,
    PolicyKind,
    PolicyStatus,
    SubjectScope,
)
from gating.models.projections import (
    AccountVersion,
    CatalogVersion,
    Entitlement,
    Projection,
    RuleSet,
)
from gating.models.ratings import (
    ApplicationStatus,
    Direction,
    Rating,
    RatingKey,
    RatingKind,
)

__all__ = [
    "DEFAULT_BUNDLE_KEY",
    "UNLIMITED_POLICY_NAME",
    "AccountVersion",
    "ApplicationStatus",
    "BillingMode",
    "BundleStatus",
    "CatalogVersion",
    "Counter",
    "CounterKind",
    "Denial",
    "Direction",
    "EndKind",
    "EnforcementMode",
    "Entitlement",
    "GatePolicy",
    "GatePolicyBundle",
    "GateState",
    "Lease",
    "LeaseEnd",
    "LeaseState",
    "LineStatus",
    "PolicyKind",
    "PolicyStatus",
    "Projection",
    "RatedRecord",
    "Rating",
    "RatingKey",
    "RatingKind",
    "ResidualBucket",
    "RuleSet",
    "Seat",
    "SeatBilling",
    "SubjectScope",
]
