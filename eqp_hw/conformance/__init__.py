"""The conformance suite: what every substrate must satisfy, runnable on one's own.

Either derive a test class from `eqp_hw.conformance.suite.SubstrateConformance` (needs pytest),
or describe network and substrate in an experiment file and run
``pytest --substrate FILE.toml --pyargs eqp_hw.conformance``.
"""
