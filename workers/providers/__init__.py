"""One file per provider, or one row in `catalog.yaml`: all that is known about talking to them."""
