"""All opcodes: importing the rooms of the machine enters their handlers into the table."""

from __future__ import annotations

from weightkit.machine import calls, containers, values
from weightkit.machine.table import HANDLERS, OPCODES

__all__ = ["HANDLERS", "OPCODES", "calls", "containers", "values"]
