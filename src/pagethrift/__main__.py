"""``python -m pagethrift``."""

from pagethrift.cli.main import main

main()
