"""Whether this process is able to serve."""

from django.db import Error, connection
from django.http import HttpRequest, JsonResponse


def health(request: HttpRequest) -> JsonResponse:
    """Answer 200 when the database answers, else 503 SERVER.DB_UNAVAILABLE."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return JsonResponse(
            {
                "ok": False,
                "code": "SERVER.DB_UNAVAILABLE",
                "message": "The database cannot be reached.",
                "trace_id": request.trace_id,  # type: ignore[attr-defined]
            },
            status=503,
        )
    return JsonResponse({"ok": True, "code": "OK", "data": {"database": "up"}})
