"""Clock, identifiers, errors, tasks, settings, logging, losses."""
