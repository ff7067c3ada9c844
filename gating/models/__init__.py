from gating.models.counters import Counter, CounterKind, GateState, Seat
from gating.models.denials import Denial
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
from gating.models.ratings import ApplicationStatus, Direction, Rating, RatingKind

__all__ = [
    "DEFAULT_BUNDLE_KEY",
    "UNLIMITED_POLICY_NAME",
    "ApplicationStatus",
    "BillingMode",
    "BundleStatus",
    "Counter",
    "CounterKind",
    "Denial",
    "Direction",
    "EnforcementMode",
    "GatePolicy",
    "GatePolicyBundle",
    "GateState",
    "Lease",
    "LeaseState",
    "LineStatus",
    "PolicyKind",
    "PolicyStatus",
    "RatedRecord",
    "Rating",
    "RatingKind",
    "ResidualBucket",
    "Seat",
    "SubjectScope",
]
