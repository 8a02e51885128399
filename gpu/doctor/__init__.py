"""How far predictions can be trusted on this machine today: short measurements, held against a profile."""
