"""What very large galleries cost: arithmetic on measured figures."""
