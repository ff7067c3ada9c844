"""Realms and service keys as this process last read them, for calls that check.

A remembered credential is one that was good at a version (`CredentialVersion`). Who
uses one must learn, in the transaction that acts on it, that the version is still the
current one; the gate's functions do. So a revoked key or a suspended realm takes
effect at the next call, on every process, and no call asks for it separately.
"""

from dataclasses import dataclass
from functools import lru_cache

from config.tenancy.models import CredentialVersion, Realm, ServiceKey

MOST = 4096


@dataclass(frozen=True, slots=True)
class Remembered:
    """A realm and a service key, at a version."""

    version: int
    realm: Realm
    key: ServiceKey


@lru_cache(maxsize=MOST)
def remembered(realm_id: str, key_id: str) -> Remembered:
    """Return what was last read of a realm and a key; read it now where nothing was.

    The version is read first: what changes meanwhile makes the memory stale at once.
    Refuses (`ObjectDoesNotExist`) what does not exist, and does not remember that.
    """
    version = CredentialVersion.objects.values_list("version", flat=True).get()
    realm = Realm.objects.get(pk=realm_id)
    return Remembered(version, realm, ServiceKey.objects.get(pk=key_id))


def forget() -> None:
    """Forget everything, once something was found to have changed."""
    remembered.cache_clear()
