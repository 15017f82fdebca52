"""Requests that tenants let be kept, as rows of Parquet files by day."""
