from catalog.models.families import FALLBACK_FAMILY_CODE, FeatureFamily
from catalog.models.features import BudgetStrategy, Feature, FeatureMeter
from catalog.models.meters import DisplayRounding, Meter, SemanticKind
from catalog.models.prices import MeterPrice

__all__ = [
    "FALLBACK_FAMILY_CODE",
    "BudgetStrategy",
    "DisplayRounding",
    "Feature",
    "FeatureFamily",
    "FeatureMeter",
    "Meter",
    "MeterPrice",
    "SemanticKind",
]
