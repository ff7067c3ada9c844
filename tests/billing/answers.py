"""Reading answers: the wire contract on success, code, sentence and field on refusal."""

from django.db import connection
from django.test.utils import CaptureQueriesContext


def read(response, model, status=200):
    """Return the `data` of an answer that keeps the official client's contract."""
    assert response.status_code == status, response.content
    model.model_validate(response.json())
    return response.json()["data"]


def refusal(response):
    """Return (status, code, field) of a refusal that says something to people."""
    body = response.json()
    assert body["ok"] is False, body
    assert body["message"].strip().endswith("."), body
    assert body["error"]["details"] == body["message"]
    return response.status_code, body["code"], body["meta"].get("field")


def invalid(field):
    """Return the refusal of a bad field."""
    return 422, "VALIDATION.INVALID_INPUT", field


def paged(api, path, key, limit=2, **query):
    """Return `key` of every row of a list, read page by page."""
    found, cursor = [], {}
    while True:
        answer = api.get(path, limit=str(limit), **query, **cursor)
        assert answer.status_code == 200, answer.content
        data = answer.json()["data"]
        assert len(data["items"]) <= limit
        found += [row[key] for row in data["items"]]
        if "next_cursor" not in data:
            return found
        cursor = {"cursor": data["next_cursor"]}


def queries_of(work):
    """Return how many queries `work()` needs."""
    with CaptureQueriesContext(connection) as captured:
        work()
    return len(captured)


def explained(row):
    """Return who, why, ticket and effective time of each history row, oldest first."""
    return [
        (known.operator, known.reason, known.ticket_id, known.effective_at)
        for known in row.history.order_by("history_id")
    ]
