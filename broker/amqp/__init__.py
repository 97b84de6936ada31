"""A small AMQP 0-9-1 data plane on asyncio: what the request path needs of the protocol, and no more."""
