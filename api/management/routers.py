"""Every router of the management API that finds all it needs in the application's state."""

from api.management import audit, budgets, customers, keys, organizations, spend, tags, teams, users

ROUTERS = (
    audit.ROUTER,
    budgets.ROUTER,
    customers.ROUTER,
    keys.ROUTER,
    *organizations.ROUTERS,
    *spend.ROUTERS,
    tags.ROUTER,
    *teams.ROUTERS,
    *users.ROUTERS,
)
