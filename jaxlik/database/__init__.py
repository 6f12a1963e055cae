"""Databases: records, readers, snapshots, the channel table."""
