"""LiteLLM's own models read what is answered about teams, members, users and invitations, and miss no field."""

from pathlib import Path

from api.management.rules import UserRules
from ledger.pool import Pool
from tests.management.tenancy import key, organization, person, tenancy
from tests.management.test_litellm_answers import TYPES, Answers, lacking
from tests.support.office import ADMIN, Bureau

TEAMS = "litellm.types.proxy.management_endpoints.team_endpoints"
USERS = "litellm.types.proxy.management_endpoints.internal_user_endpoints"


async def of_teams(office: Bureau) -> Answers:
    await organization(office.pool, "o", max_budget=10)
    made = await office.post("/team/new", team_id="t", organization_id="o", team_member_budget=3, budget_duration="1d")
    updated = await office.post("/team/update", team_id="t", budget_limits=[{"budget_duration": "1d", "max_budget": 1}])
    blocked = await office.post("/team/block", team_id="t")
    models = await office.post("/team/model/add", team_id="t", models=["gpt"])
    permitted = await office.post("/team/permissions_update", team_id="t", team_member_permissions=["/key/list"])
    many = await office.post("/team/permissions_bulk_update", permissions=["/key/list"], team_ids=["t"])
    await office.post("/team/t/callback", callback_name="langfuse", callback_vars={"langfuse_host": "h"})
    removed = (await office.http.delete("/team/t/callback/langfuse")).json()
    plain = (made, updated["data"], blocked, models, permitted, *await office.get("/team/available"))
    return [
        *((TYPES, "LiteLLM_TeamTable", answer) for answer in plain),
        (TEAMS, "GetTeamMemberPermissionsResponse", await office.get("/team/permissions_list", team_id="t")),
        (TEAMS, "BulkUpdateTeamMemberPermissionsResponse", many),
        (TYPES, "TeamCallbackDeleteResponse", removed),
    ]


async def of_members(office: Bureau) -> Answers:
    added = await office.post("/team/member_add", team_id="t", member={"user_id": "ann"}, max_budget_in_team=2)
    changed = await office.post("/team/member_update", team_id="t", user_id="ann", rpm_limit=1)
    many = await office.post("/team/bulk_member_add", team_id="t", members=[{"user_id": "bob"}, {"user_id": "eve"}])
    await key(office.pool, "k", team_id="t", user_id="ann")
    info = await office.get("/team/info", team_id="t")
    lists = [*await office.get("/team/list"), *await office.get("/team/list", user_id="ann")]
    office.access = person("ann", teams=("t",))
    me = await office.get("/team/t/members/me")
    office.access = ADMIN
    reset = await office.post("/team/t/member/ann/reset_budget")
    gone = await office.post("/team/member_delete", team_id="t", user_id="eve")
    return [
        (TYPES, "TeamAddMemberResponse", added),
        (TYPES, "TeamMemberUpdateResponse", changed),
        (TEAMS, "BulkTeamMemberAddResponse", many),
        (TYPES, "TeamInfoResponseObjectTeamTable", info["team_info"]),
        *((TYPES, "TeamInfoMembership", place) for place in info["team_memberships"]),
        *((TYPES, "TeamListResponseObject", team) for team in lists),
        (TEAMS, "TeamListResponse", await office.get("/v2/team/list")),
        (TEAMS, "TeamListItem", (await office.get("/v2/team/list"))["teams"][0]),
        (TEAMS, "TeamMemberInfoResponse", me),
        (TYPES, "TeamMemberResetBudgetResponse", reset),
        (TYPES, "LiteLLM_TeamTable", gone),
    ]


async def of_users(office: Bureau) -> Answers:
    made = await office.post("/user/new", user_id="zoe", user_email="z@x.org", teams=["t"], max_budget=1)
    keyless = await office.post("/user/new", user_id="max", auto_create_key=False)
    updated = await office.post("/user/update", user_id="zoe", rpm_limit=1, password="a long password")
    many = await office.post("/user/bulk_update", users=[{"user_id": "zoe", "tpm_limit": 1}])
    listed = await office.get("/user/list")
    info = await office.get("/user/info", user_id="zoe")
    invited = await office.post("/invitation/new", user_id="max")
    accepted = await office.post("/invitation/update", invitation_id=invited["id"], is_accepted=True)
    office.access = person("zoe")
    change = {"current_password": "a long password", "new_password": "a longer password"}
    changed = await office.post("/user/password/change", **change)
    office.access = ADMIN
    return [
        *((TYPES, "NewUserResponse", answer) for answer in (made, keyless)),
        (TYPES, "LiteLLM_UserTable", updated["data"]),
        (USERS, "BulkUpdateUserResponse", many),
        (USERS, "UserListResponse", listed),
        *((TYPES, "LiteLLM_UserTableWithKeyCount", user) for user in listed["users"]),
        (TYPES, "UserInfoResponse", info),
        (TYPES, "UserInfoResponse", await office.get("/user/info")),
        (TYPES, "UserInfoV2Response", await office.get("/v2/user/info", user_id="zoe")),
        *((TYPES, "InvitationModel", answer) for answer in (invited, accepted)),
        (TYPES, "ChangePasswordResponse", changed),
    ]


async def test_litellm_reads_every_answer(pool: Pool, tmp_path: Path) -> None:
    async with tenancy(pool, for_users=UserRules(available_teams=frozenset({"t"}))) as office:
        answers = [*await of_teams(office), *await of_members(office), *await of_users(office)]
    found = await lacking(answers, tmp_path)
    for (_, name, _), fields in zip(answers, found, strict=True):
        assert set(fields) <= {"password"}, name  # LiteLLM itself leaves it out
