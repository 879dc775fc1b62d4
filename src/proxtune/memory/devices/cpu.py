"""Memory of this process in RAM, and the system's limit on it."""

from __future__ import annotations

import resource

from proxtune.memory import process
from proxtune.memory.allocator import trim

_CODE_GROWTH_BYTES = 8_000_000  # library pages that later phases still touch; files, so RLIMIT_DATA does not see them


class ProcessMeter:
    """Resident memory of this process, mapped files included."""

    fragments = True

    def now(self) -> int:
        return process.resident_bytes()

    def peak(self) -> int:
        return process.peak_bytes()

    def reach(self) -> int:
        """What is held and the holes of the heap."""
        return process.resident_bytes() + process.hole_bytes()

    def reset(self) -> None:
        process.reset_peak()

    def trim(self) -> None:
        trim()

    def limit(self, room_bytes: int | None) -> None:
        """Let the system refuse what goes beyond `room_bytes` (RLIMIT_DATA); None lifts the limit. Linux only.

        The limit is relative to what is reserved now, since imports reserve far more than they hold. What becomes resident was
        reserved before or fills a hole of the heap, so from here on resident ≤ resident now + holes now + (data − data now) +
        file pages still to come. The last are weights read for the first time: predicted, and watched by the governor.
        """
        data, (_, hard) = process.data_bytes(), resource.getrlimit(resource.RLIMIT_DATA)
        if data is None:
            return
        allowed = hard
        if room_bytes is not None:
            allowed = data + max(room_bytes - self.reach() - _CODE_GROWTH_BYTES, 0)
            allowed = allowed if hard == resource.RLIM_INFINITY else min(allowed, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))

    def spare(self) -> int | None:
        """Bytes that may be reserved before the limit refuses; None without a limit."""
        data, (allowed, _) = process.data_bytes(), resource.getrlimit(resource.RLIMIT_DATA)
        return None if data is None or allowed == resource.RLIM_INFINITY else allowed - data
