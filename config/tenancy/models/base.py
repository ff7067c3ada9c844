from typing import TYPE_CHECKING, Self, TypeVar

from django.db import models
from django.db.models.functions import Now

from config.kernel.ids import new_id

if TYPE_CHECKING:
    from config.tenancy.models.realms import Realm


class Row(models.Model):
    """A row with an application-made UUIDv7 key and its two audit instants.

    `created_at` and `updated_at` tell when the row was written; no rule reads them.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        abstract = True


M_co = TypeVar("M_co", bound=models.Model, covariant=True)


class RealmQuerySet(models.QuerySet[M_co]):
    """Reads that never leave a realm."""

    def in_realm(self, realm: "Realm | str") -> Self:
        """Return the rows of one realm (a `Realm` or its id)."""
        return self.filter(realm_id=getattr(realm, "pk", realm))
