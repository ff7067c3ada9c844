"""What an answer of the API must be."""

from vlunaai.generated import gate_models as wire


def good(response, envelope, status=200):
    assert response.status_code == status, response.content
    envelope.model_validate(response.json())
    return response.json()


def bad(response, status, code):
    assert (response.status_code, response.json()["code"]) == (status, code), (
        response.content
    )
    wire.AuthorizeEnvelope.model_validate(response.json())
    return response.json()
