"""The key that comes with a new user."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from api.management.keys.desk import KeyDesk
from api.management.keys.terms import name_of
from api.management.office import Change
from api.management.users.bodies import NewUser
from ledger import keys
from ledger.tenants import Row
from policy.periods import after

_OF_KEYS = """access_group_ids agent_id aliases allowed_passthrough_routes allowed_routes allowed_vector_store_indexes
blocked budget_fallbacks budget_id budget_limits config default_estimated_output_tokens
default_estimated_output_tokens_per_model denied_passthrough_routes disable_global_guardrails duration
enable_prompt_caching end_user_budget_id enforced_params expires guardrails key_alias key_name key_type
litellm_budget_table mcp_rpm_limit model_rpm_limit model_tpm_limit organization_id permissions project_id prompts
router_settings rpm_limit_type tag_rpm_limit tags team_id throttle_on_budget_exceeded token token_id tpm_limit_type
"""
NO_KEY: Mapping[str, Any] = {**dict.fromkeys(_OF_KEYS.split()), "key": ""}
"""What the answer tells of a key when there is none: LiteLLM answers a new user with the fields of a new key."""


async def first_key(change: Change, desk: KeyDesk, body: NewUser, user: Row, now: datetime) -> dict[str, Any]:
    """A key for the user; the fields of the answer that tell of it, with the secret.

    When an organization's admin has made the user, the key belongs to the organization: its limits bound it.
    """
    secret = desk.secret()
    who = change.access.caller.user
    row = await keys.add(
        change.connection,
        (await desk.pepper()).hash(secret.encode()),
        {
            "key_name": name_of(secret),
            "key_alias": body.key_alias,
            "user_id": user["user_id"],
            "team_id": body.team_id,
            "organization_id": body.organizations[0] if body.organizations and not change.access.is_admin else None,
            "models": user["models"],
            "expires": None if body.duration is None else after(now, body.duration),
            "created_by": who,
            "updated_by": who,
        },
    )
    await change.record("created", "key", row["key_id"], None, row)
    return {
        "key": secret,
        "key_name": row["key_name"],
        "key_alias": row["key_alias"],
        "token": row["key_id"],
        "token_id": row["key_id"],
        "expires": row["expires"],
        "team_id": row["team_id"],
        "organization_id": row["organization_id"],
        "duration": body.duration,
    }
