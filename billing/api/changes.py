"""What a PATCH body asks to change."""

from collections.abc import Collection
from typing import Any

from config.api.wire import WireModel
from config.kernel.errors import Invalid


def given_changes(body: WireModel, nullable: Collection[str] = ()) -> dict[str, Any]:
    """Return the fields the caller sent; an omitted one keeps its value.

    Null is a value only where `nullable` names the field, and refused elsewhere
    (`Invalid` on it): dropping it would look like a change that was made.
    """
    changes = body.given()
    for name, value in changes.items():
        if value is None and name not in nullable:
            raise Invalid(
                f"{name}: Must not be null; leave it out to keep it.", field=name
            )
    return changes
