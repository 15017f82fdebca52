"""Contents of the configuration files and where they are."""
