"""Headers of a request, as text."""

from django.http import HttpRequest

from config.kernel.errors import Malformed

_LONGEST_HEADER = 512


def header(request: HttpRequest, name: str) -> str:
    """Return a request header as UTF-8 text, '' when absent.

    Refuses (`Malformed`) undecodable bytes, control characters, values longer than
    512 characters, and an X- header without a value: the web server makes that of one
    that is not ASCII, and what was sent would be taken for absent.
    """
    key = name.upper().replace("-", "_")
    raw = request.META.get(f"HTTP_{key}")
    if raw is None:
        return ""
    if not raw and name.lower().startswith("x-"):
        raise Malformed(
            f"Header {name} is empty, or holds a character that is not ASCII.",
            field=name,
        )
    if raw.isascii():
        value: str = raw
    else:
        try:
            value = raw.encode("latin-1").decode("utf-8")
        except UnicodeError:
            raise Malformed(f"Header {name} is not UTF-8 text.", field=name) from None
    if len(value) > _LONGEST_HEADER:
        raise Malformed(
            f"Header {name} is {len(value)} characters long; the most is "
            f"{_LONGEST_HEADER}.",
            field=name,
        )
    if not value.isprintable():
        raise Malformed(f"Header {name} holds a control character.", field=name)
    return value


def header_any_length(request: HttpRequest, name: str) -> str:
    """Return an ASCII header of any length (tokens are long), '' when absent."""
    value: str = request.META.get(f"HTTP_{name.upper().replace('-', '_')}", "")
    return value if value.isascii() else ""
