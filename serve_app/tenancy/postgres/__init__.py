"""The tenancy store on a Postgres server, for several nodes (docs/tenancy.md)."""
