"""What is counted: cells in memory that all workers share, the counters on them, and Prometheus' text; it
imports errors alone and offers `Metrics` to whoever counts.
"""
