"""Forms: how services ask and answer, as data; `docs/services.md` says how one is written."""
