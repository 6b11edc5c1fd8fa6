"""Programs that train small models, run by the interpreter of `make frameworks`."""
