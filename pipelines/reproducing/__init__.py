"""The paper's tables and studies as runs."""
