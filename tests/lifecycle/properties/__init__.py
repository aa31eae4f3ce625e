"""The properties of config.json: what the kernel makes of each."""
