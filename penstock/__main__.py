"""`python -m penstock`."""

from penstock.command import main

main()
