"""`pointsman replay`: kept requests and gold cases against a candidate."""
