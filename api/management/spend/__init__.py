"""What was spent: rows, sums, reports, by day and by whoever pays; the routes of LiteLLM's for it."""

from api.management.spend import daily, logs, overview, payers, report, tags, traffic

ROUTERS = (
    logs.ROUTER,
    overview.ROUTER,
    payers.ROUTER,
    report.ROUTER,
    daily.ROUTER,
    traffic.ROUTER,
    tags.ROUTER,
)
"""All of them but `/spend/calculate`, which needs to know the models: see `calculation.routes`."""
