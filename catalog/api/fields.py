"""What the wire models of this app are made of, beyond `config.api.wire`."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from catalog.models.meters import MAX_SCALE
from config.api.wire import omitted, whole

__all__ = ["Scale", "omitted"]

Scale = Annotated[int, Field(strict=True, ge=0, le=MAX_SCALE), BeforeValidator(whole)]
