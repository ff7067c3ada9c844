"""Imported last, by `AdminConfig.ready()`: screens that no app registers itself."""

from config.admin import jobs, realms, service_keys, sign_ins, staff

__all__ = ["jobs", "realms", "service_keys", "sign_ins", "staff"]
