"""Pure functions from an opened checkpoint to a report. They know no format and no terminal."""
