"""The room of the calibration, installed as `eqp_hw.calibration`: measures, fits, stores.

It imports the core and the abstract faces of `eqp_hw.drivers`, and no simulator: what is hidden
in the virtual lab is found out here from its instruments' answers alone.

For scripts: `calibration.procedure.calibrate`, `calibration.rig_session.open_session`,
`calibration.reader.read_calibration`, `calibration.latest.load_measured`,
`calibration.report.write_report`.
"""
