"""From the line that launches an engine's server to the scenario of that server."""

from scenarios.launch_lines.read import read
from scenarios.launch_lines.server import Server, Setting
from scenarios.launch_lines.write import as_scenario

__all__ = ["Server", "Setting", "as_scenario", "read"]
