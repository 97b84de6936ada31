"""LiteLLM's own models read what is answered about organizations, customers and tags, and miss no field."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from api.management import customers, tags, teams
from ledger.pool import Pool
from tests.management.test_organizations import ROUTERS, delete, patch
from tests.support.office import Bureau, bureau

DRIVER = Path(__file__).with_name("litellm_answers_driver.py")
TYPES = "litellm.proxy._types"
CUSTOMERS = "litellm.types.proxy.management_endpoints.customer_endpoints"
Answers = list[tuple[str, str, Any]]


async def lacking(answers: Answers, home: Path) -> list[list[str]]:
    """The fields that each answer has not, of the class that reads it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        DRIVER,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complaint = await process.communicate(json.dumps(answers).encode())
    assert process.returncode == 0, complaint.decode()
    found: list[list[str]] = json.loads(said.splitlines()[-1])
    return found


async def of_organizations(office: Bureau) -> Answers:
    made = await office.post("/organization/new", organization_id="o", organization_alias="O", max_budget=5)
    await office.post("/team/new", team_id="t", organization_id="o")
    member = {"user_id": "ann", "role": "org_admin"}
    added = await office.post(
        "/organization/member_add", organization_id="o", member=member, max_budget_in_organization=3
    )
    changed = await patch(
        office, "/organization/member_update", organization_id="o", user_id="ann", role="internal_user"
    )
    updated = await patch(office, "/organization/update", organization_id="o", organization_alias="P")
    info = await office.get("/organization/info", organization_id="o")
    gone = await delete(office, "/organization/delete", organization_ids=["o"])
    whole = "LiteLLM_OrganizationTableWithMembers"
    return [
        (TYPES, "NewOrganizationResponse", made),
        (TYPES, "OrganizationAddMemberResponse", added),
        (TYPES, "LiteLLM_OrganizationMembershipTable", changed),
        *((TYPES, whole, answer) for answer in (updated, info, *gone)),
    ]


async def of_customers(office: Bureau) -> Answers:
    made = await office.post("/customer/new", user_id="zoe", max_budget=1, budget_duration="1d")
    blocked = await office.post("/customer/block", user_ids=["zoe"])
    unblocked = await office.post("/customer/unblock", user_ids=["zoe"])
    listed = await office.get("/customer/list")
    gone = await office.post("/customer/delete", user_ids=["zoe"])
    return [
        *((CUSTOMERS, "CustomerResponse", answer) for answer in (made, *listed)),
        (CUSTOMERS, "BlockUsersResponse", blocked),
        (CUSTOMERS, "UnblockUsersResponse", unblocked),
        (CUSTOMERS, "DeleteCustomersResponse", gone),
    ]


async def of_tags(office: Bureau) -> Answers:
    made = await office.post("/tag/new", name="red", max_budget=1)
    updated = await office.post("/tag/update", name="red", description="Red")
    info = await office.post("/tag/info", names=["red"])
    return [("litellm.types.tag_management", "TagConfig", tag) for tag in (made["tag"], updated["tag"], info["red"])]


async def test_litellm_reads_every_answer(pool: Pool, tmp_path: Path) -> None:
    async with bureau(pool, *ROUTERS, *teams.ROUTERS, customers.ROUTER, tags.ROUTER) as office:
        answers = [*await of_organizations(office), *await of_customers(office), *await of_tags(office)]
    assert await lacking(answers, tmp_path) == [[] for _ in answers]
