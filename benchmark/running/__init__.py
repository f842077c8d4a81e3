"""How a run is run, whatever it computes: status, signals, device, environment, processes."""
