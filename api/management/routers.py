"""Every router of the management API that finds all it needs in the application's state."""

from api.management import (
    audit,
    budgets,
    customers,
    invitations,
    keys,
    organizations,
    organizations_members,
    organizations_reading,
    passwords,
    tags,
    teams,
    teams_members,
    teams_reading,
    teams_settings,
    users,
    users_reading,
)

ROUTERS = (
    audit.ROUTER,
    budgets.ROUTER,
    customers.ROUTER,
    invitations.ROUTER,
    keys.ROUTER,
    organizations.ROUTER,
    organizations_members.ROUTER,
    organizations_reading.ROUTER,
    passwords.ROUTER,
    tags.ROUTER,
    teams.ROUTER,
    teams_members.ROUTER,
    teams_reading.ROUTER,
    teams_settings.ROUTER,
    users.ROUTER,
    users_reading.ROUTER,
)
