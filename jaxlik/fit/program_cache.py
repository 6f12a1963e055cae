"""The folder of compiled programs, which would grow with every release and every database."""

from pathlib import Path

MOST_BYTES = 2 * 2**30
"""Several databases fill a quarter of it."""


def forget_oldest(folder: Path, most_bytes: int = MOST_BYTES) -> int:
    """Remove the programs that were used longest ago until the others fit.

    Processes that read the folder at the same time compile what they miss.

    Args:
        folder: Of JAX's compilation cache; it need not exist.
        most_bytes: What may stay.

    Returns:
        Bytes that were removed.
    """
    found = []
    for path in folder.glob("*-cache"):
        try:
            status = path.stat()
        except FileNotFoundError:  # Another process removes them, too.
            continue
        # File systems that do not note when a file is read still know when it was written.
        found.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    excess = sum(size for _, size, _ in found) - most_bytes
    removed = 0
    for _, size, path in sorted(found):
        if removed >= excess:
            break
        path.unlink(missing_ok=True)
        removed += size
    return removed
