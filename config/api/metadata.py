"""What an API answer says about a metadata document it just stored."""

from typing import Any

from config.kernel.metadata import Contract, check_metadata


def warnings_meta(
    contract: type[Contract], document: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Return `{"warnings": …}` for keys that are nearly known ones, else None.

    The document was accepted: the keys are annotations and change nothing, which is
    seldom what the sender meant.
    """
    found = check_metadata(contract, document or {}).warnings
    if not found:
        return None
    return {
        "warnings": [
            {"path": miss.path, "key": miss.key, "did_you_mean": miss.did_you_mean}
            for miss in found
        ]
    }
