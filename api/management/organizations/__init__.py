"""Organizations: made, changed and removed, and who is in them, over LiteLLM's `/organization/*`."""

from api.management.organizations import lifecycle, members, reading

ROUTERS = (lifecycle.ROUTER, members.ROUTER, reading.ROUTER)
