"""Refusals: one exception family, each with a stable code and a plain sentence.

Verbs raise these; the API renders them as the error envelope and the admin as form
errors. A code is stable once released (see `docs/api.md`); a sentence may improve.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Hint = Mapping[str, Any]


class DomainError(Exception):
    """A rule said no.

    Attributes:
        code: stable machine code, such as `RESOURCE.NOT_FOUND`.
        message: one sentence naming the thing, the rule and the numbers.
        field: dotted path of the input field at fault, or None.
        hints: machine-readable hints that accompany the refusal.
        meta: extra facts for the envelope's `meta`.
        error_type: the wire's `error.type`, or None.

    """

    status = 422
    default_code = "VALIDATION.INVALID_INPUT"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        hints: Sequence[Hint] = (),
        meta: Mapping[str, Any] | None = None,
        error_type: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.field = field
        self.hints = list(hints)
        self.meta = dict(meta or {})
        self.error_type = error_type


class Invalid(DomainError):
    """The input breaks a rule that the caller can see; names the field (422)."""

    status = 422
    default_code = "VALIDATION.INVALID_INPUT"


class Malformed(DomainError):
    """The request cannot be read at all (400)."""

    status = 400
    default_code = "VALIDATION.INVALID_INPUT"


class Unauthenticated(DomainError):
    """The caller did not prove who it is (401)."""

    status = 401
    default_code = "AUTH.UNAUTHORIZED"


class Forbidden(DomainError):
    """The caller is known and may not (403)."""

    status = 403
    default_code = "AUTH.INSUFFICIENT_SCOPE"


class NotFound(DomainError):
    """Nothing by that id in this realm (404)."""

    status = 404
    default_code = "RESOURCE.NOT_FOUND"


class Conflict(DomainError):
    """The same identity already stands for something else (409)."""

    status = 409
    default_code = "CONFLICT"


class Refused(DomainError):
    """The request is sound but a business rule denies it; subclasses set the status."""

    status = 422
    default_code = "WRITE.INVALID_PAYLOAD"


class Unavailable(DomainError):
    """A part this needs is down; the same request may succeed later (503)."""

    status = 503
    default_code = "SERVER.DB_UNAVAILABLE"


class Misconfigured(DomainError):
    """The realm or deployment lacks something an operator must supply (500)."""

    status = 500
    default_code = "SERVER.CONFIG"
