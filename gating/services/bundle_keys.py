"""The bundle an assignment names must exist."""

from typing import Any

from billing.models import PlanAssignment
from config.kernel.errors import Invalid
from config.kernel.metadata import AssignmentMetadata, check_metadata
from gating.models import GatePolicyBundle


def require_known_bundle(*, subject: PlanAssignment, **_: Any) -> None:
    """Refuse an assignment whose exception names no bundle of its realm.

    Runs inside the assigning verb (`plan_assignment.changed`), so the assignment is
    undone with it. Refuses with `Invalid` on `metadata.gate_bundle_key`. A plan may
    name a bundle that is yet to be made: that candidate is passed over until then.
    """
    key = check_metadata(AssignmentMetadata, subject.metadata).known.gate_bundle_key
    if key is None:
        return
    # Locked, so that it is not deleted before this assignment counts as using it.
    bundles = GatePolicyBundle.objects.in_realm(subject.realm_id).select_for_update(
        no_key=True
    )
    if not bundles.filter(bundle_key=key).first():
        raise Invalid(
            f"There is no policy bundle {key} in this realm.",
            field="metadata.gate_bundle_key",
        )
