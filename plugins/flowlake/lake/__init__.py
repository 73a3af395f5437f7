"""The lake: objects, windows, manifests, the DuckLake catalogue and what people may read of it."""
