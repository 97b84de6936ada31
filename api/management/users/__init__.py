"""Users: made, changed and removed, their first keys, invitations and passwords, over LiteLLM's `/user/*`."""

from api.management.users import invitations, lifecycle, passwords, reading

ROUTERS = (invitations.ROUTER, lifecycle.ROUTER, passwords.ROUTER, reading.ROUTER)
