"""The server's bookkeeping: standard library only, no clock, the same objects on every machine."""
