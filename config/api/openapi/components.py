"""The parts that every operation shares: envelopes, headers, ways to authenticate."""

from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema

from config.api.operations import MAX_KEY

Schema = dict[str, Any]

REFERENCE: Final = "#/components/schemas/{model}"

_TRACE_ID: Schema = {
    "type": "string",
    "pattern": "^[0-9a-f]{32}$",
    "description": "Links the request, its log lines, its rows and its deliveries.",
}
_HINTS: Schema = {
    "type": "array",
    "items": {"type": "object", "additionalProperties": True},
    "description": "Machine-readable remarks, such as a limit that is near.",
}
_META: Schema = {"type": "object", "additionalProperties": True}

SUCCESS: Final = "Success"
FAILURE: Final = "Failure"

ENVELOPES: Final[dict[str, Schema]] = {
    SUCCESS: {
        "type": "object",
        "description": "What every successful answer carries besides its `data`.",
        "required": ["ok", "code", "trace_id"],
        "properties": {
            "ok": {"const": True},
            "code": {"const": "OK"},
            "message": {"type": "string"},
            "trace_id": _TRACE_ID,
            "hints": _HINTS,
            "meta": _META,
        },
    },
    FAILURE: {
        "type": "object",
        "description": "A refusal: a stable code, and a sentence for people.",
        "required": ["ok", "code", "message", "trace_id", "meta", "error"],
        "properties": {
            "ok": {"const": False},
            "code": {"type": "string", "minLength": 1},
            "message": {"type": "string", "minLength": 1},
            "trace_id": _TRACE_ID,
            "hints": _HINTS,
            "meta": {
                "type": "object",
                "required": ["status"],
                "properties": {
                    "status": {"type": "integer", "minimum": 400, "maximum": 599},
                    "field": {
                        "type": "string",
                        "description": "Dotted path of the input field at fault.",
                    },
                    "errors": {
                        "type": "array",
                        "description": "Each fault, where there may be several.",
                        "items": {
                            "type": "object",
                            "required": ["field", "message"],
                            "properties": {
                                "field": {"type": "string"},
                                "message": {"type": "string", "minLength": 1},
                            },
                        },
                    },
                },
                "additionalProperties": True,
            },
            "error": {
                "type": "object",
                "required": ["type", "details"],
                "properties": {
                    "type": {"type": "string"},
                    "details": {"type": "string"},
                    "retry_after": {
                        "type": "integer",
                        "minimum": 0,
                        "description": "Seconds to wait before the next attempt.",
                    },
                },
            },
        },
    },
}

SERVICE_KEY: Final = "ServiceKey"
PLATFORM_TOKEN: Final = "PlatformToken"  # noqa: S105 - a name, not a token.

SECURITY: Final[dict[str, Schema]] = {
    SERVICE_KEY: {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": (
            "`SVC-AUTH keyId=…,sig=…,ts=…,nonce=…,alg=HMAC-SHA256`: the request signed "
            "with a service key's secret, together with `Content-Digest`. The official "
            "client signs by itself."
        ),
    },
    PLATFORM_TOKEN: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A platform token, issued by `POST /mgt/v1/token/issue`.",
    },
}


def _header(name: str, about: str, *, required: bool, longest: int = 512) -> Schema:
    return {
        "in": "header",
        "name": name,
        "required": required,
        "description": about,
        "schema": {"type": "string", "minLength": 1, "maxLength": longest},
    }


PARAMETERS: Final[dict[str, Schema]] = {
    "RealmId": _header(
        "X-Realm-Id", "The realm the call is about.", required=True, longest=128
    ),
    "PrincipalId": _header(
        "X-Principal-Id", "Your own id of the payer acted for.", required=False
    ),
    "UserId": _header(
        "X-User-Id", "Your own id of the end user acted for.", required=False
    ),
    "BillingAccountId": {
        **_header(
            "X-Billing-Account-Id", "The payer's billing account.", required=False
        ),
        "schema": {"type": "string", "format": "uuid"},
    },
    "IdempotencyKey": _header(
        "Idempotency-Key",
        "Yours, one per intended effect. Sent again with the same body it repeats the "
        "answer and not the effect.",
        required=True,
        longest=MAX_KEY,
    ),
}
CONTEXT: Final = ("PrincipalId", "UserId", "BillingAccountId")


def content(schema: Schema) -> Schema:
    """Return the content of a JSON body."""
    return {"application/json": {"schema": schema}}


_FAILED = content({"$ref": REFERENCE.format(model=FAILURE)})

RESPONSES: Final[dict[str, Schema]] = {
    "Refused": {"description": "Refused: see `code`.", "content": _FAILED},
    "Failed": {
        "description": "Failed on our side; a repeat with the same key is safe.",
        "content": _FAILED,
    },
}


class PlainJsonSchema(GenerateJsonSchema):
    """pydantic's JSON schema without a title on every field."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Refuse: the title only repeats the name."""
        return False
