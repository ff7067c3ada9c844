"""Secrets of the deployment: from the environment, else made once and kept."""

import os
import secrets
from pathlib import Path

BYTES = 32


def secret(name: str) -> bytes:
    """Return the secret `name`.

    The environment variable (hex of 32 bytes or more, else its UTF-8 bytes) wins.
    Without it, one is generated and kept, readable by its owner only, in the data
    folder (`PLANGATE_DATA_DIR`): right for one machine, wrong for several.
    """
    given = os.environ.get(name)
    if given:
        return _decoded(given)
    return _kept(name)


def _decoded(text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        return text.encode()
    return value if len(value) >= BYTES else text.encode()


def _kept(name: str) -> bytes:
    folder = data_dir() / "secrets"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / name.lower()
    # Written aside and linked into place: of two first processes one wins, whole.
    draft = folder / f".{name.lower()}.{os.getpid()}"
    if not path.exists():
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(BYTES))
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return bytes.fromhex(path.read_text().strip())


def data_dir() -> Path:
    """Return the folder of everything that this installation keeps."""
    default = Path(__file__).resolve().parent.parent / ".plangate"
    return Path(os.environ.get("PLANGATE_DATA_DIR") or default).absolute()
