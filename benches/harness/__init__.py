"""What all benchmarks share: arguments, processes, rounds, stored results, reports and pages."""
