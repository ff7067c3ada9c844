"""Whether a request is the one that its service key signed."""

from datetime import datetime, timedelta
from urllib.parse import quote

from django.http import HttpRequest

from config.kernel.errors import Invalid, Malformed, Unauthenticated
from config.kernel.windows import parse_instant
from config.tenancy import signing
from config.tenancy.headers import header
from config.tenancy.models import ServiceKey
from config.tenancy.services.service_keys import secret_of

CLOCK_SKEW = timedelta(seconds=300)

_SIGNED = (
    "content-digest",
    "x-realm-id",
    "x-principal-id",
    "x-user-id",
    "x-billing-account-id",
    "x-billing-user-id",
    "idempotency-key",
)


def bad_signature(sentence: str) -> Unauthenticated:
    """Return the refusal of a signature, 401 AUTH.INVALID_SERVICE_SIGNATURE."""
    return Unauthenticated(sentence, code="AUTH.INVALID_SERVICE_SIGNATURE")


def check_signature(
    request: HttpRequest,
    credentials: signing.Credentials,
    key: ServiceKey,
    *,
    at: datetime,
) -> None:
    """Refuse what `key` did not sign, as it came, within 300 s of `at` (aware UTC).

    Refuses: another body, address or header than was signed, and a signature too old
    or from the future, 401 AUTH.INVALID_SERVICE_SIGNATURE; a body without its length
    400.
    """
    _check_age(credentials.ts, at=at)
    if "HTTP_TRANSFER_ENCODING" in request.META:
        raise Malformed(
            "Send the body with its Content-Length: one in chunks is not read.",
            field="Transfer-Encoding",
        )
    digest = header(request, "Content-Digest")
    if not signing.is_same(digest, signing.content_digest(request.body)):
        raise bad_signature("Content-Digest does not match the body.")
    headers = {name: header(request, name) for name in _SIGNED}
    headers["content-type"] = request.META.get("CONTENT_TYPE", "")
    secret = secret_of(key)
    for path in _paths_and_query(request):
        text = signing.signed_text(
            method=request.method or "",
            path_and_query=path,
            credentials=credentials,
            headers=headers,
        )
        if signing.is_same(credentials.sig, signing.sign(secret, text)):
            return
    raise bad_signature("The signature does not match the request.")


def _check_age(signed_at: str, *, at: datetime) -> None:
    try:
        skew = abs(parse_instant(signed_at) - at)
    except Invalid:
        raise bad_signature("The signature's ts is not an ISO-8601 instant.") from None
    if skew > CLOCK_SKEW:
        raise bad_signature(
            f"The signature's ts is {int(skew.total_seconds())} seconds away from the "
            f"server's clock; the most is {int(CLOCK_SKEW.total_seconds())}."
        )


_PATH_CHARACTERS = "/:@!$&'()*+,;=-._~"
_SENT_UNENCODED = '"[\\]^{|}'


def _paths_and_query(request: HttpRequest) -> list[str]:
    """Return the ways the address may have been written; the query is as sent.

    WSGI hands over the decoded path only. What a caller signs is its canonical
    percent-encoding or, as some clients send it, that with brackets and their like
    left as they are. Neither can be read as another path.
    """
    query = request.META.get("QUERY_STRING", "")
    end = f"?{query}" if query else ""
    path = quote(request.path, safe=_PATH_CHARACTERS)
    plain = quote(request.path, safe=_PATH_CHARACTERS + _SENT_UNENCODED)
    return [path + end] if plain == path else [path + end, plain + end]
