"""Cleans every text before it is sent, so that the monitor has no reason to refuse it.

The limits and the refused characters are those of the server (`src/fields.rs`). Nothing here raises.
"""

from __future__ import annotations

import json
import math
import numbers
import re
import unicodedata
from typing import Any, Dict, Mapping, Optional, Union

from .values import Tag, log

#: Longest app name, user id and task, in characters.
NAME_MAX = 256
#: Most tags, and their size as JSON in bytes.
META_KEYS, META_BYTES = 32, 4096
#: Longest status word.
STATUS_MAX = 32
#: Longest time without input that is told, in seconds.
IDLE_MOST = 365 * 86_400.0
#: Status words that belong to the monitor.
RESERVED_STATUSES = frozenset({"stale", "killed", "expired", "ended"})
#: What a page's visibility may be.
VISIBILITIES = frozenset({"visible", "hidden", "frozen", "suspended"})

# Format characters that show: marks that enclose the digits after them.
_SHOWN_FORMATS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
# Characters that show nothing although Unicode counts them as letters, marks, symbols, or not at all.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufffb"
                        "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]")
_JOINERS = frozenset("\u200c\u200d")
_SELECTORS = re.compile("[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_KEYCAP = "\u20e3"
_LARGEST_INTEGER = 2**63 - 1
_PLAIN = re.compile(r"[ -~]*\Z")


def text(value: object, most: int = NAME_MAX) -> str:
    """`value` as a text of at most `most` characters that shows what it is.

    Control, bidirectional and invisible characters become spaces, halves of surrogate pairs become U+FFFD, and spaces at
    both ends go. The result may be empty.
    """
    raw = _as_text(value)
    if not _PLAIN.match(raw):
        raw = raw[: most * 8]  # enough for any cut below, and no work for a text of megabytes
        # Two halves that belong together become one character; a half alone becomes U+FFFD.
        raw = raw.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    while True:
        cut = _shown(raw).strip()[:most].strip()
        if cut == raw:
            return cut
        raw = cut  # what stood between two others may stand beside a space now, or at the end


def _shown(raw: str) -> str:
    if _PLAIN.match(raw):
        return raw
    around = ["", *raw, ""]
    return "".join(" " if _is_deceptive(*around[at - 1: at + 2]) else around[at] for at in range(1, len(around) - 1))


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    try:
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    except Exception:  # an object whose __str__ fails
        return f"<{type(value).__name__}>"


def _is_deceptive(before: str, character: str, after: str) -> bool:
    if character in _JOINERS:  # they shape emoji and the scripts from Hebrew on, and nothing shows of them elsewhere
        return not (_is_shaped(before) and _is_shaped(after))
    if _SELECTORS.match(character):
        return not (_is_shaped(before) or after == _KEYCAP)
    category = unicodedata.category(character)
    return bool(_INVISIBLE.match(character)) or category in ("Cc", "Zl", "Zp") or (
        category == "Cf" and character not in _SHOWN_FORMATS)


def _is_shaped(neighbour: str) -> bool:
    return neighbour >= "\u0590" and neighbour not in _JOINERS and not _SELECTORS.match(neighbour)


def optional(value: object) -> Optional[str]:
    """A text that may be absent: None where nothing is left of it."""
    return None if value is None else text(value) or None


def app_name(value: object) -> str:
    """An app's name; empty where `value` holds none. `.` and `..` could not stand in an address."""
    name = "" if value is None else text(value)
    return {".": "_", "..": "__"}.get(name, name)


def status(value: object) -> Optional[str]:
    """A status word, made to fit; None, and a line in the log, where it is reserved or no word is left."""
    word = re.sub(r"[^a-z0-9_-]", "-", _as_text(value).strip().lower())[:STATUS_MAX]
    if word in RESERVED_STATUSES or not re.match(r"[a-z]", word):
        log.warning("status %r is not one that a session may report; the present one stays", value)
        return None
    return word


def interval(value: object) -> float:
    """Seconds between heartbeats: at least 1, and 30 where `value` is no number."""
    try:
        seconds = float(value)  # type: ignore[arg-type]
        if math.isfinite(seconds):
            return min(max(1.0, seconds), 86_400.0)
    except (TypeError, ValueError, OverflowError):
        pass
    log.error("heartbeat_interval must be a number of seconds, not %r; it is 30 now", value)
    return 30.0


def seconds(value: object) -> Optional[float]:
    """A number of seconds, 0 or more; None, and a line in the log, for anything else."""
    try:
        number = float(value)  # type: ignore[arg-type]
        if math.isfinite(number) and number >= 0:
            return min(number, IDLE_MOST)
    except (TypeError, ValueError, OverflowError):
        pass
    log.error("idle seconds must be a number of 0 or more, not %r; it is left out", value)
    return None


def meta(tags: object) -> Dict[str, Tag]:
    """Those tags that the monitor takes; each that it would not is left out, with one line in the log for all of them."""
    if tags is None:
        return {}
    if not isinstance(tags, Mapping):
        log.error("meta must be a dict of tags, not %s; it is left out", type(tags).__name__)
        return {}
    kept: Dict[str, Tag] = {}
    left_out = []
    for name, value in tags.items():
        key, tag = text(name), _tag(value)
        if not key or tag is None or len(kept) == META_KEYS or _size({**kept, key: tag}) > META_BYTES:
            left_out.append(key)
        else:
            kept[key] = tag
    if left_out:
        log.error(
            "meta holds at most %d tags of text, number or bool, %d bytes in all; left out: %s",
            META_KEYS, META_BYTES, ", ".join(left_out[:8]),
        )
    return kept


def _tag(value: Any) -> Union[str, int, float, bool, None]:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(value, META_BYTES)
    if isinstance(value, numbers.Number):
        try:
            if isinstance(value, numbers.Integral):
                return int(value) if abs(int(value)) <= _LARGEST_INTEGER else str(int(value))[:64]
            number = float(value)  # type: ignore[arg-type]
            return number if math.isfinite(number) else str(number)
        except (TypeError, ValueError, OverflowError):
            return None
    return None


def _size(tags: Dict[str, Tag]) -> int:
    return len(json.dumps(tags, ensure_ascii=False, separators=(",", ":")).encode())
