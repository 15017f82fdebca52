"""Kept requests and gold cases, answered by a candidate: calls, answers, the gate, the report."""
