"""What `make demo` prints when everything is up."""

from demo.realm import Demo

SNIPPET = """.venv/bin/python - <<'PY'
import asyncio
from vlunaai.core.auth.service_key import ServiceKeyCredentials
from vlunaai.core.client.http import RequestContext
from vlunaai.core.state import VlunaAIConfig
from vlunaai.service_client import ServiceClient, ServiceClientOptions

async def main():
    client = ServiceClient(ServiceClientOptions(
        config=VlunaAIConfig(realm_id="{realm}", base_url="{base}/mgt/v1"),
        service_key=ServiceKeyCredentials("{key}", "{secret}"),
    ))
    acting = RequestContext(principal_id="aurora-labs", user_id="mia")
    held = await client.gate_authorize(
        body={{"feature_code": "chat.completion", "estimated_quantity_minor": "2000"}},
        context=acting)
    print("authorized:", held.data.lease, "until", held.data.window_end)
    used = await client.gate_commit(
        body={{"lease": held.data.lease, "feature_code": "chat.completion",
              "quantity_minor": "1234"}},
        context=acting)
    print("committed:", used.data.amount_xusd, "XUSD (millionths of a US dollar)")
    await client.close()

asyncio.run(main())
PY"""


def greeting(base_url: str, demo: Demo) -> str:
    """Return the text: addresses, logins, and a snippet that works as pasted."""
    logins = "\n".join(f"    {name:<10} {role}" for name, role in demo.logins)
    snippet = SNIPPET.format(
        realm=demo.realm_id, base=base_url, key=demo.key_id, secret=demo.secret
    )
    return f"""
Plangate is running.

  Admin      {base_url}/admin/
  API docs   {base_url}/docs/
  Health     {base_url}/health

  Sign in as one of these, password {demo.password}
{logins}

  Call it as a service does (paste this into another terminal, in this folder):

{snippet}

  Ctrl-C ends everything.
"""
