"""The sort orders that lists offer; nothing else reaches `order_by`."""

from typing import Literal

from config.api.pagination import Sorting

Sort = Literal["created_at", "updated_at", "name", "plan_code", "priority"] | None


def sorting(sort: Sort, order: Literal["asc", "desc"] | None) -> Sorting:
    """Return the order asked for: unless told, the newest first, and names from A."""
    if sort in {None, "created_at"}:
        return Sorting("id", descending=order != "asc")
    newest = sort == "updated_at"
    return Sorting(str(sort), descending=order == "desc" if order else newest)
