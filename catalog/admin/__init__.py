"""The screens of what exists and what it costs."""

from catalog.admin import families, features, meters, prices

__all__ = ["families", "features", "meters", "prices"]
