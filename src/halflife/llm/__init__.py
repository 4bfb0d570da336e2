"""Embedders and chat models behind two small protocols."""
