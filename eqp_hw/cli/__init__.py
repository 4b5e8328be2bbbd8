"""The command line: ``eqp-hw``. One file a command; libraries load when a command needs them."""
