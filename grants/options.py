"""What a deployment may set about grants, from the environment."""

import os
from functools import cache

from django.core.exceptions import ImproperlyConfigured

from config.kernel.money import INT64_MAX

APPROVAL_LIMIT = "PLANGATE_GRANT_APPROVAL_LIMIT_XUSD"


@cache
def approval_limit_xusd() -> int | None:
    """Return the most a person may give without approval (10^-6 USD); None: no limit.

    Read from PLANGATE_GRANT_APPROVAL_LIMIT_XUSD, 0 to 2^63 - 1. Refuses anything else
    (`ImproperlyConfigured`), at the start of the process.
    """
    text = os.environ.get(APPROVAL_LIMIT)
    if not text:
        return None
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(INT64_MAX))
    if not digits or int(text) > INT64_MAX:
        raise ImproperlyConfigured(
            f"{APPROVAL_LIMIT} must be a whole number of millionths of a dollar, 0 to "
            f"{INT64_MAX}; it is {text[:32]!r}."
        )
    return int(text)
