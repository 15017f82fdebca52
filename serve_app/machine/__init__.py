"""Ray, processes and ports of the machine that Pointsman is started on."""
