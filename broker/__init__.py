"""How it travels: the `Bus` port, the topology, RabbitMQ, the in-process twin. May import `schemas`."""
