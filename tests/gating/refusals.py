"""Denials, caught."""

import pytest
from vlunaai.generated.gate_models import Hint

from gating.services.denials import GateDenied


def refusal(call, *args, **kwargs):
    """Return the denial that the call must meet; its hints fit the wire."""
    with pytest.raises(GateDenied) as caught:
        call(*args, **kwargs)
    for hint in caught.value.hints:
        Hint.model_validate(hint)
    return caught.value
