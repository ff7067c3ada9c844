"""Checks of a deployment: `manage.py check --deploy`."""

from typing import Any

import psycopg
from django.core import checks

from config.database import connection_url

_OWNED = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')
    AND pg_has_role(current_user, c.relowner, 'MEMBER')
"""


@checks.register(checks.Tags.security, deploy=True)
def serving_role_owns_nothing(**_: Any) -> list[checks.CheckMessage]:
    """Warn where the role that serves requests could switch off what protects history.

    The owner of a table may disable its triggers and drop it; `DATABASE_APP_URL`
    should name a role that owns none.
    """
    try:
        with psycopg.connect(connection_url("app"), connect_timeout=5) as connection:
            row = connection.execute(_OWNED).fetchone()
    except psycopg.OperationalError as error:
        sentence = f"The serving role cannot connect: {str(error).splitlines()[0]}"
        return [checks.Warning(sentence, id="tenancy.W002")]
    owned = row[0] if row else 0
    if owned == 0:
        return []
    return [
        checks.Warning(
            f"The serving role owns {owned} tables, and could rewrite history.",
            hint="Let DATABASE_APP_URL name a role that is in plangate_app only.",
            id="tenancy.W001",
        )
    ]
