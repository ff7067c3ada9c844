"""Metadata contracts: the JSON keys that behavior reads, and how they are checked.

Metadata contract: see docs/metadata.md.
"""

from config.kernel.metadata.check import CheckedMetadata, check_metadata
from config.kernel.metadata.contracts import (
    AccountMetadata,
    AssignmentMetadata,
    BillingContractMetadata,
    BundleMetadata,
    CampaignMetadata,
    CatalogPriceMetadata,
    CatalogProductMetadata,
    FeatureFamilyMetadata,
    FeatureMetadata,
    GrantAssignmentMetadata,
    MeterMetadata,
    PlanMetadata,
    PolicyMetadata,
    ProgramEligibility,
    RealmMetadata,
    UserMetadata,
)
from config.kernel.metadata.describe import KnownKey, describe, known_paths
from config.kernel.metadata.fields import Contract
from config.kernel.metadata.grants import CampaignBinding, GrantBinding, GrantOverride
from config.kernel.metadata.near import NearMiss
from config.kernel.metadata.seats import SeatLimit

__all__ = [
    "AccountMetadata",
    "AssignmentMetadata",
    "BillingContractMetadata",
    "BundleMetadata",
    "CampaignBinding",
    "CampaignMetadata",
    "CatalogPriceMetadata",
    "CatalogProductMetadata",
    "CheckedMetadata",
    "Contract",
    "FeatureFamilyMetadata",
    "FeatureMetadata",
    "GrantAssignmentMetadata",
    "GrantBinding",
    "GrantOverride",
    "KnownKey",
    "MeterMetadata",
    "NearMiss",
    "PlanMetadata",
    "PolicyMetadata",
    "ProgramEligibility",
    "RealmMetadata",
    "SeatLimit",
    "UserMetadata",
    "check_metadata",
    "describe",
    "known_paths",
]
