"""The composition root: the only place that names concrete classes and owns the one task group."""
