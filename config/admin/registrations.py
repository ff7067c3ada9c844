"""Imported last, by `AdminConfig.ready()`: screens that no app registers itself."""

from config.admin import job_runs, jobs, realms, service_keys, sign_ins, staff

__all__ = ["job_runs", "jobs", "realms", "service_keys", "sign_ins", "staff"]
