"""What the cluster engines cost."""
