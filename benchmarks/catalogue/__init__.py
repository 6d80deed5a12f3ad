"""A catalogue of many photos on one small machine: what a run costs, and photos to measure it with."""
