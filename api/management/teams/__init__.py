"""Teams: made, changed and removed, their members and what these may do, over LiteLLM's `/team/*`."""

from api.management.teams import callbacks, lifecycle, members, reading, resets, settings

ROUTERS = (callbacks.ROUTER, lifecycle.ROUTER, members.ROUTER, reading.ROUTER, resets.ROUTER, settings.ROUTER)
