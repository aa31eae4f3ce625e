"""opencontainers/runtime-tools' validation suite: what it says of pyrunc, and of its peers."""
