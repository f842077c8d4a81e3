"""The `bench` command, a file a command: each parses, calls and prints; what decides lies in the other rooms."""
