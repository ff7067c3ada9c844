from billing.models.accounts import BillingAccount, SeatLimitSource
from billing.models.assignments import (
    AssignmentScope,
    AssignmentStatus,
    PlanAssignment,
    PlanAssignmentStatus,
    SourceKind,
)
from billing.models.contracts import (
    BillingContract,
    ContractStatus,
    ContractTerm,
    TermKind,
)
from billing.models.details import BillingDetails, DetailsSource, EntityType
from billing.models.plans import Effect, Plan, PlanEntitlement, PlanKind
from billing.models.tokens import PlatformToken
from billing.models.users import BillingUser, UserStatus

__all__ = [
    "AssignmentScope",
    "AssignmentStatus",
    "BillingAccount",
    "BillingContract",
    "BillingDetails",
    "BillingUser",
    "ContractStatus",
    "ContractTerm",
    "DetailsSource",
    "Effect",
    "EntityType",
    "Plan",
    "PlanAssignment",
    "PlanAssignmentStatus",
    "PlanEntitlement",
    "PlanKind",
    "PlatformToken",
    "SeatLimitSource",
    "SourceKind",
    "TermKind",
    "UserStatus",
]
