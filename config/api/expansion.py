"""`expand` and `include`: what a list adds to its items when asked."""

from collections.abc import Collection, Sequence

from config.kernel.errors import Invalid


def asked_for(
    texts: Sequence[str] | None, allowed: Collection[str], field: str
) -> frozenset[str]:
    """Return the names in a repeated, or comma-separated, query parameter.

    Refuses (`Invalid` on `field`) a name that is not `allowed`: what is left out in
    silence looks like something that is not there.
    """
    names = [name.strip() for text in texts or () for name in text.split(",")]
    unknown = next((name for name in names if name and name not in allowed), None)
    if unknown is not None:
        raise Invalid(
            f"There is no {unknown} to {field}; allowed is {', '.join(allowed)}.",
            field=field,
        )
    return frozenset(name for name in names if name)
