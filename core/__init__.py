"""What the product knows, in plain Python: no Prefect in here."""
