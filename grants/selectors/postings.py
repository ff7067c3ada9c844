"""Reads of postings."""

from billing.models import BillingUser
from config.kernel.errors import NotFound
from config.kernel.ids import parse_uuid
from grants.models import Posting


def posting_of(*, user: BillingUser, posting_id: str) -> Posting:
    """Return the user's posting of that id (404 if none)."""
    key = parse_uuid(posting_id)
    own = Posting.objects.in_realm(user.realm_id).filter(user=user)
    found = own.select_related("user__realm").filter(pk=key).first() if key else None
    if found is None:
        raise NotFound(f"This user has no posting {posting_id}.")
    return found
