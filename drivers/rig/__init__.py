"""From a rig file to a `Substrate`: instruments, actuators and read-outs put together."""
