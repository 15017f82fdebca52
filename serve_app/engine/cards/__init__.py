"""What the cards of this machine say of themselves, through NVML."""
