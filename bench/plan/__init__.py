"""What serving a workload will take and cost: a model of an engine's steps, simulated request by request, and searched over."""
