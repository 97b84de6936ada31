"""One module per role, each with `async def start(house, stack)`; imported only by the processes that have the role."""
