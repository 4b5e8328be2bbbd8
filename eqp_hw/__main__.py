"""``python -m eqp_hw`` is ``eqp-hw``."""

from eqp_hw.cli.app import main

if __name__ == "__main__":
    main()
