from grants.models.allocations import GrantAllocation
from grants.models.assignments import GrantAssignment
from grants.models.budgets import Budget, BudgetScope, BudgetStatus
from grants.models.campaigns import GrantCampaign
from grants.models.enrollment import GrantEnrollment, IssuanceCursor, PlanTemplates
from grants.models.kinds import (
    ENDED,
    HELD_COUNTS,
    OPEN,
    SPENDABLE,
    Accrual,
    Cadence,
    CampaignStatus,
    CampaignTrigger,
    ClosureKind,
    Eligibility,
    GrantSource,
    GrantStatus,
    IssuanceMode,
    IssueAnchor,
    LotKind,
    LotStatus,
    OutstandingPolicy,
    WindowKind,
)
from grants.models.ledger import (
    LedgerAccount,
    LedgerEntry,
    LedgerKind,
    LedgerSeal,
    Posting,
    PostingReason,
)
from grants.models.lots import SPEND_ORDER, GrantLot
from grants.models.programs import FALLBACK_PROGRAM, GrantProgram
from grants.models.wallets import Wallet

__all__ = [
    "ENDED",
    "FALLBACK_PROGRAM",
    "HELD_COUNTS",
    "OPEN",
    "SPENDABLE",
    "SPEND_ORDER",
    "Accrual",
    "Budget",
    "BudgetScope",
    "BudgetStatus",
    "Cadence",
    "CampaignStatus",
    "CampaignTrigger",
    "ClosureKind",
    "Eligibility",
    "GrantAllocation",
    "GrantAssignment",
    "GrantCampaign",
    "GrantEnrollment",
    "GrantLot",
    "GrantProgram",
    "GrantSource",
    "GrantStatus",
    "IssuanceCursor",
    "IssuanceMode",
    "IssueAnchor",
    "LedgerAccount",
    "LedgerEntry",
    "LedgerKind",
    "LedgerSeal",
    "LotKind",
    "LotStatus",
    "OutstandingPolicy",
    "PlanTemplates",
    "Posting",
    "PostingReason",
    "Wallet",
    "WindowKind",
]
