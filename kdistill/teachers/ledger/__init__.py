"""The ledger: every question and answer, on disk before it is used."""
