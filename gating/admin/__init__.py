"""The screens of the gate: who may what, and who was refused."""

from gating.admin import bundles, counters, denials, leases, policies, ratings

__all__ = ["bundles", "counters", "denials", "leases", "policies", "ratings"]
