"""Results on disk: folders, leases, the versioned record, and what of a sweep is done."""
