"""The networks of the metrics that need weights; imported only when such a metric is called, since torch is heavy."""
