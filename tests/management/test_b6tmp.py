import warnings
from tests.management.test_organizations import *
from api.management import customers, tags
async def test_m(pool):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from litellm.proxy._types import LiteLLM_OrganizationTableWithMembers, NewOrganizationResponse, OrganizationAddMemberResponse, LiteLLM_OrganizationMembershipTable
        from litellm.types.proxy.management_endpoints.customer_endpoints import CustomerResponse, BlockUsersResponse, DeleteCustomersResponse, UnblockUsersResponse
        from litellm.types.tag_management import TagConfig
    async with bureau(pool, *ROUTERS, teams.ROUTER, customers.ROUTER, tags.ROUTER) as office:
        made = await office.post("/organization/new", organization_alias="A", max_budget=5, budget_duration="1d")
        NewOrganizationResponse.model_validate(made)
        o = made["organization_id"]
        await office.post("/team/new", team_id="t", organization_id=o)
        added = await office.post("/organization/member_add", organization_id=o, member={"user_id":"bob","role":"org_admin"}, max_budget_in_organization=3)
        OrganizationAddMemberResponse.model_validate(added)
        m = await patch(office, "/organization/member_update", organization_id=o, user_id="bob", role="internal_user")
        LiteLLM_OrganizationMembershipTable.model_validate(m)
        x=LiteLLM_OrganizationTableWithMembers.model_validate(await office.get("/organization/info", organization_id=o))
        print(x.teams[0].team_id, x.members[0].user_email, x.litellm_budget_table)
        CustomerResponse.model_validate(await office.post("/customer/new", user_id="c", max_budget=1))
        BlockUsersResponse.model_validate(await office.post("/customer/block", user_ids=["c"]))
        print(set(CustomerResponse.model_fields)-set(await office.get("/customer/info", end_user_id="c")))
        print(set(LiteLLM_OrganizationTableWithMembers.model_fields)-set(made))
        print(set(LiteLLM_OrganizationMembershipTable.model_fields)-set(m))
        TagConfig.model_validate((await office.post("/tag/new", name="c", max_budget=1))["tag"])
