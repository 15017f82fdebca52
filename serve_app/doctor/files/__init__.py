"""What the configuration files say, and what the installed vLLM makes of them."""
