"""What is kept: the Postgres pool, migrations, spend, prices. May import `schemas`."""
