"""``python -m gateway`` is ``perpwire``."""

from gateway.cli import main

main()
