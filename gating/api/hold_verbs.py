"""`/gate/holds/{lease_id}/release` and `/gate/holds/{lease_id}/commit`."""

from typing import Annotated

from pydantic import Field

from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.views import ServiceView
from config.api.wire import Flag, Labels, PosInt, UInt, WireModel, WriteModel, omitted
from gating.api.authorize import texts
from gating.api.commits import MAX_METERS, CommitOut, MeterCommit
from gating.api.holds import HoldOut, hold_in_realm
from gating.selectors.holds import hold_of
from gating.services.holds import commit_hold, release_hold


class HoldReleaseIn(WriteModel):
    """Why the hold is given back (`audit`)."""


class HoldReleaseOut(WireModel):
    """Whether this call gave the hold back, how much that was, and how it stands now.

    `released_minor` counts in the hold's `unit`.
    """

    released: Flag
    released_minor: UInt
    released_xusd: UInt
    hold: HoldOut


class HoldCommitIn(WriteModel):
    """What was used under the hold, as its caller would say, and why (`audit`)."""

    quantity_minor: PosInt
    meters: Annotated[list[MeterCommit], Field(max_length=MAX_METERS)] = omitted()
    labels: Labels = omitted()


class HoldCommitOut(WireModel):
    """What the commit came to, and how the hold stands now."""

    commit: CommitOut
    hold: HoldOut


class HoldReleaseView(ServiceView):
    """`/gate/holds/{lease_id}/release`."""

    @operation(
        "release_gate_hold",
        body=HoldReleaseIn,
        answer=HoldReleaseOut,
        of_account=True,
    )
    def post(self, call: Call, lease_id: str, body: HoldReleaseIn) -> Answer:
        """Give back what a hold holds; one that has ended stays as it is."""
        lease = hold_in_realm(call, lease_id)
        done = release_hold(lease=lease, at=call.at, by=call.by)
        return Answer(
            HoldReleaseOut(
                released=done.canceled,
                released_minor=done.released_minor,
                released_xusd=lease.reserved_xusd if done.canceled else 0,
                hold=_as_it_is_now(call, lease_id),
            )
        )


class HoldCommitView(ServiceView):
    """`/gate/holds/{lease_id}/commit`."""

    @operation(
        "commit_gate_hold",
        body=HoldCommitIn,
        answer=HoldCommitOut,
        of_account=True,
    )
    def post(self, call: Call, lease_id: str, body: HoldCommitIn) -> Answer:
        """Commit what was used under a hold in its caller's place."""
        done = commit_hold(
            lease=hold_in_realm(call, lease_id),
            quantity_minor=body.quantity_minor,
            meters=[meter.use() for meter in body.meters or ()],
            labels=texts(body.labels),
            idempotency_key=call.idempotency_key,
            at=call.at,
            by=call.by,
        )
        told = {"commit": done.data, "hold": _as_it_is_now(call, lease_id)}
        return Answer(told, hints=done.hints)


def _as_it_is_now(call: Call, lease_id: str) -> HoldOut:
    return HoldOut.of(hold_of(call.realm, lease_id, at=call.at), call.at)
