"""`pointsman doctor`: checks of machine, files, fleet and deployment, each with its fix."""
