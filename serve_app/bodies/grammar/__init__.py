"""Schemas, expressions and grammars that a body may carry."""
