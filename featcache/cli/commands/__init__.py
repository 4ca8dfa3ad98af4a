"""The commands, one module each: what a command takes, and how its result is shown."""
