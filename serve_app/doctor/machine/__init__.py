"""What this machine is: cards, driver, packages, disks, ports, clock, limits."""
