"""Workloads, simulation and measurements that benchmarks and results pages share."""
