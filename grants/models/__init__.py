from grants.models.balances import CreditBalance
from grants.models.entries import CreditEntry, EntryKind

__all__ = ["CreditBalance", "CreditEntry", "EntryKind"]
